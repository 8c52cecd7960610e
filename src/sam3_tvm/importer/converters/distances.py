"""Distances between all rows of two matrices, without their differences in memory."""

from __future__ import annotations

import math
from typing import Any

import torch
from tvm import relax, te, tirx

from sam3_tvm.importer.converters._tensors import accumulator, extents, product
from sam3_tvm.importer.converters.shapes import broadcast
from sam3_tvm.importer.registry import Context, converter
from sam3_tvm.importer.sizes import static_value

aten = torch.ops.aten


@converter(aten.cdist.default, aten._cdist_forward.default)
def cdist(
    cx: Context, x1: relax.Expr, x2: relax.Expr, p: float, compute_mode: int | None = None
) -> relax.Expr:
    """The p-norm of ``x1[..., i, :] - x2[..., j, :]``.

    By the differences themselves, also where PyTorch takes the short way over a matrix product,
    which loses digits between close points.
    """
    shape, work = cx.shape, accumulator(cx.dtype)
    width = extents(x1)[-1]
    if any(static_value(s) == 0 for s in (*shape, width)):
        return cx.emit(relax.op.zeros(shape, cx.dtype))
    batch = shape[:-2]
    a, b = (
        cx.reshape(
            broadcast(cx, cx.cast(x, work), [*batch, rows, width]), [product(batch), rows, width]
        )
        for x, rows in ((x1, shape[-2]), (x2, shape[-1]))
    )
    found = cx.emit_te(_norms, a, b, float(p), name="cdist")
    return cx.cast(cx.reshape(found, shape), cx.dtype)


def _norms(a: te.Tensor, b: te.Tensor, p: float) -> te.Tensor:
    dtype = a.dtype
    over = te.reduce_axis((0, a.shape[2]), name="k")
    zero, one = tirx.const(0.0, dtype), tirx.const(1.0, dtype)

    def size(n: Any, i: Any, j: Any) -> Any:
        return tirx.abs(a[n, i, over] - b[n, j, over])

    def entry(n: Any, i: Any, j: Any) -> Any:
        if p == math.inf:  # passes over NaN, as PyTorch's does
            return te.max(tirx.Select(tirx.isnan(size(n, i, j)), zero, size(n, i, j)), axis=over)
        if p == 0:
            apart = tirx.Select(tirx.isnan(size(n, i, j)), size(n, i, j), one)
            return te.sum(tirx.Select(size(n, i, j) == zero, zero, apart), axis=over)
        if p == 1:
            return te.sum(size(n, i, j), axis=over)
        if p == 2:
            return te.sum(size(n, i, j) * size(n, i, j), axis=over)
        return te.sum(tirx.pow(size(n, i, j), tirx.const(p, dtype)), axis=over)

    shape = (a.shape[0], a.shape[1], b.shape[1])
    sums = te.compute(shape, entry, name="sums")
    if p in (0, 1, math.inf):
        return sums
    if p == 2:
        return te.compute(shape, lambda *at: tirx.sqrt(sums(*at)), name="distances")
    root = tirx.const(1.0 / p, dtype)
    return te.compute(shape, lambda *at: tirx.pow(sums(*at), root), name="distances")
