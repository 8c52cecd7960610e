"""Places in sorted sequences, by bisection."""

from __future__ import annotations

from typing import Any

import torch
from tvm import relax, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from sam3_tvm.importer.converters._tensors import extents, product
from sam3_tvm.importer.converters.comparisons import common_dtype
from sam3_tvm.importer.converters.shapes import broadcast
from sam3_tvm.importer.registry import Context, converter
from sam3_tvm.importer.sizes import static_value

aten = torch.ops.aten


@converter(aten.searchsorted.Tensor)
def searchsorted(
    cx: Context,
    sorted_sequence: relax.Expr,
    self: relax.Expr,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: relax.Expr | None = None,
) -> relax.Expr:
    """How many entries of a sorted sequence (in the order of ``sorter``) lie below each value;
    with ``right`` below it or on it. One sequence for all values, or one per row of them."""
    shape, dtype = cx.shape, common_dtype(cx, 0, 1)
    length = extents(sorted_sequence)[-1] if sorted_sequence.ty.ndim else 1
    if any(static_value(s) == 0 for s in (*shape, length)):
        return cx.emit(relax.op.zeros(shape, cx.dtype))
    if sorter is not None:
        axis = sorted_sequence.ty.ndim - 1
        sorted_sequence = cx.emit(relax.op.gather_elements(sorted_sequence, sorter, axis))
    dtype = "uint8" if dtype == "bool" else dtype
    sequence, values = cx.cast(sorted_sequence, dtype), cx.cast(self, dtype)
    rows = product(extents(sequence)[:-1])
    if sequence.ty.ndim < 2:
        columns = product(shape)
    else:
        columns = shape[-1]
        values = broadcast(cx, values, shape)
    sequence = cx.reshape(sequence, [rows, length])
    values = cx.reshape(values, [rows, columns])
    # ``side`` is the newer spelling of ``right`` and wins where it is given.
    above = side == "right" if side is not None else right
    found = cx.emit_te(_bisect, sequence, values, above, cx.dtype, name="searchsorted")
    return cx.reshape(found, shape)


def _bisect(sequence: te.Tensor, values: te.Tensor, right: bool, dtype: str) -> te.Tensor:
    """Per row: the first place whose entry isn't below the value (with ``right``: is above).

    NaN as a value is above all.
    """
    rows, columns = values.shape

    def body(ins: Any, outs: Any) -> Any:
        with IRBuilder() as builder:
            ordered, wanted, out = map(T.buffer_proxy, (*ins, outs[0]))
            with T.parallel(0, rows * columns) as point:
                i, j = tirx.floordiv(point, columns), tirx.floormod(point, columns)
                low_buffer = T.decl_buffer([1], "int64", scope="local")
                high_buffer = T.decl_buffer([1], "int64", scope="local")
                low, high = T.buffer_proxy(low_buffer), T.buffer_proxy(high_buffer)
                low[0] = tirx.const(0, "int64")
                high[0] = tirx.Cast("int64", sequence.shape[1])
                with T.While(low[0] < high[0]):
                    middle = low[0] + tirx.floordiv(high[0] - low[0], 2)
                    entry, value = ordered[i, middle], wanted[i, j]
                    reached = entry > value if right else entry >= value
                    with T.If(reached):
                        with T.Then():
                            high[0] = middle
                        with T.Else():
                            low[0] = middle + 1
                out[i, j] = tirx.Cast(dtype, low[0])
            return builder.get()

    return te.extern([values.shape], [sequence, values], body, name="bisect", dtype=[dtype])
