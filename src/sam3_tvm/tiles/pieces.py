"""What tiles find, and what it is when seams are taken out.

Masks are kept as runs over the whole picture, and joined, cut and compared as runs: memory goes
with their outlines, and not with the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from sam3_tvm.runtime.pictures.polygons import mask_polygons
from sam3_tvm.runtime.pictures.runs import Window, runs_of_window
from sam3_tvm.tiles.layout import Tile

__all__ = ["SAME", "Piece", "is_inside", "joined", "piece", "with_large"]

SAME = 0.5
"""Two tiles see the same if what they see of it in both has this intersection over union, as in
evaluations."""

# A part of a mask with less than this share of the largest part's area doesn't say where it lies.
_SPECK = 0.1


@dataclass(frozen=True)
class Piece:
    """An object as a tile sees it, or what several make of it.

    Attributes:
        score: between 0 and 1.
        box: the detector's, x0, y0, x1, y1 in the picture's pixels.
        runs: the mask over the whole picture, as pycocotools takes it.
        bounds: around the mask without specks, the lower right corner beyond it.
        tile: the number of the tile.
        cut: whether it may go on beyond the tile's edge.
        members: the pieces it was put together from; none if a single tile sees it.
    """

    score: float
    box: tuple[float, float, float, float]
    runs: dict[str, Any]
    bounds: Tile
    tile: int
    cut: bool
    members: tuple[Piece, ...] = ()


def piece(
    window: Window,
    score: float,
    box: Sequence[float],
    tile: Tile,
    number: int,
    size: tuple[int, int],
    margin: int,
    factor: int = 1,
) -> Piece:
    """What a tile sees.

    Args:
        window: the mask, with at least one pixel, in the picture's pixels.
        score, box: the detector's.
        tile, number: where it was seen.
        size: the picture's height and width.
        margin: how near to a tile's edge what is cut there may end, pixels.
        factor: how many pixels wide and high a value of the window's mask is.
    """
    left, top, right, bottom = (factor * side for side in _main(window.mask))
    bounds = Tile(
        window.x + left,
        window.y + top,
        min(window.x + right, size[1]),
        min(window.y + bottom, size[0]),
    )
    x0, y0, x1, y1 = (float(value) for value in box)
    runs = runs_of_window(window, size, factor)
    cut = not is_inside(bounds, tile, size, margin)
    return Piece(score, (x0, y0, x1, y1), runs, bounds, number, cut)


def _main(mask: NDArray[np.bool_]) -> list[int]:
    """x0, y0, x1, y1 around a mask without its specks, in its pixels.

    Specks lie anywhere. They stay in the mask, but a thing isn't cut because of one at an edge, and
    its middle isn't moved.
    """
    rings = [outer for outer, _ in mask_polygons(mask)]
    areas = [_area(ring) for ring in rings]
    least = _SPECK * max(areas)
    corners = np.concatenate([r for r, area in zip(rings, areas, strict=True) if area >= least])
    return [*corners.min(0).tolist(), *corners.max(0).tolist()]


def _area(ring: NDArray[np.int32]) -> float:
    """What a ring of corners encloses, pixels."""
    x, y = ring.astype(np.float64).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def is_inside(bounds: Tile, tile: Tile, size: tuple[int, int], margin: int) -> bool:
    """Whether bounds keep away from a tile's edges, where these aren't the picture's."""
    height, width = size
    return (
        (bounds.x0 >= tile.x0 + margin or (tile.x0 == 0 and bounds.x0 >= 0))
        and (bounds.y0 >= tile.y0 + margin or (tile.y0 == 0 and bounds.y0 >= 0))
        and (bounds.x1 <= tile.x1 - margin or (tile.x1 == width and bounds.x1 <= width))
        and (bounds.y1 <= tile.y1 - margin or (tile.y1 == height and bounds.y1 <= height))
    )


def joined(
    pieces: Sequence[Piece], tiles: Sequence[Tile], size: tuple[int, int], margin: int
) -> list[Piece]:
    """Objects: doubles removed, and what seams part put together.

    Of what tiles see whole, the best of those that agree is an object. What a tile's edge cuts is
    left to a tile that sees it with all that is around it, if there is one, whether that finds it
    or not, and goes where it agrees with an object. Of the rest, pieces that agree, each with
    another, are one object together, with the best score and with all of them as members.

    Pieces of two tiles agree if their masks do in what both tiles see.

    Args:
        pieces: of one prompt.
        tiles: of the picture, by their numbers.
        size, margin: as :func:`piece` takes them.
    """
    near = [
        [number for number, other in enumerate(tiles) if number != at and tile.overlaps(other)]
        for at, tile in enumerate(tiles)
    ]
    objects: dict[int, list[Piece]] = {}  # by tiles

    def known(one: Piece) -> bool:
        others = (other for at in near[one.tile] for other in objects.get(at, ()))
        return any(_agree(one, other, tiles, size) for other in others)

    for one in sorted(pieces, key=lambda one: -one.score):
        if not (one.cut or known(one)):
            objects.setdefault(one.tile, []).append(one)
    left = [
        one
        for one in pieces
        if one.cut
        and not any(is_inside(one.bounds, tiles[other], size, margin) for other in near[one.tile])
        and not known(one)
    ]
    of_tile: dict[int, list[int]] = {}
    for number, one in enumerate(left):
        of_tile.setdefault(one.tile, []).append(number)
    group = list(range(len(left)))

    def root(number: int) -> int:
        while group[number] != number:
            group[number] = number = group[group[number]]
        return number

    for number, one in enumerate(left):
        for other in (o for t in near[one.tile] if t < one.tile for o in of_tile.get(t, ())):
            if _agree(one, left[other], tiles, size):
                group[root(number)] = root(other)
    members: dict[int, list[Piece]] = {}
    for number, one in enumerate(left):
        members.setdefault(root(number), []).append(one)
    return [*chain.from_iterable(objects.values()), *map(_together, members.values())]


def _agree(a: Piece, b: Piece, tiles: Sequence[Tile], size: tuple[int, int]) -> bool:
    """Whether two pieces are of one object, by what both tiles see."""
    if not a.bounds.overlaps(b.bounds):
        return False
    s, t = tiles[a.tile], tiles[b.tile]
    both = Tile(max(s.x0, t.x0), max(s.y0, t.y0), min(s.x1, t.x1), min(s.y1, t.y1))
    ours, theirs = (_cut_to(one, both, size) for one in (a, b))
    return bool(coco.iou([ours], [theirs], [0])[0, 0] >= SAME)


def _cut_to(one: Piece, tile: Tile, size: tuple[int, int]) -> dict[str, Any]:
    """Runs of a piece in a tile, which it reaches into."""
    box = one.bounds
    if box.x0 >= tile.x0 and box.y0 >= tile.y0 and box.x1 <= tile.x1 and box.y1 <= tile.y1:
        return one.runs
    x0, y0 = max(box.x0, tile.x0), max(box.y0, tile.y0)
    x1, y1 = min(box.x1, tile.x1), min(box.y1, tile.y1)
    frame = runs_of_window(Window(x0, y0, np.ones((y1 - y0, x1 - x0), np.bool_)), size)
    cut: dict[str, Any] = coco.merge([one.runs, frame], intersect=True)
    return cut


def _together(members: Sequence[Piece]) -> Piece:
    best = max(members, key=lambda one: one.score)
    if len(members) == 1:
        return best
    boxes, bounds = np.array([one.box for one in members]), np.array([m.bounds for m in members])
    (x0, y0), (x1, y1) = boxes[:, :2].min(0).tolist(), boxes[:, 2:].max(0).tolist()
    around = Tile(*bounds[:, :2].min(0).tolist(), *bounds[:, 2:].max(0).tolist())
    runs = coco.merge([one.runs for one in members])
    box = (x0, y0, x1, y1)
    return replace(best, box=box, runs=runs, bounds=around, members=tuple(members))


def with_large(objects: Sequence[Piece], large: Sequence[Piece]) -> list[Piece]:
    """Objects that tiles found, and those that are larger than a tile.

    Where both found the same the tiles' mask, which is finer, gets the better score; what is cut
    by edges and lies in a larger object by more than half was a part of it.

    Args:
        objects: as :func:`joined` gives them.
        large: found on the whole picture.
    """
    if not objects or not large:
        return [*objects, *large]
    ours, theirs = [one.runs for one in objects], [one.runs for one in large]
    same = coco.iou(ours, theirs, [0] * len(theirs))
    within = coco.iou(ours, theirs, [1] * len(theirs))  # of a crowd: of the object's own area
    made = []
    for number, one in enumerate(objects):
        at = int(same[number].argmax())
        if same[number, at] >= SAME:
            made.append(replace(one, score=max(one.score, large[at].score)))
        elif not (one.cut and within[number].max() >= SAME):
            made.append(one)
    known = (same >= SAME).any(0)
    return [*made, *(one for number, one in enumerate(large) if not known[number])]
