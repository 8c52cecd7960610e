"""A drawn film of any length in which shapes come, cross and leave: to try films by phrase on.

``verify`` and ``bench`` pass it; nothing of it depends on a model. Its shapes are such as the
demonstration checkpoint ``checkpoints/shapes`` knows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["PHRASES", "drawn_film"]

PHRASES = ("circle", "orange diamond", "green star")
"""What there is to see: two circles, which cross, and one each of the others."""

_SIZE = 180, 240
# Drawn larger and scaled down, so that edges are smooth.
_FINER = 4
_PAPER = (238, 232, 216)


class _Shape(NamedTuple):
    """A shape that crosses the picture, again and again.

    Attributes:
        colour: RGB.
        corners: of a regular polygon; of a star if ``inner`` is below 1.
        inner: the radius of every second corner, as a fraction.
        radius: as a fraction of the picture's height.
        path: where a crossing begins and ends, x and y as fractions of width and height.
        late: the part of a crossing that has passed when the film begins.
        turns: of the shape in a crossing.
    """

    colour: tuple[int, int, int]
    corners: int
    inner: float
    radius: float
    path: tuple[tuple[float, float], tuple[float, float]]
    late: float
    turns: float


# From the back to the front. The circles begin in the picture, meet in its middle and leave; the
# diamond stands, and is covered in part; the star comes in when the film is a third over.
_SHAPES = (
    _Shape((250, 145, 20), 4, 1.0, 0.17, ((0.55, 0.3), (0.55, 0.3)), 0.0, 0.0),
    _Shape((225, 30, 35), 48, 1.0, 0.17, ((-0.2, 0.55), (1.2, 0.6)), 0.22, 0.0),
    _Shape((35, 75, 215), 48, 1.0, 0.15, ((1.2, 0.65), (-0.2, 0.55)), 0.24, 0.0),
    _Shape((45, 155, 70), 10, 0.46, 0.17, ((0.8, 1.5), (0.2, -0.3)), 0.0, 0.4),
)


def drawn_film(frames: int, crossing: int) -> Iterator[NDArray[np.uint8]]:
    """The film, drawn as it is watched.

    Args:
        frames: how many there are.
        crossing: the frames in which a shape crosses the picture, after which it comes anew.

    Yields:
        Frames of 8-bit RGB, uint8 [180, 240, 3].
    """
    height, width = _SIZE
    for index in range(frames):
        image = Image.new("RGB", (_FINER * width, _FINER * height), _PAPER)
        draw = ImageDraw.Draw(image)
        for shape in _SHAPES:
            draw.polygon(_outline(shape, index / crossing), fill=shape.colour)
        yield np.asarray(image.resize((width, height), Image.Resampling.BOX))


def _outline(shape: _Shape, time: float) -> list[tuple[float, float]]:
    """The corners of a shape, in pixels of what is drawn; ``time`` is in crossings."""
    part = (time + shape.late) % 1
    (x0, y0), (x1, y1) = shape.path
    height, width = (_FINER * side for side in _SIZE)
    across, down = (x0 + part * (x1 - x0)) * width, (y0 + part * (y1 - y0)) * height
    corners = []
    for corner in range(shape.corners):
        turn = 2 * math.pi * (corner / shape.corners + part * shape.turns - 0.25)
        radius = shape.radius * height * (shape.inner if corner % 2 else 1.0)
        corners.append((across + radius * math.cos(turn), down + radius * math.sin(turn)))
    return corners
