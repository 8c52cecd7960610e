"""Where tiles lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from sam3_tvm.runtime.pictures.arguments import PromptError, brief, is_integer, is_number

__all__ = ["Tile", "Tiling"]

_LEAST = 32


class Tile(NamedTuple):
    """A part of a picture: its corners in pixels, the lower right one beyond it."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.y1 - self.y0, self.x1 - self.x0

    def overlaps(self, other: Tile) -> bool:
        """Whether they have a pixel in common."""
        return (
            self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1
        )


@dataclass(frozen=True)
class Tiling:
    """How pictures are cut.

    Attributes:
        tile: the tiles' side in pixels.
        overlap: how much of a side a tile shares with the next one, at least; 0 to 0.9.
        again: whether what tiles cut, or aren't sure of, is looked at again; see
            :mod:`sam3_tvm.tiles.again`.

    Raises:
        PromptError: what is no side or no share.
    """

    tile: int = 1008
    overlap: float = 0.15
    again: bool = True

    def __post_init__(self) -> None:
        if not is_integer(self.tile) or self.tile < _LEAST:
            raise PromptError(
                f"a tile's side is an integer of at least {_LEAST} pixels, not {brief(self.tile)}"
            )
        overlap = self.overlap
        if isinstance(overlap, bool) or not is_number(overlap) or not 0 <= overlap <= 0.9:
            raise PromptError(f"tiles overlap by 0 to 0.9 of a side, not {brief(overlap)}")

    def tiles(self, size: tuple[int, int]) -> list[Tile]:
        """The tiles of a picture, row by row, evenly spread; each lies in the picture.

        Args:
            size: its height and width.
        """
        height, width = size
        return [
            Tile(x, y, min(x + self.tile, width), min(y + self.tile, height))
            for y in self._starts(height)
            for x in self._starts(width)
        ]

    def _starts(self, length: int) -> list[int]:
        if length <= self.tile:
            return [0]
        step = max(1, math.floor(self.tile * (1 - self.overlap)))
        gaps = math.ceil((length - self.tile) / step)
        return [round(i * (length - self.tile) / gaps) for i in range(gaps + 1)]
