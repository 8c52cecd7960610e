"""The outline of a mask as closed rings through the centres of its outermost pixels.

Filled with its border, as OpenCV fills polygons, a ring gives back a piece of the mask, holes and
all. The rings of :mod:`sam3_tvm.runtime.pictures.polygons` go along the edges of pixels and are
split where they touch themselves; these aren't split, for a way in and out of a hole has to keep to
the edges that lie above it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["bridged"]

Ring = list[tuple[int, int]]
"""Corners or pixels x, y, the first not repeated at the end."""

_EAST, _WEST, _SOUTH, _NORTH = range(4)

# The mask lies to the right of the way. Where four edges meet, to turn right keeps to the pixel at
# hand, so that pieces that touch at a corner alone are apart.
_RIGHT = {_EAST: _SOUTH, _SOUTH: _WEST, _WEST: _NORTH, _NORTH: _EAST}
_LEFT = {right: before for before, right in _RIGHT.items()}


def bridged(mask: NDArray[np.bool_]) -> list[Ring]:
    """A mask as one ring for each piece of it, through the centres of its outermost pixels.

    A ring goes into each hole and back on the same pixels of the mask. Pixels that touch at a
    corner alone are of two pieces, so that rings go along rows and columns and never aslant:
    whatever lies between two points of one is a pixel of the mask, too. Filled by the even-odd
    rule and with its border, as OpenCV's ``fillPoly`` does, the rings give the mask; a piece of
    one pixel is a ring of one point.

    Args:
        mask: bool [H, W].

    Returns:
        Rings of pixels x, y, from top to bottom; none of an empty mask.
    """
    if not mask.any():
        return []
    edges = _Edges(mask)
    loops = edges.rings()
    shells = []
    hanging: dict[int, list[_Hanging]] = {}
    for loop in loops:
        if _area(edges.corners(loop)) > 0:
            shells.append(loop)
        else:
            # A hole is reached from what lies above it.
            edge, hole = edges.hung(loop)
            hanging.setdefault(edge, []).append(hole)
    for holes in hanging.values():
        holes.sort(key=lambda hole: hole.column)
    return [edges.moved(_straightened(edges.through_centres(loop, hanging))) for loop in shells]


def _area(ring: Ring) -> int:
    """Twice the area of a ring: positive of one around pixels, negative of one around a hole."""
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise([*ring, ring[0]]))


class _Hanging(NamedTuple):
    """A hole, and the way down to it.

    Attributes:
        column: in which the way goes.
        top: the row at which the way begins.
        loop: the edges around the hole, from the one on that ends where the way does.
    """

    column: int
    top: int
    loop: list[int]


_Step = tuple[int, int] | _Hanging


class _Edges:
    """The straight stretches between a mask and what it isn't, the mask to their right.

    Args:
        mask: bool [H, W], not empty. Coordinates are those of the part that has all of it, but for
            :meth:`moved`: most objects are small, and most pictures large.
    """

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        self._at = (int(columns[0]), int(rows[0]))
        mask = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        padded = np.pad(mask, 1)
        up, down = padded[:-1, 1:-1], padded[1:, 1:-1]
        left, right = padded[1:-1, :-1], padded[1:-1, 1:]
        self._mask = mask
        # East and west along rows of corners, south and north along columns, given transposed.
        runs = [
            _runs(~up & down),
            _runs(up & ~down),
            _runs((left & ~right).T),
            _runs((~left & right).T),
        ]
        starts, ends, directions = [], [], []
        for direction, (line, first, last) in enumerate(runs):
            if direction in (_WEST, _NORTH):
                first, last = last, first
            flat = direction in (_EAST, _WEST)
            starts.append(np.stack([first, line] if flat else [line, first], 1))
            ends.append(np.stack([last, line] if flat else [line, last], 1))
            directions.append(np.full(len(line), direction))
        self._start = np.concatenate(starts)
        self._end = np.concatenate(ends)
        self._direction = np.concatenate(directions)
        self._next = self._followers()
        self._directions: list[int] = self._direction.tolist()
        self._starts: Ring = list(map(tuple, self._start.tolist()))
        # For the edge that lies above a pixel: those to the east are the first, sorted by rows.
        self._easts = self._key(starts[_EAST])
        # Where the mask begins in each column, sorted by columns, then by rows.
        column, row = np.nonzero((~up & down).T)
        self._rows = len(padded)
        self._begins = column * self._rows + row

    def moved(self, ring: Ring) -> Ring:
        """A ring in the coordinates of the whole mask."""
        left, top = self._at
        return [(x + left, y + top) for x, y in ring]

    def _key(self, corners: NDArray[np.int64]) -> NDArray[np.int64]:
        """A number for each corner, in the order of rows."""
        numbers: NDArray[np.int64] = corners[:, 1] * (self._mask.shape[1] + 2) + corners[:, 0]
        return numbers

    def _followers(self) -> list[int]:
        """For each edge the one that begins where it ends."""
        follower = np.full(len(self._start), -1)
        for direction in range(4):
            coming = np.flatnonzero(self._direction == direction)
            for other in (_RIGHT[direction], _LEFT[direction]):
                going = np.flatnonzero(self._direction == other)
                keys = self._key(self._start[going])
                order = np.argsort(keys, kind="stable")
                wanted = self._key(self._end[coming])
                at = np.searchsorted(keys, wanted, sorter=order)
                inside = at < len(going)
                chosen = going[order[np.minimum(at, len(going) - 1)]] if len(going) else None
                if chosen is None:
                    continue
                fits = inside & (self._key(self._start[chosen]) == wanted)
                fits &= follower[coming] < 0
                follower[coming[fits]] = chosen[fits]
        followers: list[int] = follower.tolist()
        return followers

    def rings(self) -> list[list[int]]:
        """The edges in closed ways, from top to bottom."""
        seen = bytearray(len(self._next))
        found = []
        for first in range(len(self._next)):
            if seen[first]:
                continue
            ring = []
            edge = first
            while not seen[edge]:
                seen[edge] = 1
                ring.append(edge)
                edge = self._next[edge]
            found.append(ring)
        return found

    def corners(self, loop: list[int]) -> Ring:
        """Where the edges of a way begin."""
        return [self._starts[edge] for edge in loop]

    def hung(self, loop: list[int]) -> tuple[int, _Hanging]:
        """What a way around a hole hangs on: the edge above it in the mask, and how."""
        # At the first of the uppermost pixels that it encloses an edge to the west ends.
        (y, x), place = min(((y, x), place) for place, (x, y) in enumerate(self.corners(loop)))
        before = int(np.searchsorted(self._begins, x * self._rows + y)) - 1
        top = int(self._begins[before]) % self._rows
        key = top * (self._mask.shape[1] + 2) + x
        edge = int(np.searchsorted(self._easts, key, side="right")) - 1
        return edge, _Hanging(x, top, [*loop[place - 1 :], *loop[: place - 1]])

    def through_centres(self, loop: list[int], hanging: dict[int, list[_Hanging]]) -> Ring:
        """The pixels of the mask along a way, with the holes that hang on its edges to the east.

        Args:
            loop: the edges around a piece.
            hanging: by edges the holes that are reached from there, from west to east.
        """
        ring: Ring = []
        # Holes hang on holes, and those on others: the ways at hand, the innermost last.
        ways = [self._along(loop, hanging)]
        while ways:
            for step in ways[-1]:
                if isinstance(step, _Hanging):
                    ways.append(self._visit(step, hanging))
                    break
                ring.append(step)
            else:
                ways.pop()
        return ring

    def _visit(self, hole: _Hanging, hanging: dict[int, list[_Hanging]]) -> Iterator[_Step]:
        """Down to a hole, around it and back."""
        around = self._along(hole.loop, hanging)
        far = next(around)  # where its first edge begins; it ends below the way down
        near = next(around)
        yield (hole.column, hole.top)
        yield near
        yield from around
        yield far
        yield near
        yield (hole.column, hole.top)

    def _along(self, loop: list[int], hanging: dict[int, list[_Hanging]]) -> Iterator[_Step]:
        """The pixels of the mask along a way, and holes where it comes by them."""
        height, width = self._mask.shape
        for edge in loop:
            x0, y0 = self._starts[edge]
            x1, y1 = self._starts[self._next[edge]]
            direction = self._directions[edge]
            if direction == _EAST:
                yield (x0, y0)
                yield from hanging.get(edge, ())
                last, ahead = (x1 - 1, y1), (x1, y1)
            elif direction == _WEST:
                yield (x0 - 1, y0 - 1)
                last, ahead = (x1, y1 - 1), (x1 - 1, y1 - 1)
            elif direction == _SOUTH:
                yield (x0 - 1, y0)
                last, ahead = (x1 - 1, y1 - 1), (x1 - 1, y1)
            else:
                yield (x0, y0 - 1)
                last, ahead = (x1, y1), (x1, y1 - 1)
            yield last
            x, y = ahead
            if 0 <= x < width and 0 <= y < height and self._mask[y, x]:
                yield ahead


def _runs(
    edges: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Stretches of true values in rows: their row, the first column, and the one past the last."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, first = np.nonzero(steps == 1)
    _, last = np.nonzero(steps == -1)
    return row, first, last


def _straightened(ring: Ring) -> Ring:
    """A ring without points that lie between their neighbours, or on them."""
    points: Ring = []
    for point in ring:
        if points and points[-1] == point:
            continue
        if len(points) > 1 and _between(points[-2], points[-1], point):
            points[-1] = point
        else:
            points.append(point)
    while len(points) > 1 and points[-1] == points[0]:
        points.pop()
    return points


def _between(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> bool:
    """Whether the way from a by b to c goes on in a row or in a column."""
    return (a[0] == b[0] == c[0] and (b[1] - a[1]) * (c[1] - b[1]) > 0) or (
        a[1] == b[1] == c[1] and (b[0] - a[0]) * (c[0] - b[0]) > 0
    )
