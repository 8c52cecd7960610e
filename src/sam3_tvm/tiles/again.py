"""What a tile doesn't settle is looked at again, with it in the middle.

Tiles show what whole pictures don't: parts of things at their edges, which look like other things,
and what lies between things. So what no tile sees whole, and what one sees but isn't sure of, is
looked at again in a window of its own: first in one somewhat smaller than a tile, which has less of
what lies around, and, unless that finds it, in one of a tile's size.

What was cut and is found in the first window is what the window has. Otherwise the scores of the
tile and the windows count alike, and one that doesn't find it counts as 0: an object is what has a
mean above the threshold.

Pieces that were joined are looked at one by one: they may be of neighbours, and then the middle of
all is the middle of none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pycocotools import mask as coco

from sam3_tvm.tiles.layout import Tile
from sam3_tvm.tiles.pieces import SAME, Piece, is_inside

__all__ = ["FAINT", "look_again"]

FAINT = 0.4
"""Windows are asked for what has this share of the threshold: a mean may need it."""

# Sides of the windows, in sides of a tile.
_SIDES = (0.8, 1.0)

# What a tile sees whole with a score below this is looked at again.
_SURE = 0.9

# A window that has this share of its side around an object shows it as well as one of its own.
_AROUND = 1 / 8

Ask = Callable[[Tile, Sequence[int]], Mapping[int, Sequence[Piece]]]
"""A window, and the numbers of prompts, to the pieces of each."""


@dataclass
class _Doubted:
    """An object, or a piece of one, that is to be looked at again.

    Attributes:
        prompt, number: which object.
        piece: what tiles make of it.
        scores: that windows gave it so far.
        best: the best of what they saw; None for nothing.
    """

    prompt: int
    number: int
    piece: Piece
    scores: list[float]
    best: Piece | None = None

    def settled(self, threshold: float) -> Piece | None:
        """What windows make of it; None for nothing."""
        if not self.scores:
            return None  # too large for them
        if self.piece.cut and self.scores[0] > threshold:
            return self.best
        score = float(np.mean([self.piece.score, *self.scores]))
        seen = self.best if self.piece.cut else self.piece
        return replace(seen, score=score) if seen and score > threshold else None


def look_again(
    objects: Sequence[Sequence[Piece]],
    ask: Ask,
    tile: int,
    size: tuple[int, int],
    margin: int,
    threshold: float,
) -> list[list[Piece]]:
    """Objects, without those that further looks don't bear out.

    Args:
        objects: of each prompt, as :func:`~sam3_tvm.tiles.pieces.joined` gives them.
        ask: called for windows from top to bottom, twice.
        tile: the tiles' side in pixels.
        size: the picture's height and width.
        margin: as there.
        threshold: objects have higher scores.
    """
    every = [
        _Doubted(prompt, number, seen, [])
        for prompt, of in enumerate(objects)
        for number, one in enumerate(of)
        if one.cut or one.score < _SURE
        for seen in one.members or (one,)
    ]
    every.sort(key=lambda one: (one.piece.bounds.y0, one.piece.bounds.x0))
    for share in _SIDES:
        side = round(share * tile)
        open_ = [one for one in every if max(one.scores, default=0) <= threshold]
        fit = [one for one in open_ if max(one.piece.bounds.size) <= side - 2 * margin]
        windows = _windows(fit, side, size, margin)
        for window in sorted(windows, key=lambda window: (window.y0, window.x0)):
            served = windows[window]
            seen = ask(window, sorted({one.prompt for one in served}))
            for one in served:
                _hold(one, seen[one.prompt])
    return _outcome(objects, every, round(max(_SIDES) * tile) - 2 * margin, threshold)


def _outcome(
    objects: Sequence[Sequence[Piece]], every: Sequence[_Doubted], widest: int, threshold: float
) -> list[list[Piece]]:
    """Objects of each prompt after all looks; ``widest`` is what a window holds, pixels."""
    settled: dict[tuple[int, int], list[Piece]] = {}
    for one in every:
        found = one.settled(threshold)
        settled.setdefault((one.prompt, one.number), []).extend([found] if found else [])
    made = []
    for prompt, of in enumerate(objects):
        kept: list[Piece] = []
        for number, whole in enumerate(of):
            # What no window holds stays, unless one sees a thing in it.
            stays = [whole] if max(whole.bounds.size) > widest else []
            kept += settled.get((prompt, number), [whole]) or stays
        made.append(_single(kept))
    return made


def _windows(
    doubted: Sequence[_Doubted], side: int, size: tuple[int, int], margin: int
) -> dict[Tile, list[_Doubted]]:
    """Windows, and whom each serves: one that has another's object well inside serves both."""
    around = max(margin, round(side * _AROUND))
    windows: dict[Tile, list[_Doubted]] = {}
    for one in doubted:
        bounds = one.piece.bounds
        for window, served in windows.items():
            if is_inside(bounds, window, size, around):
                served.append(one)
                break
        else:
            windows.setdefault(_in_the_middle(bounds, side, size), []).append(one)
    return windows


def _in_the_middle(bounds: Tile, side: int, size: tuple[int, int]) -> Tile:
    def span(first: int, last: int, length: int) -> tuple[int, int]:
        begin = max(0, min(round((first + last - side) / 2), length - side))
        return begin, min(length, begin + side)

    x0, x1 = span(bounds.x0, bounds.x1, size[1])
    y0, y1 = span(bounds.y0, bounds.y1, size[0])
    return Tile(x0, y0, x1, y1)


def _hold(one: _Doubted, seen: Sequence[Piece]) -> None:
    """Hold an object against what a window sees whole."""
    found = [other for other in seen if not other.cut and _agrees(one.piece, other)]
    best = max(found, key=lambda other: other.score, default=None)
    one.scores.append(best.score if best else 0.0)
    if best and (one.best is None or best.score > one.best.score):
        one.best = best


def _agrees(one: Piece, other: Piece) -> bool:
    """Whether a window sees an object; of one that is cut, a thing that has most of it."""
    if not one.bounds.overlaps(other.bounds):
        return False
    # With a crowd pycocotools divides by the object's own area.
    return bool(coco.iou([one.runs], [other.runs], [int(one.cut)])[0, 0] >= SAME)


def _single(objects: Sequence[Piece]) -> list[Piece]:
    """Objects without doubles: several pieces of a thing may have led to it."""
    kept: list[Piece] = []
    for one in sorted(objects, key=lambda one: -one.score):
        near = [other.runs for other in kept if other.bounds.overlaps(one.bounds)]
        if not near or coco.iou([one.runs], near, [0] * len(near)).max() < SAME:
            kept.append(one)
    return kept
