"""Shapes as polygons, and their anti-aliased stencils."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["MAX_TURN", "OUTLINED", "SHAPES", "draw_stencil", "draw_stencil_at"]

_SUPERSAMPLING = 4
_RING_HOLE = 0.56  # radius of the hole, of the ring's own


def _polar(radii: list[float]) -> NDArray[np.float64]:
    """Points at equal angles around the origin, the first one at the top (y points down)."""
    angles = 2 * np.pi * np.arange(len(radii)) / len(radii)
    return np.asarray(np.stack([np.sin(angles), -np.cos(angles)], axis=1) * np.c_[radii])


def _arc(x: float, radius: float, start: float, end: float) -> NDArray[np.float64]:
    angles = np.linspace(start, end, 48)
    return np.stack([x + radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def _crescent() -> NDArray[np.float64]:
    """The unit disc without a smaller disc whose centre lies at (shift, 0)."""
    shift, radius = 0.5, 0.85
    x = (1 + shift**2 - radius**2) / (2 * shift)  # where the two circles meet
    y = math.sqrt(1 - x**2)
    outer, inner = math.atan2(y, x), math.atan2(y, x - shift)
    points = np.concatenate(
        [
            _arc(0, 1, outer, 2 * math.pi - outer),
            _arc(shift, radius, 2 * math.pi - inner, inner),
        ]
    )
    return np.asarray((points + np.array([0.2, 0])) * 1.05)


def _heart() -> NDArray[np.float64]:
    """The curve x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t (MathWorld)."""
    t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y - 2.5], axis=1) / 15.5


def _cross(half_width: float) -> NDArray[np.float64]:
    w = half_width
    corner = np.array([[w, -1], [w, -w], [1, -w]])
    turn = np.array([[0, 1], [-1, 0]])
    return np.concatenate([corner @ np.linalg.matrix_power(turn, k) for k in range(4)])


# Radius 1, but for slender shapes, which are a little larger so that shapes of one size class
# look about equally large.
_OUTLINES: dict[str, NDArray[np.float64]] = {
    "circle": 0.95 * _polar([1.0] * 64),
    "square": 0.8 * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]),
    "triangle": 1.1 * _polar([1.0] * 3),
    "star": 1.12 * _polar([1.0, 0.46] * 5),
    "ring": _polar([1.0] * 64),
    "cross": 1.02 * _cross(0.34),
    "diamond": np.array([[0.0, -1.12], [0.7, 0.0], [0.0, 1.12], [-0.7, 0.0]]),
    "heart": _heart(),
    "hexagon": _polar([1.0] * 6),
    "crescent": _crescent(),
}

SHAPES: tuple[str, ...] = tuple(_OUTLINES)
"""The names of the shapes."""

MAX_TURN: dict[str, float] = {
    **dict.fromkeys(SHAPES, 180.0),
    "square": 15.0,
    "diamond": 15.0,
    "cross": 15.0,
    "heart": 30.0,
}
"""How far a shape is turned at most, degrees. A square on its tip would be a diamond, a cross
turned by 45 degrees no plus sign."""

OUTLINED: dict[str, float] = {
    "square": 0.8,
    "triangle": 0.55,
    "star": 0.46,
    "cross": 0.4,
    "diamond": 0.59,
    "heart": 0.62,
    "hexagon": 0.87,
}
"""Shapes that may be drawn as an outline, with the radius of the largest disc inside. The
outline of a circle would be a ring, that of a ring or a crescent hard to tell from a full one."""


def draw_stencil(
    shape: str, radius: float, turn: float, width: float | None, shift: tuple[float, float]
) -> NDArray[np.uint8]:
    """Draw one shape.

    Args:
        shape, radius, turn, width, shift: as of :func:`draw_stencil_at`.

    Returns:
        How much of each pixel the shape covers, uint8 [h, w] in 0..255, without margins.
    """
    return draw_stencil_at(shape, radius, turn, width, shift)[0]


def draw_stencil_at(
    shape: str, radius: float, turn: float, width: float | None, shift: tuple[float, float]
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Draw one shape, four times as large as asked for, and reduce it.

    Args:
        shape: one of ``SHAPES``.
        radius: pixels.
        turn: degrees, clockwise.
        width: of an outline, in pixels, inside the shape; None for a filled shape.
        shift: of the centre from a pixel's corner, in pixels, below 1.

    Returns:
        How much of each pixel the shape covers, uint8 [h, w] in 0..255, without margins, and x and
        y of its first pixel from that corner.
    """
    side = 2 * math.ceil(1.15 * radius + 2)
    turned = math.radians(turn)
    rotation = np.array(
        [[math.cos(turned), math.sin(turned)], [-math.sin(turned), math.cos(turned)]]
    )
    centre = side / 2 + np.array(shift)

    def corners(outline: NDArray[np.float64]) -> list[tuple[float, float]]:
        # Pillow's coordinates name the centres of pixels.
        points = ((outline * radius) @ rotation + centre) * _SUPERSAMPLING - 0.5
        return [(float(x), float(y)) for x, y in points]

    large = Image.new("L", (side * _SUPERSAMPLING, side * _SUPERSAMPLING))
    draw = ImageDraw.Draw(large)
    points = corners(_OUTLINES[shape])
    draw.polygon(points, fill=255)
    if shape == "ring":
        draw.polygon(corners(_OUTLINES[shape] * _RING_HOLE), fill=0)
    elif width is not None:
        inside = large.copy()
        band = round(2 * width * _SUPERSAMPLING)
        ImageDraw.Draw(inside).line([*points, *points[:2]], fill=0, width=band, joint="curve")
        large.paste(0, mask=inside)
    stencil = large.reduce(_SUPERSAMPLING)
    box = stencil.getbbox() or (0, 0, 1, 1)
    return np.asarray(stencil.crop(box)), (box[0] - side // 2, box[1] - side // 2)
