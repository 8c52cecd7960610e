"""Sorting. TVM's is stable, as PyTorch's on the CPU is, but knows few dtypes."""

from __future__ import annotations

import torch
from tvm import relax

from sam3_tvm.importer.converters._tensors import dtype_of
from sam3_tvm.importer.converters.arithmetic import is_float
from sam3_tvm.importer.converters.shapes import axis_of
from sam3_tvm.importer.registry import Context, converter

aten = torch.ops.aten


def _order(cx: Context, x: relax.Expr, dim: int, descending: bool) -> relax.Expr:
    """The positions of the entries along an axis in sorted order, int64."""
    dtype = dtype_of(x)
    if dtype not in ("int32", "int64", "float32", "float64"):
        x = cx.cast(x, "float32" if is_float(dtype) else "int32")
    return cx.emit(relax.op.argsort(x, axis_of(dim, x.ty.ndim), descending, "int64"))


@converter(aten.sort.default, aten.sort.stable)
def sort(
    cx: Context,
    self: relax.Expr,
    dim: int = -1,
    descending: bool = False,
    stable: bool | None = None,
) -> list[relax.Expr]:
    if self.ty.ndim == 0:
        return [self, cx.emit(relax.op.zeros([], "int64"))]
    order = _order(cx, self, dim, descending)
    return [cx.emit(relax.op.gather_elements(self, order, axis_of(dim, self.ty.ndim))), order]


@converter(aten.argsort.default, aten.argsort.stable)
def argsort(
    cx: Context,
    self: relax.Expr,
    dim: int = -1,
    descending: bool = False,
    stable: bool | None = None,
) -> relax.Expr:
    if self.ty.ndim == 0:
        return cx.emit(relax.op.zeros([], "int64"))
    return _order(cx, self, dim, descending)
