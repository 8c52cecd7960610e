"""The overlay video: in parts, which are joined without coding them anew."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.errors import UsageError
from sam3_tvm.files import OutputFile
from sam3_tvm.film.faults import CannotGoOn
from sam3_tvm.film.outputs.base import Output, State
from sam3_tvm.locks import never_free, renew_in_children
from sam3_tvm.runtime.video.result import FrameResult
from sam3_tvm.runtime.video.video_file import import_av

__all__ = ["SLOWEST_FPS", "OverlayVideo"]

#: Fewer frames per second are no ratio of small numbers any more, as containers store them.
SLOWEST_FPS = 0.01

# Of films that don't say (folders of pictures).
_DEFAULT_FPS = 25.0

# How colours are stored (ITU-T H.273): players take it for any film of this size or larger, and
# are told where they wouldn't.
_BT709 = 1


class OverlayVideo(Output):
    """The film with masks on it, at one frame rate throughout, without sound.

    Each checkpoint ends a part, a video file of its own; at the end their packets are put
    together into one file. That one is whole or isn't there.

    Args:
        path: the file.
        fps: frames per second; by default the film's.

    Raises:
        UsageError: the place may not be written to.
        MissingExtraError: PyAV isn't installed.
    """

    def __init__(self, path: Path, fps: float | None) -> None:
        self.path = path
        self._file = OutputFile(path)
        self._av = import_av()
        self._rate = fps
        self._parts = Path()
        self._done: list[str] = []
        self._container: Any = None
        self._stream: Any = None
        self._count = 0
        renew_in_children(self)

    def _renew(self) -> None:
        """In a forked child: the film is the parent's to write and to end."""
        never_free((self._container, self._stream))

    def start(self, fps: float | None, parts: Path, state: Mapping[str, NDArray[Any]]) -> None:
        self._rate = max(self._rate or fps or _DEFAULT_FPS, SLOWEST_FPS)
        self._parts = parts
        self._done = [f"{name}" for name in state.get("parts", ())]
        if missing := [name for name in self._done if not (parts / name).is_file()]:
            raise CannotGoOn(f"{parts / missing[0]}: is gone")

    def write(self, frame: FrameResult) -> None:
        picture = np.asarray(frame.overlay())
        # The codec stores colours for pairs of pixels: an odd edge is repeated.
        odd = (picture.shape[0] % 2, picture.shape[1] % 2)
        picture = np.pad(picture, ((0, odd[0]), (0, odd[1]), (0, 0)), mode="edge")
        try:
            if self._container is None:
                self._begin_part(picture.shape[0], picture.shape[1])
            rgb = self._av.VideoFrame.from_ndarray(picture, format="rgb24")
            coded = rgb.reformat(format="yuv420p", dst_colorspace=_BT709)
            coded.pts, coded.time_base = self._count, 1 / self._exact_rate
            self._container.mux(self._stream.encode(coded))
            self._count += 1
        except (self._av.error.FFmpegError, OSError) as error:
            raise self._unwritable(error) from error

    def state(self) -> State:
        self._end_part()
        return {"parts": np.array(self._done)}

    def finish(self) -> None:
        self._end_part()
        if self._done:
            self._file.write(self._join)

    def abandon(self) -> None:
        if self._container is None:
            return
        # What couldn't be written before can't be now: the first failure is told.
        with suppress(self._av.error.FFmpegError, OSError):
            self._container.close()
        self._container = None

    @property
    def _exact_rate(self) -> Fraction:
        assert self._rate is not None, "started"
        # 29.97 is 30000/1001.
        return Fraction(self._rate).limit_denominator(1001)

    def _begin_part(self, height: int, width: int) -> None:
        av = self._av
        name = f"{self.path.stem}-{len(self._done):05d}.mp4"
        self._container = av.open(str((self._parts / name).absolute()), "w", format="mp4")
        codec, options = "mpeg4", {}
        if "libx264" in av.codecs_available:
            codec = "libx264"
            options = {"preset": "veryfast", "crf": "18", "bf": "0"}
        self._stream = self._container.add_stream(codec, rate=self._exact_rate, options=options)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        if codec == "mpeg4":
            self._stream.bit_rate = int(0.3 * width * height * self._exact_rate)
        self._count = 0

    def _end_part(self) -> None:
        if self._container is None:
            return
        try:
            self._container.mux(self._stream.encode(None))
            name = Path(self._container.name).name
            self._container.close()
        except (self._av.error.FFmpegError, OSError) as error:
            raise self._unwritable(error) from error
        self._container = None
        self._done.append(name)

    def _join(self, path: Path) -> None:
        """Write the parts' packets to one file, without decoding them."""
        number, stream = 0, None
        tick = 1 / self._exact_rate
        try:
            with self._av.open(
                str(path.absolute()), "w", format="mp4", options={"movflags": "faststart"}
            ) as joined:
                for name in self._done:
                    with self._av.open(str((self._parts / name).absolute())) as part:
                        coded = part.streams.video[0]
                        if stream is None:
                            stream = joined.add_stream_from_template(coded)
                            stream.time_base = tick
                        for packet in part.demux(coded):
                            if packet.dts is None:
                                continue  # the end's mark
                            packet.stream, packet.time_base = stream, tick
                            # No frame refers to a later one, so their order is the packets'.
                            packet.pts = packet.dts = number
                            packet.duration = 1
                            joined.mux(packet)
                            number += 1
        except self._av.error.FFmpegError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: Exception) -> UsageError:
        reason = getattr(error, "strerror", None) or error
        return UsageError(f"{self.path}: cannot be written ({reason})")
