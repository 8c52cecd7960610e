"""``--tile``: pictures that are too large to be seen at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sam3_tvm.errors import UsageError

if TYPE_CHECKING:
    from sam3_tvm.tiles import Tiling

__all__ = ["OnceOption", "OverlapOption", "TileOption", "parse_tiling"]

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


OnceOption = Annotated[
    bool,
    typer.Option(
        "--once",
        help="With --tile: look at each tile once. By default what a tile cuts, or isn't sure of, "
        "is looked at again with it in the middle, which takes up to half as long again.",
    ),
]


def parse_tiling(tile: int | None, overlap: float | None, once: bool) -> Tiling | None:
    """How pictures are cut; None for whole ones.

    Raises:
        UsageError: a side or a share that can't be, or something of tiles without a side.
    """
    if tile is None:
        for option, given in (("--overlap", overlap is not None), ("--once", once)):
            if given:
                raise UsageError(f"{option} goes with --tile, such as --tile 1008")
        return None
    if tile < 32:
        raise UsageError(f"--tile {tile}: a tile has at least 32 pixels a side, such as 1008")
    if overlap is not None and not 0 <= overlap <= 0.9:
        raise UsageError(f"--overlap {overlap:g}: tiles have 0 to 0.9 of a side in common")
    from sam3_tvm.tiles import Tiling

    again = not once
    return Tiling(tile, again=again) if overlap is None else Tiling(tile, overlap, again)
