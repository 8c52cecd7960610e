"""Rotary embedding as a pass of its own, where no attention rotates what it loads.

Rows are rotated by the cosines and sines of their position (Su et al., "RoFormer", 2021), in pairs
of neighbouring components: x' = x cos + swap(x) sin, where swap exchanges the two and sin has its
sign changed for the first of each, as in
:mod:`~sam3_tvm.compiler.kernels.attention.operands`. Positions repeat with the rows of the table:
SAM 3's tracker has several maps of memories, one after the other, and behind them rows without a
place, which stay as they are. Bound by memory: each value is read once and written once, and the
table comes from the cache.
"""

from __future__ import annotations

from tvm import tirx

from sam3_tvm.compiler.kernels.emit import (
    Expr,
    as_index,
    bind,
    ceil_div,
    kernel,
    load,
    loop,
    parallel,
    quotient,
    remainder,
    scalar,
    size_var,
    store,
    tensor,
    vectors,
    when,
)
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["rotary_kernel", "rotary_name"]

_ROWS = 16
"""Rows of a task."""


def rotary_name(period: int, size: int) -> str:
    """What a profile lists the kernel as."""
    return f"rotary_{period}x{size}"


def rotary_kernel(target: CpuTarget, period: int, size: int) -> Expr:
    """The PrimFunc ``(x [B, L, D], table [P, 2, D], count, y [B, L, D])``, float32 but the count,
    an int64; B and L symbolic.

    Row l of each of the B is rotated by row l % P of the table, cosines and signed sines, where
    l < count, and copied where not.

    Args:
        target: the CPU that it is for.
        period: P.
        size: D, an even number.
    """
    with kernel(rotary_name(period, size)) as made:
        batch, length = size_var("batch"), size_var("length")
        x = tensor("x", (batch, length, size))
        table = tensor("table", (period, 2, size))
        count = scalar("count")
        y = tensor("y", (batch, length, size))
        each = bind(ceil_div(length, _ROWS))
        with parallel(batch * each) as task, loop(_ROWS) as r:
            image = bind(quotient(task, each))
            row = bind(remainder(task, each) * as_index(_ROWS) + r)
            with when(row < tirx.min(count, length)):
                angle = bind(row % as_index(period))
                for column, lanes in vectors(size, target.lanes):
                    value = bind(load(x, image, row, column, lanes=lanes))
                    order = [tirx.const(i ^ 1, "int32") for i in range(lanes)]
                    cosine, sine = (load(table, angle, i, column, lanes=lanes) for i in (0, 1))
                    turned = tirx.Shuffle([value], order) * sine
                    store(y, value * cosine + turned, image, row, column, lanes=lanes)
            with when(tirx.all(row >= count, row < length)):
                for column, lanes in vectors(size, target.lanes):
                    store(
                        y, load(x, image, row, column, lanes=lanes), image, row, column, lanes=lanes
                    )
    return made.func
