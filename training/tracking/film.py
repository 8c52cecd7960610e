"""The film of the demonstration: a red star that passes behind a bar, among other shapes."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.colours import typical
from training.tracking.clips import Bar, Clip, Look, paint_clip
from training.tracking.motion import SPAN, Motion

__all__ = ["STAR", "demo_clip", "write_film"]

STAR = 0
"""The place of the red star among the clip's tracks."""

_SIZE = 192
_RATE = 12  # frames a second


def _moves(
    start: tuple[float, float],
    velocity: tuple[float, float],
    radius: float,
    spin: float = 0.0,
    swing: float = 0.0,
) -> Motion:
    return Motion(
        start=start,
        velocity=velocity,
        low=(0.1, 0.1),
        high=(0.9, 0.9),
        sway=(0.0, 0.03),
        pace=0.15,
        phase=0.0,
        turn=0.0,
        spin=spin,
        swing=swing,
        radius=radius,
        growth=0.0,
    )


def _look(shape: str, colour: str, size: str, motion: Motion) -> Look:
    return Look(shape, colour, size, True, typical(colour), motion)


def demo_clip() -> Clip:
    """The clip: the star is hidden for some frames in its middle, and seen at both ends."""
    looks = [
        _look("star", "red", "small", _moves((0.2, 0.38), (0.014, 0.0), 0.085, 3)),
        _look("circle", "blue", "medium", _moves((0.8, 0.7), (-0.0115, 0.0), 0.13)),
        _look("square", "green", "small", _moves((0.16, 0.8), (0.001, -0.002), 0.09, 0, 10)),
        _look("square", "red", "small", _moves((0.82, 0.14), (-0.001, 0.0), 0.075, 0, 10)),
    ]
    bar = Bar(typical("grey"), (0.5, 0.5), math.pi / 2, 0.26)
    ground = np.full((_SIZE, _SIZE, 3), (238, 232, 216), np.float32)
    return paint_clip(np.random.default_rng(3), ground, looks, [bar], range(SPAN))


def write_film(path: Path, frames: NDArray[np.uint8]) -> None:
    """Write frames, uint8 [T, H, W, 3], as H.264 in an MP4 file."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(_RATE))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "16"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
