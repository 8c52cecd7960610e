"""What a video container says about its film: which stream it is, which way up, and how long."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Extent", "choose_stream", "shown_as", "upright"]

# A file whose frames end this much before the time that it says it lasts is cut off; seconds.
# Containers round, and last frames have no length of their own.
_SLACK = 0.5

#: Two rows of a matrix that takes x and y of a stored pixel to those of a shown one.
_Matrix = NDArray[np.int64]


def choose_stream(container: Any) -> Any:
    """The stream with the film, or what the file is instead, as the end of a sentence.

    Pictures that belong to a file without being its film (covers of music and films, thumbnails)
    are video streams to FFmpeg, and may come first.

    Args:
        container: a PyAV input container.
    """
    format_name = container.format.name
    if format_name.endswith("_pipe") or format_name == "image2":
        return "is a still picture, or an animation of a kind that isn't read as a film, like WebP"
    from av.stream import Disposition

    beside = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    films = [s for s in container.streams.video if not s.disposition & beside]
    if not films:
        return (
            "has a cover picture, and no film" if container.streams.video else "has no video stream"
        )
    # Of an animated AVIF the first stream is the picture that stands for it.
    films = [stream for stream in films if stream.frames != 1] or films
    return next((s for s in films if s.disposition & Disposition.default), films[0])


def shown_as(frame: Any) -> _Matrix:
    """How a frame is to be shown: a signed permutation of the axes, int64 [2, 2].

    From the display matrix of the file or of the frame itself, nine 32-bit numbers ``a b u c d v x
    y w`` by which a pixel at ``p, q`` is shown at ``a p + c q, b p + d q`` (ISO/IEC 14496-12,
    6.2.2). One that turns by no quarter is taken for the nearest of the eight orientations; sizes
    and places in it are for players. Without a matrix, or with one of zeros, frames are as stored.
    """
    found = frame.side_data.get("DISPLAYMATRIX")
    if found is None:
        return np.eye(2, dtype=np.int64)
    a, b, _, c, d = np.frombuffer(bytes(found), np.int32, 9)[:5].astype(np.int64).tolist()
    if not (a or b or c or d):
        return np.eye(2, dtype=np.int64)

    def sign(value: int) -> int:
        return -1 if value < 0 else 1

    if abs(a) + abs(d) >= abs(b) + abs(c):
        return np.array([[sign(a), 0], [0, sign(d)]])
    return np.array([[0, sign(c)], [sign(b), 0]])


def upright(rgb: NDArray[np.uint8], shown: _Matrix) -> NDArray[np.uint8]:
    """A stored frame [H, W, 3] as it is to be shown, by :func:`shown_as`; [W, H, 3] if turned."""
    if shown[0, 0] == 0:
        rgb = rgb.transpose(1, 0, 2)
    across, down = shown.sum(1)
    return np.ascontiguousarray(rgb[::down, ::across])


class Extent:
    """From when to when a file's packets and frames last, beside what it says.

    Containers state how long a stream lasts (MP4, QuickTime, AVI, Matroska with tags), how long
    the whole lasts (others: ASF gives each stream that as its own), or nothing (MPEG streams and
    Ogg, where FFmpeg takes the last time stamp that it finds). Some count from 0 and others from
    the first packet, FLV as its writer likes. So a file that says how many bytes it has, and has
    fewer, is cut off; unless its stream says how long it lasts, and lasts that long.

    Args:
        container, stream: PyAV's.
        missing_bytes: how many bytes are missing, as far as the file says.
        start: when the first packet of the file is decoded, if that is known already; seconds.
    """

    def __init__(
        self, container: Any, stream: Any, missing_bytes: int, start: float | None = None
    ) -> None:
        self.start = start
        self._missing_bytes = missing_bytes
        self._stream = stream
        self._lasts = None if container.duration is None else container.duration / 1_000_000
        # Of an AVI file that is cut off, FFmpeg reckons it from what is there.
        reckoned = missing_bytes > 0 and container.format.name == "avi"
        self._stream_lasts = None if reckoned else _stated(container, stream)
        self._packets_end = 0.0
        self._frames_end = 0.0
        self._latest: float | None = None
        self._frame_lasts = 0.0

    def add_packet(self, packet: Any) -> None:
        """Take a packet of any stream."""
        if packet.dts is None or packet.time_base is None:
            return
        decoded, shown = packet.dts * packet.time_base, packet.pts
        end = decoded if shown is None else shown * packet.time_base
        end += (packet.duration or 0) * packet.time_base
        self._packets_end = max(self._packets_end, float(end))
        self.start = float(decoded) if self.start is None else min(self.start, float(decoded))

    def add_frame(self, frame: Any) -> None:
        """Take the next frame of the film."""
        if frame.time is None:
            return
        lasts = float((frame.duration or 0) * (frame.time_base or 0))
        if not lasts and self._latest is not None:
            # As long as the one before: some last frames have no length of their own.
            lasts = max(0.0, frame.time - self._latest)
        self._latest, self._frame_lasts = frame.time, lasts
        self._frames_end = frame.time + lasts

    def missing(self) -> str | None:
        """Where the file ends too early, as the end of a sentence; None if it is whole."""
        if self._stream_lasts is not None and self._latest is not None:
            # To the frame where bytes are missing: nothing has been rounded then.
            slack = min(_SLACK, self._frame_lasts / 2) if self._missing_bytes else _SLACK
            end, lasts = self._frames_end, self._stream_lasts
            return f"at {end:.1f} of {lasts:.1f} s" if end < lasts - slack else None
        if self._missing_bytes:
            return f"{self._missing_bytes:,} bytes before the end that it states"
        if self._lasts is None or self._latest is None:
            return None
        end, lasts = max(self._packets_end, self._frames_end), self._lasts
        whole = end - (self.start or 0.0) >= lasts - _SLACK or abs(end - lasts) <= _SLACK
        return None if whole else f"at {end:.1f} of {lasts:.1f} s"


def _stated(container: Any, stream: Any) -> float | None:
    """When the film ends by what its own stream says, seconds; None where it doesn't."""
    name = container.format.name
    if "matroska" in name:
        clock = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))
        if clock is None:
            return None
        hours, minutes, seconds = clock.groups()
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    # Of a fragmented MP4, which states no number of frames, only what is there is known.
    if ("mp4" in name or name == "avi") and stream.frames and stream.duration is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    return None
