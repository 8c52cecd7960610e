"""Outlines of masks: rings along the edges of pixels, which enclose just the mask's pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Polygon", "mask_polygons"]

_Corners = NDArray[np.int32]


class Polygon(NamedTuple):
    """A connected part of a mask.

    Rings are int32 [K, 2], corners x, y in pixels from the picture's upper left corner: a pixel
    covers the square from its numbers to those plus one. The last corner joins the first, which
    isn't repeated. No ring touches itself; rings of a polygon share at most single corners.

    Attributes:
        outer: clockwise as one sees it.
        holes: rings of what is left out, anticlockwise.
    """

    outer: _Corners
    holes: tuple[_Corners, ...]


def mask_polygons(mask: NDArray[np.bool_]) -> list[Polygon]:
    """The parts of a mask, from top to bottom, then from left to right.

    Pixels that share an edge belong together, those that share a corner alone don't.

    Args:
        mask: bool [H, W].
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if rows.size == 0:
        return []
    y0, x0 = int(rows[0]), int(columns[0])
    inside = np.pad(mask[y0 : rows[-1] + 1, x0 : columns[-1] + 1], 1)
    rings = sorted(map(_from_its_first, _rings(inside)), key=lambda ring: ring[0, ::-1].tolist())
    # Which ring has the vertical edge on a pixel's left.
    row, flat = inside.shape[1], inside.tobytes()
    owner = np.full(inside.shape, -1, np.int32)
    parents: list[int] = []
    holes: dict[int, list[int]] = {}
    for number, ring in enumerate(rings):
        corners = ring.tolist()
        for (x, ya), (_, yb) in zip(corners, [*corners[1:], corners[0]], strict=True):
            owner[min(ya, yb) : max(ya, yb), x] = number
        x, y = corners[0]
        is_outer = bool(inside[y, x])
        if is_outer != _is_clockwise(ring):
            rings[number] = np.roll(ring[::-1], 1, 0)
        if is_outer:
            parents.append(number)
            holes[number] = []
            continue
        # Left of a hole's first corner lies its polygon. The run of pixels there begins at the
        # polygon's outer ring, or at a hole of the same polygon that came before.
        begin = flat.rfind(b"\0", y * row, y * row + x) + 1 - y * row
        parents.append(parents[owner[y, begin]])
        holes[parents[-1]].append(number)
    # Without the padding's pixel, at the place in the picture.
    shift = np.array([x0 - 1, y0 - 1], np.int32)
    return [
        Polygon(rings[outer] + shift, tuple(rings[hole] + shift for hole in inner))
        for outer, inner in holes.items()
    ]


def _rings(inside: NDArray[np.bool_]) -> Iterator[_Corners]:
    """Every ring, in either direction.

    Args:
        inside: bool [H, W], false along the edges.
    """
    # The four pixels around each inner grid point.
    a, b = inside[:-1, :-1], inside[:-1, 1:]
    c, d = inside[1:, :-1], inside[1:, 1:]
    # An edge turns where one or three of the pixels are the mask's, and two edges where two
    # that lie across from each other are.
    falling = a & d & ~b & ~c
    rising = b & c & ~a & ~d
    turns = (a ^ b ^ c ^ d).astype(np.int8) + 2 * (falling | rising)
    ys, xs = np.nonzero(turns)
    times = turns[ys, xs]
    ys, xs = np.repeat(ys, times), np.repeat(xs, times)
    # Along a row, edges lie between corners 2n and 2n + 1, and so they do along a column. Of a
    # point with two turns the first has the edge on the left, the second that on the right; each
    # turn goes around one pixel: so the first has the upper edge where the pixels fall, and the
    # lower where they rise.
    second = np.zeros(len(xs), bool)
    second[1:] = (xs[1:] == xs[:-1]) & (ys[1:] == ys[:-1])
    first = np.roll(second, -1)
    lower = np.where(rising[ys, xs], first, second)
    by_column = np.lexsort((lower, ys, xs))
    across = np.arange(len(xs)) ^ 1
    along = np.empty(len(xs), np.intp)
    along[by_column] = by_column[across]
    twice = (first | second).tolist()
    points = np.stack([xs + 1, ys + 1], 1).astype(np.int32)
    yield from _walks(points, twice, across.tolist(), along.tolist())


def _walks(
    points: _Corners, twice: list[bool], across: list[int], along: list[int]
) -> Iterator[_Corners]:
    """Rings from corners that are joined along rows and along columns.

    Args:
        points: x, y of each corner.
        twice: whether another corner lies at the same point.
        across, along: the corner at the other end of each one's edges.
    """
    places = [tuple(p) for p in points.tolist()]
    left = np.ones(len(points), bool)
    for start in range(len(points)):
        if not left[start]:
            continue
        ring: list[int] = []
        at: dict[tuple[int, ...], int] = {}
        corner, sideways = start, True
        while left[corner]:
            left[corner] = False
            if twice[corner]:
                place = places[corner]
                # A ring that comes back to a point of its own is two that touch there.
                if place in at:
                    yield points[ring[at[place] :]]
                    for gone in ring[at[place] + 1 :]:
                        at.pop(places[gone], None)
                    del ring[at[place] :]
                at[place] = len(ring)
            ring.append(corner)
            corner = across[corner] if sideways else along[corner]
            sideways = not sideways
        yield points[ring]


def _from_its_first(ring: _Corners) -> _Corners:
    """A ring from its uppermost, then leftmost corner on, in the direction that it has."""
    return np.roll(ring, -int(np.lexsort((ring[:, 0], ring[:, 1]))[0]), 0)


def _is_clockwise(ring: _Corners) -> bool:
    """Whether a ring goes clockwise as one sees it, y pointing down."""
    x, y = ring.astype(np.int64).T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) > 0
