"""A large picture, tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam3_tvm.progress import Progress, silent
from sam3_tvm.runtime.concepts.exemplar import Exemplar, Like, checked_exemplars
from sam3_tvm.runtime.concepts.results import Result
from sam3_tvm.runtime.model import Model
from sam3_tvm.runtime.pictures.arguments import PromptError
from sam3_tvm.runtime.pictures.coordinates import checked_labels, pixel_boxes
from sam3_tvm.runtime.pictures.image import Picture
from sam3_tvm.runtime.pictures.runs import Window
from sam3_tvm.tiles.again import FAINT, look_again
from sam3_tvm.tiles.layout import Tile, Tiling
from sam3_tvm.tiles.pieces import Piece, joined, piece, with_large
from sam3_tvm.tiles.result import TiledResult
from sam3_tvm.tiles.windows import Windows, open_windows

__all__ = ["segment_tiled"]

# The whole picture is read at up to so many times the network's own side.
_FINER = 2


def segment_tiled(
    model: Model,
    picture: Windows | Picture,
    text: str | Sequence[str | None] | None = None,
    boxes: ArrayLike | None = None,
    box_labels: ArrayLike | None = None,
    threshold: float = 0.5,
    progress: Progress = silent,
    *,
    like: Like = None,
    nms: float | None = None,
    tiling: Tiling | None = None,
) -> Any:
    """As :meth:`Model.segment`, of a picture that is too large to be seen at once.

    Each tile is looked at by itself, and so is the whole picture, for what is larger than a tile.
    What tiles cut, or aren't sure of, is looked at again with it in the middle, for the prompts
    that it was found by: :mod:`sam3_tvm.tiles.again`.

    Args:
        model: any number of threads may use it.
        picture: as :func:`~sam3_tvm.tiles.windows.open_windows` takes or gives it.
        text: as there.
        boxes: examples on this picture, in its pixels, for every phrase; each is seen in a window
            of a tile's size around it.
        box_labels: as there.
        threshold, nms, like: as there.
        progress: called before each tile, with those that are done and all of them.
        tiling: by default tiles of 1008 pixels that overlap by 0.15 of that.

    Returns:
        A :class:`TiledResult`; a list of them if ``text`` is a list.

    Raises:
        PromptError: prompts that cannot be used.
        ImageError: a picture that cannot be read.
    """
    tiling = tiling or Tiling()
    if not isinstance(picture, Windows):
        with open_windows(picture) as opened:
            made = segment_tiled(
                model,
                opened,
                text,
                boxes,
                box_labels,
                threshold,
                progress,
                like=like,
                nms=nms,
                tiling=tiling,
            )
            for one in made if isinstance(made, list) else [made]:
                one.reopens(picture)
            return made
    alone = text is None or isinstance(text, str)
    several: list[str | None] = [text] if text is None or isinstance(text, str) else [*text]
    elsewhere = checked_exemplars(like, len(several), not alone, model.fingerprint)
    shown = _shown(model, picture, boxes, box_labels, tiling)
    each = [(*of, *shown) for of in elsewhere]
    if text is None and not any(each):
        raise PromptError("nothing to look for: give text, boxes or both")

    def ask(
        rgb: NDArray[np.uint8], rows: Sequence[int] | None = None, share: float = 1
    ) -> list[Result]:
        chosen = range(len(several)) if rows is None else rows
        return model.segment(
            rgb,
            [several[row] for row in chosen],
            threshold=share * threshold,
            nms=nms,
            like=[each[row] for row in chosen],
        )

    sizes = model.manifest.sizes
    looking = _Looking(picture, ask, tiling, 4 * sizes.grid, sizes.image, threshold, progress)
    results = looking.results()
    return results[0] if alone else results


def _shown(
    model: Model, picture: Windows, boxes: Any, labels: Any, tiling: Tiling
) -> tuple[Exemplar, ...]:
    """Examples on the picture itself, each in a window around it."""
    given = pixel_boxes(boxes, picture.size)
    of_each = checked_labels("box", "boxes", labels, len(given))
    made = []
    for (x0, y0, x1, y1), label in zip(given.tolist(), of_each.tolist(), strict=True):
        side = max(tiling.tile, round(2 * max(x1 - x0, y1 - y0)))
        left, right = _around((x0 + x1) / 2, side, picture.size[1])
        top, bottom = _around((y0 + y1) / 2, side, picture.size[0])
        rgb = picture.read(Tile(left, top, right, bottom))
        box = [x0 - left, y0 - top, x1 - left, y1 - top]
        made.append(model.exemplar(rgb, [box], [label], views=len(given) == 1))
    return tuple(made)


def _around(middle: float, side: int, length: int) -> tuple[int, int]:
    first = max(0, min(round(middle - side / 2), length - side))
    return first, min(length, first + side)


class _Ask(Protocol):
    """Looks for prompts in pixels: for all, or for some rows of them; at the threshold, or at a
    share of it."""

    def __call__(
        self, rgb: NDArray[np.uint8], rows: Sequence[int] | None = None, share: float = 1
    ) -> list[Result]: ...


class _Looking:
    """One search of a picture.

    Args:
        picture: to be read.
        ask: what looks for prompts.
        tiling: how the picture is cut.
        cells: of masks, along a side.
        network: the side of what it sees, pixels.
        threshold: objects have higher scores.
        progress: told of tiles, of the whole picture, and of further looks.
    """

    def __init__(
        self,
        picture: Windows,
        ask: _Ask,
        tiling: Tiling,
        cells: int,
        network: int,
        threshold: float,
        progress: Progress,
    ) -> None:
        self._picture, self._ask, self._tiling = picture, ask, tiling
        self._network, self._threshold, self._progress = network, threshold, progress
        self._size = picture.size
        self._looked = 0  # windows, so far
        self._tiles = tiling.tiles(picture.size)
        # What a mask's cell covers of a tile, and a pixel: what ends so near to an edge ends there.
        self._margin = 1 + -(-max(self._tiles[0].size) // cells)

    def results(self) -> list[TiledResult]:
        """What each prompt finds."""
        picture, tiles = self._picture, self._tiles
        picture.expect(2 * self._tiling.tile)
        found: list[list[Piece]] = []
        names: list[tuple[str, str]] = []
        total = len(tiles) + (len(tiles) > 1)
        for number, tile in enumerate(tiles):
            self._progress("tiles", number, total)
            results = self._ask(picture.read(tile))
            found = found or [[] for _ in results]
            names = [(result.text, result.text_read) for result in results]
            for pieces, result in zip(found, results, strict=True):
                pieces += _pieces(result, tile, number, 1, self._size, self._margin)
        objects = [joined(pieces, tiles, self._size, self._margin) for pieces in found]
        if len(tiles) > 1:
            if self._tiling.again:
                objects = look_again(
                    objects,
                    self._window,
                    self._tiling.tile,
                    self._size,
                    self._margin,
                    self._threshold,
                )
            total += self._looked
            self._progress("whole", total - 1, total)
            objects = self._with_large(objects)
        self._progress("tiles", total, total)
        return [
            TiledResult(text, read, self._size, of, picture.place)
            for (text, read), of in zip(names, objects, strict=True)
        ]

    def _window(self, window: Tile, prompts: Sequence[int]) -> dict[int, list[Piece]]:
        # How many there will be depends on what they find.
        looks = len(self._tiles) + self._looked
        self._progress("again", looks, looks + 1)
        self._looked += 1
        results = self._ask(self._picture.read(window), prompts, FAINT)
        return {
            prompt: _pieces(result, window, -1, 1, self._size, self._margin)
            for prompt, result in zip(prompts, results, strict=True)
        }

    def _with_large(self, objects: list[list[Piece]]) -> list[list[Piece]]:
        """Those of tiles, and what is larger than a tile where the whole picture is looked at."""
        size, tiles = self._size, self._tiles
        factor = max(1, max(size) // (_FINER * self._network))
        made = []
        for of, result in zip(objects, self._ask(self._picture.reduced(factor)), strict=True):
            whole = Tile(0, 0, size[1], size[0])
            pieces = _pieces(result, whole, len(tiles), factor, size, 0)
            large = [one for one in pieces if max(one.bounds.size) > self._tiling.tile]
            made.append(with_large(of, large))
        return made


def _pieces(
    result: Result, tile: Tile, number: int, factor: int, size: tuple[int, int], margin: int
) -> list[Piece]:
    """A tile's objects, without those whose mask has no pixel.

    Args:
        result: what was found in it, or in it reduced.
        tile, number: which it is.
        factor: by which it was reduced.
        size: the picture's height and width.
        margin: see :func:`~sam3_tvm.tiles.pieces.piece`.
    """
    made = []
    for one in result:
        mask = one.masks[0]
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not rows.size:
            continue
        x, y = int(columns[0]), int(rows[0])
        inside = mask[y : rows[-1] + 1, x : columns[-1] + 1]
        window = Window(tile.x0 + x * factor, tile.y0 + y * factor, inside)
        box = one.boxes[0] * np.float32(factor) + np.array([tile.x0, tile.y0] * 2, np.float32)
        score = float(one.scores[0])
        made.append(piece(window, score, box, tile, number, size, margin, factor))
    return made
