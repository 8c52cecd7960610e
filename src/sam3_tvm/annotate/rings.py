"""The outline of a mask as closed rings: along the edges of pixels, or through their centres.

Both are exact. Rings along edges enclose the mask's pixels and nothing else, whatever fills them by
the centres of pixels. A ring through centres visits the outermost pixels of the mask; filled with
its border, as OpenCV fills polygons, it gives them back.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Polygon", "bridged", "polygons"]

Ring = list[tuple[int, int]]
"""Corners x, y, the first not repeated at the end."""

_EAST, _WEST, _SOUTH, _NORTH = range(4)

# The mask lies to the right of the way. Where four edges meet, to turn right keeps to the pixel at
# hand, so that pieces that touch at a corner alone are apart.
_RIGHT = {_EAST: _SOUTH, _SOUTH: _WEST, _WEST: _NORTH, _NORTH: _EAST}
_LEFT = {right: before for before, right in _RIGHT.items()}


@dataclass(frozen=True)
class Polygon:
    """A piece of a mask.

    Attributes:
        shell: the ring around it, in the direction that :func:`area` takes for positive.
        holes: the rings around what it lacks, in the other direction.
    """

    shell: Ring
    holes: list[Ring]


def polygons(mask: NDArray[np.bool_]) -> list[Polygon]:
    """A mask as polygons along the edges of its pixels.

    Pixels that touch at a corner alone are of two polygons, and no ring touches itself: the
    polygons are valid by OGC's rules. Pixel x, y has the corners x, y and x + 1, y + 1.

    Args:
        mask: bool [H, W].

    Returns:
        The polygons, from top to bottom; none of an empty mask.
    """
    if not mask.any():
        return []
    edges = _Edges(mask)
    loops = [loop for ring in edges.rings() for loop in edges.simple(ring)]
    owners = edges.owners(loops)
    found: dict[int, Polygon] = {}
    for number, loop in enumerate(loops):
        if owners[number] is None:
            found[number] = Polygon(edges.moved(edges.corners(loop)), [])
    for number, loop in enumerate(loops):
        owner = owners[number]
        if owner is not None:
            while (above := owners[owner]) is not None:
                owner = above
            owners[number] = owner  # holes below this one go no longer way
            found[owner].holes.append(edges.moved(edges.corners(loop)))
    return list(found.values())


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
    owners = edges.owners(loops)
    visits: dict[int, list[tuple[int, Ring]]] = {}
    found = []
    # A hole hangs on what lies above it, so that those below are in its ring when it is handed on.
    for number in sorted(range(len(loops)), key=lambda n: -edges.top(loops[n])[1]):
        ring = edges.through_centres(loops[number], visits)
        if owners[number] is None:
            found.append((number, edges.moved(_straightened(ring))))
            continue
        x, y = edges.top(loops[number])
        start = ring.index((x, y - 1))
        edge, top = edges.above(x, y)
        around = [*ring[start:], *ring[:start], (x, y - 1)]
        visits.setdefault(edge, []).append((x, [(x, top), *around, (x, top)]))
    return [ring for _, ring in sorted(found, key=lambda one: one[0])]


def area(ring: Ring) -> int:
    """Twice the area of a ring: positive where x turns to y, as in RFC 7946 for shells."""
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise([*ring, ring[0]]))


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
        self._loop_of: dict[int, int] = {}

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

    def simple(self, ring: list[int]) -> list[list[int]]:
        """A closed way as ways that come to no corner twice."""
        found = []
        stack: list[int] = []
        place: dict[tuple[int, int], int] = {}
        for edge in ring:
            corner = self._starts[edge]
            if corner in place:
                at = place[corner]
                found.append(stack[at:])
                for one in stack[at:]:
                    del place[self._starts[one]]
                del stack[at:]
            place[corner] = len(stack)
            stack.append(edge)
        return [*found, stack]

    def corners(self, loop: list[int]) -> Ring:
        """Where the edges of a way begin."""
        return [self._starts[edge] for edge in loop]

    def owners(self, loops: list[list[int]]) -> list[int | None]:
        """For each way around a hole the one that lies above it in the mask; None for shells."""
        self._loop_of = {edge: number for number, loop in enumerate(loops) for edge in loop}
        owners: list[int | None] = []
        for loop in loops:
            if area(self.corners(loop)) > 0:
                owners.append(None)
            else:
                edge, _ = self.above(*self.top(loop))
                owners.append(self._loop_of[edge])
        return owners

    def top(self, loop: list[int]) -> tuple[int, int]:
        """The column x of the uppermost pixels that a way encloses, and their row y."""
        y, x = min((y, x) for x, y in self.corners(loop))
        return x, y

    def above(self, x: int, y: int) -> tuple[int, int]:
        """The edge that bounds the mask upwards from the pixel over x, y, and its row."""
        column = self._mask[:y, x]
        top = y - int(np.argmin(column[::-1])) if not column.all() else 0
        key = top * (self._mask.shape[1] + 2) + x
        return int(np.searchsorted(self._easts, key, side="right")) - 1, top

    def through_centres(self, loop: list[int], visits: dict[int, list[tuple[int, Ring]]]) -> Ring:
        """The pixels of the mask along a way, with what is visited from its edges to the east."""
        ring: Ring = []
        height, width = self._mask.shape
        for edge in loop:
            x0, y0 = self._starts[edge]
            x1, y1 = self._starts[self._next[edge]]
            direction = self._directions[edge]
            if direction == _EAST:
                ring.append((x0, y0))
                for _, visit in sorted(visits.get(edge, ()), key=lambda one: one[0]):
                    ring += visit
                last, ahead = (x1 - 1, y1), (x1, y1)
            elif direction == _WEST:
                ring.append((x0 - 1, y0 - 1))
                last, ahead = (x1, y1 - 1), (x1 - 1, y1 - 1)
            elif direction == _SOUTH:
                ring.append((x0 - 1, y0))
                last, ahead = (x1 - 1, y1 - 1), (x1 - 1, y1)
            else:
                ring.append((x0, y0 - 1))
                last, ahead = (x1, y1), (x1, y1 - 1)
            ring.append(last)
            x, y = ahead
            if 0 <= x < width and 0 <= y < height and self._mask[y, x]:
                ring.append(ahead)
        return ring


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
