"""Matrix products by group, as the experts of a mixture need them."""

from __future__ import annotations

from typing import Any

import torch
from tvm import relax, te, tirx

from sam3_tvm.importer.converters._tensors import accumulator, dtype_of
from sam3_tvm.importer.registry import Context, converter

aten = torch.ops.aten


@converter(aten._grouped_mm.default)
def grouped_mm(
    cx: Context,
    self: relax.Expr,
    mat2: relax.Expr,
    offs: relax.Expr | None = None,
    bias: relax.Expr | None = None,
    out_dtype: Any = None,
) -> relax.Expr:
    """One matrix product per group.

    Groups are an axis of three-dimensional operands. In a two-dimensional one, group ``g`` ends
    before ``offs[g]``: along the rows of the first or the columns of the second operand, or,
    where both have two dimensions, along the summed axis. Beyond the last group it is 0.
    """
    work = accumulator(dtype_of(self))
    a, b = cx.cast(self, work), cx.cast(mat2, work)
    found = cx.emit(relax.op.matmul(a, b)) if offs is None else _ragged(cx, a, b, offs)
    if bias is not None:
        found = cx.emit(relax.op.add(found, cx.cast(bias, work)))
    return cx.cast(found, cx.dtype)


@converter("transformers::grouped_mm_fallback")
def grouped_mm_fallback(
    cx: Context, input: relax.Expr, weight: relax.Expr, offs: relax.Expr
) -> relax.Expr:
    """transformers' own, for dtypes that PyTorch's doesn't take while it is traced."""
    work = accumulator(dtype_of(input))
    return cx.cast(_ragged(cx, cx.cast(input, work), cx.cast(weight, work), offs), cx.dtype)


def _ragged(cx: Context, a: relax.Expr, b: relax.Expr, ends: relax.Expr) -> relax.Expr:
    ends = cx.cast(ends, "int64")
    if a.ty.ndim == 2 and b.ty.ndim == 2:
        return cx.emit_te(_by_summed_axis, a, b, ends, name="grouped_mm")
    by = _by_rows if a.ty.ndim == 2 else _by_columns
    return cx.emit_te(by, a, b, ends, name="grouped_mm")


def _groups(ends: te.Tensor, length: Any) -> te.Tensor:
    """The group of each position: how many groups end at or before it."""
    each = te.reduce_axis((0, ends.shape[0]), name="group")
    one, zero = tirx.const(1, "int64"), tirx.const(0, "int64")
    return te.compute(
        (length,),
        lambda at: te.sum(tirx.Select(ends[each] <= tirx.Cast("int64", at), one, zero), axis=each),
        name="groups",
    )


def _within(group: Any, count: Any) -> Any:
    """A group's number, the last one's for positions beyond it."""
    return tirx.min(group, tirx.Cast("int64", count) - 1)


def _by_rows(a: te.Tensor, b: te.Tensor, ends: te.Tensor) -> te.Tensor:
    """``[s, k] x [g, k, n]``, a group of rows for each matrix: [s, n]."""
    groups = _groups(ends, a.shape[0])
    count, over = b.shape[0], te.reduce_axis((0, a.shape[1]), name="k")
    sums = te.compute(
        (a.shape[0], b.shape[2]),
        lambda s, n: te.sum(a[s, over] * b[_within(groups[s], count), over, n], axis=over),
        name="sums",
    )
    zero = tirx.const(0, a.dtype)
    return te.compute(
        sums.shape, lambda s, n: tirx.Select(groups[s] < count, sums[s, n], zero), name="grouped"
    )


def _by_columns(a: te.Tensor, b: te.Tensor, ends: te.Tensor) -> te.Tensor:
    """``[g, m, k] x [k, n]``, a group of columns for each matrix: [m, n]."""
    groups = _groups(ends, b.shape[1])
    count, over = a.shape[0], te.reduce_axis((0, b.shape[0]), name="k")
    sums = te.compute(
        (a.shape[1], b.shape[1]),
        lambda m, n: te.sum(a[_within(groups[n], count), m, over] * b[over, n], axis=over),
        name="sums",
    )
    zero = tirx.const(0, a.dtype)
    return te.compute(
        sums.shape, lambda m, n: tirx.Select(groups[n] < count, sums[m, n], zero), name="grouped"
    )


def _by_summed_axis(a: te.Tensor, b: te.Tensor, ends: te.Tensor) -> te.Tensor:
    """``[m, k] x [k, n]``, a product for each group of the summed axis: [g, m, n]."""
    groups = _groups(ends, a.shape[1])
    over, zero = te.reduce_axis((0, a.shape[1]), name="k"), tirx.const(0, a.dtype)

    def entry(g: Any, m: Any, n: Any) -> Any:
        product = a[m, over] * b[over, n]
        member = groups[over] == tirx.Cast("int64", g)
        return te.sum(tirx.Select(member, product, zero), axis=over)

    return te.compute((ends.shape[0], a.shape[0], b.shape[1]), entry, name="grouped")
