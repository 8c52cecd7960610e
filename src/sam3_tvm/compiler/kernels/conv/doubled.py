"""Pictures of twice the size: columns of even and of odd pixels become rows."""

from __future__ import annotations

from sam3_tvm.compiler.kernels.emit import Expr, as_index, load, spread, store
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.kernels.vector_math import interleaved

__all__ = ["store_doubled"]


def store_doubled(
    y: Expr,
    pair: list[Expr],
    lanes: int,
    where: tuple[Expr, Expr, Expr, Expr],
    epilogue: Epilogue,
    bias: Expr | None,
    residual: Expr | None,
) -> None:
    """Emit ``y[.., 2 c + side] = pair[side][c - column]``, with what follows the sums.

    Args:
        y: the result.
        pair: vectors of even and of odd pixels.
        lanes: of each.
        where: picture, channel and row of the result, and the column of which the first two are.
        epilogue: what follows the sums.
        bias: of the channel.
        residual: an array as large as the result.
    """
    *outer, column = where
    for mixed, side, width in interleaved(pair, lanes):
        here = (*outer, column * as_index(2) + as_index(side))
        other = None if residual is None else load(residual, *here, lanes=width)
        value = epilogue.apply(mixed, width, bias=spread(bias, width), residual=other)
        store(y, value, *here, lanes=width)
