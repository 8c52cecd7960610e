"""A video file's frames through PyAV (FFmpeg): one ahead, any by its number, never all at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.extras import needed
from sam3_tvm.locks import never_free, renew_in_children
from sam3_tvm.runtime.video.file_size import missing_bytes
from sam3_tvm.runtime.video.frames import Frames, FramesError
from sam3_tvm.runtime.video.stream import Extent, choose_stream, shown_as, upright

__all__ = ["VideoFile", "import_av"]

# Decoded frames kept for reading backwards: each step back would otherwise decode from the
# key frame before it anew. So many, and no more bytes than these.
_KEPT_FRAMES = 32
_KEPT_BYTES = 128 << 20

# Formats that are lists or scripts, and lead FFmpeg to other files than the one that was given.
_LISTS = frozenset(
    (
        *("avisynth", "concat", "dash", "hls", "hls,applehttp", "imf", "rtp", "rtsp", "sdp"),
        *("vapoursynth", "webm_dash_manifest"),
    )
)


def import_av() -> Any:
    """PyAV.

    Raises:
        MissingExtraError: it isn't installed.
    """
    with needed("video", "a video file", "a folder of pictures needs nothing"):
        import av
    return av


class _Decoded(NamedTuple):
    number: int
    rgb: NDArray[np.uint8]
    pts: int | None
    key: bool


class VideoFile(Frames):
    """The film of a file: its default video stream, or the first; a cover picture is none.

    A thread decodes one frame ahead. Frames are numbered by counting what the decoder gives, not
    by time stamps, so that numbers are exact for videos of varying frame rate too; where a key
    frame was met, its time stamp leads back to it. Frames are turned and mirrored as the file asks
    for.

    A forked child has neither that thread nor FFmpeg's, and its file is where the parent has read
    to. At its first use there it opens the file anew, and leaves what it inherited alone.

    Raises:
        FramesError: the file is no video, is a still picture, has no frames, or its first frame
            cannot be read.
        MissingExtraError: PyAV isn't installed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.name = f"{path}"
        self._path = path
        self._av = import_av()
        self._container: Any = None
        self._open()
        # One for all frames: each would have its own, with threads.
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps = float(rate) if rate else None
        self.count = self._stream.frames or None
        self._keys: list[tuple[int, int]] = []  # number and time stamp, of key frames met
        self._kept: dict[int, NDArray[np.uint8]] = {}
        self._pool = ThreadPoolExecutor(1, "video-frames")
        self._frames = self._decode(0)
        self._next = 0
        self._start: float | None = None  # when the first packet is decoded
        self._ahead: Future[_Decoded | None] | None = None
        self._fault: FramesError | None = None
        self._closed = False
        renew_in_children(self)
        try:
            self.size  # noqa: B018 - the first frame's faults show here
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._wait()
        self._pool.shutdown()
        if self._container is not None:
            self._container.close()
        self._closed = True

    def _renew(self) -> None:
        """In a forked child: the file is to be opened anew."""
        never_free((self._container, self._stream, self._reformatter, self._frames))
        never_free((self._ahead, self._pool))
        self._container = self._ahead = None
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        self._frames, self._fault = iter(()), None
        self._pool = ThreadPoolExecutor(1, "video-frames")

    def _open(self) -> None:
        """Open the file, at its beginning."""
        if self._container is not None:
            self._container.close()
            self._container = None
        try:
            # Titles and the like, which aren't looked at, may be in any encoding.
            path = str(self._path.absolute())
            formats = ",".join(sorted(self._av.formats_available - _LISTS))
            self._container = self._av.open(
                path, metadata_errors="replace", options={"format_whitelist": formats}
            )
        except (self._av.error.FFmpegError, OSError) as error:
            raise FramesError(
                f"{self.name}: cannot be read as a video ({_reason(error)}): it is none, or is "
                "cut off"
            ) from error
        stream = choose_stream(self._container)
        if isinstance(stream, str):
            self._container.close()
            raise FramesError(f"{self.name}: {stream}; give a video file or a folder of pictures")
        self._stream = stream

    def _read(self, index: int) -> NDArray[np.uint8]:
        if self._closed:
            raise FramesError(f"{self.name}: has been closed")
        if index in self._kept:
            return self._kept[index]
        if index < self._next or self._container is None:
            self._rewind(index)
        while True:
            decoded = self._take()
            if decoded is None:
                raise IndexError(f"{self.name}: frame {index} of {self.count}")
            if decoded.number == index:
                return decoded.rgb

    def _take(self) -> _Decoded | None:
        """The next frame, after which the one behind it is begun; None at the end."""
        if self._fault is not None:
            raise self._fault
        if self._ahead is None:
            self._ahead = self._pool.submit(next, self._frames, None)
        try:
            # It stays until it is there: after an interruption the same frame is asked for.
            decoded = self._ahead.result()
        except FramesError as error:
            # What comes after is not the end.
            self._ahead, self._fault = None, error
            raise
        if decoded is None:
            self._ahead, self._frames = None, iter(())
            return None
        self._next = decoded.number + 1
        self._ahead = self._pool.submit(next, self._frames, None)
        self._keep(decoded)
        # Some apart: every frame may be a key frame.
        apart = not self._keys or decoded.number >= self._keys[-1][0] + _KEPT_FRAMES
        if apart and decoded.key and decoded.pts is not None:
            self._keys.append((decoded.number, decoded.pts))
        return decoded

    def _keep(self, decoded: _Decoded) -> None:
        self._kept[decoded.number] = decoded.rgb
        most = max(1, min(_KEPT_FRAMES, _KEPT_BYTES // decoded.rgb.nbytes))
        while len(self._kept) > most:
            del self._kept[next(iter(self._kept))]

    def _wait(self) -> None:
        """Let the thread come to rest. What it was at is dropped, with its fault if any."""
        if self._ahead is not None:
            self._ahead.exception()
            self._ahead = None

    def _rewind(self, index: int) -> None:
        """Go back to the last key frame that isn't after ``index``, or to the beginning."""
        self._wait()
        self._kept.clear()
        self._fault = None
        before = [key for key in self._keys if 0 < key[0] <= index]
        if before:
            number, pts = before[-1]
            self._reopen()
            try:
                self._container.seek(pts, stream=self._stream, backward=True)
                frames = self._decode(number, pts)
                first = self._pool.submit(next, frames, None)
                if first.exception() is None and first.result() is not None:
                    self._frames, self._ahead, self._next = frames, first, number
                    return
            except self._av.error.FFmpegError:
                pass  # a format that cannot seek: from the beginning, then
        self._reopen()
        self._frames, self._next = self._decode(0), 0

    def _reopen(self) -> None:
        try:
            self._open()
        except FramesError as error:
            # Frames behind this one cannot be had either, until going back succeeds.
            self._fault = error
            raise

    def _decode(self, number: int, pts: int | None = None) -> Iterator[_Decoded]:
        """Frames from here on, numbered from ``number``.

        Args:
            number: of the first frame given.
            pts: the time stamp of that frame; those before it are dropped, and none are given
                if it doesn't come.
        """
        extent = Extent(self._container, self._stream, missing_bytes(self._path), self._start)
        try:
            for frame in self._decoded(extent):
                if pts is not None:
                    if frame.pts is None or frame.pts < pts:
                        continue
                    if frame.pts != pts:
                        return
                    pts = None
                if frame.is_corrupt:
                    raise FramesError(
                        f"{self.name}: frame {number} is broken: the file is damaged there, or "
                        "cut off"
                    )
                rgb = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
                rgb = upright(rgb, shown_as(frame))
                extent.add_frame(frame)
                self._start = extent.start
                yield _Decoded(number, rgb, frame.pts, bool(frame.key_frame))
                number += 1
        except (self._av.error.FFmpegError, OSError) as error:
            raise FramesError(
                f"{self.name}: frame {number} cannot be decoded ({_reason(error)}): the file is "
                "damaged there, or cut off"
            ) from error
        if pts is None:
            if (missing := extent.missing()) is not None:
                where = f"after frame {number - 1}" if number else "before its first frame"
                raise FramesError(f"{self.name}: is cut off: it ends {where}, {missing}")
            self.count = number

    def _decoded(self, extent: Extent) -> Iterator[Any]:
        """The stream's frames; packets of other streams are looked at for their times alone."""
        for packet in self._container.demux():
            extent.add_packet(packet)
            if packet.stream is self._stream:
                yield from packet.decode()


def _reason(error: Exception) -> str:
    return f"{getattr(error, 'strerror', None) or error}"
