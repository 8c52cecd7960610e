"""``--tile``: pictures that are too large to be seen at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sam3_tvm.errors import UsageError

if TYPE_CHECKING:
    from sam3_tvm.tiles import Tiling

__all__ = ["OverlapOption", "TileOption", "parse_tiling"]

TileOption = Annotated[
    int | None,
    typer.Option(
        help="Look at large pictures in tiles of so many pixels a side, such as 1008, and join "
        # Rich would take the brackets for markup.
        "what lies on their seams. GeoTIFF is read by windows with the extra \\[geo].",
        metavar="PIXELS",
    ),
]

OverlapOption = Annotated[
    float | None,
    typer.Option(
        help="How much of a side tiles have in common, 0 to 0.9; 0.15 by default.",
        metavar="SHARE",
    ),
]


def parse_tiling(tile: int | None, overlap: float | None) -> Tiling | None:
    """How pictures are cut; None for whole ones.

    Raises:
        UsageError: a side or a share that can't be, or a share alone.
    """
    if tile is None:
        if overlap is not None:
            raise UsageError("--overlap goes with --tile, such as --tile 1008")
        return None
    if tile < 32:
        raise UsageError(f"--tile {tile}: a tile has at least 32 pixels a side, such as 1008")
    if overlap is not None and not 0 <= overlap <= 0.9:
        raise UsageError(f"--overlap {overlap:g}: tiles have 0 to 0.9 of a side in common")
    from sam3_tvm.tiles import Tiling

    return Tiling(tile) if overlap is None else Tiling(tile, overlap)
