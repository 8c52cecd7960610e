"""Sorting, and what needs order: the largest k, medians, buckets.

TVM's sort is stable, as PyTorch's on the CPU is, but knows few dtypes, and its comparisons
leave the other entries unsorted where one is NaN. So floats are sorted by integer keys of the
same order, in which NaN is the largest, as in PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch
from tvm import relax, te, tirx

from sam3_tvm.importer.converters._tensors import accumulator, dtype_of, extents
from sam3_tvm.importer.converters.arithmetic import is_float, is_tensor
from sam3_tvm.importer.converters.comparisons import common_dtype, isnan
from sam3_tvm.importer.converters.indexing import count_of
from sam3_tvm.importer.converters.resampling import as_int64
from sam3_tvm.importer.converters.shapes import axis_of, piece
from sam3_tvm.importer.registry import Context, converter
from sam3_tvm.importer.sizes import static_value

aten = torch.ops.aten


def sort_keys(cx: Context, x: relax.Expr) -> relax.Expr:
    """int32 or int64 numbers in the order of the entries; NaN above all, -0.0 equal to 0.0.

    The bits of an IEEE 754 number are a sign and a magnitude: read as an integer they are in
    order where the sign is +, and in reverse order where it is -.
    """
    dtype = dtype_of(x)
    if not is_float(dtype):
        return x if dtype in ("int32", "int64") else cx.cast(x, "int32")
    x = cx.cast(x, accumulator(dtype))
    key = "int64" if dtype == "float64" else "int32"

    def keys(data: te.Tensor) -> te.Tensor:
        largest = tirx.max_value(key)

        def entry(*at: Any) -> Any:
            value = data(*at)
            bits = tirx.reinterpret(key, value)
            ordered = tirx.Select(bits < 0, tirx.bitwise_xor(bits, largest), bits)
            ordered = tirx.Select(value == 0, tirx.const(0, key), ordered)
            return tirx.Select(tirx.isnan(value), largest, ordered)

        return te.compute(data.shape, entry, name="sort_keys")

    return cx.emit_te(keys, x, name="sort_keys")


def order(cx: Context, x: relax.Expr, dim: int, descending: bool) -> relax.Expr:
    """The positions of the entries along an axis in sorted order, int64."""
    axis = axis_of(dim, x.ty.ndim)
    return cx.emit(relax.op.argsort(sort_keys(cx, x), axis, descending, "int64"))


def _at(cx: Context, x: relax.Expr, positions: relax.Expr, dim: int) -> relax.Expr:
    return cx.emit(relax.op.gather_elements(x, positions, axis_of(dim, x.ty.ndim)))


@converter(aten.sort.default, aten.sort.stable)
def sort(
    cx: Context,
    self: relax.Expr,
    dim: int = -1,
    descending: bool = False,
    stable: bool | None = None,
) -> list[relax.Expr]:
    if self.ty.ndim == 0 or _is_empty(self):
        return [self, cx.emit(relax.op.zeros(cx.shape_of(cx.result[1]), "int64"))]
    positions = order(cx, self, dim, descending)
    return [_at(cx, self, positions, dim), positions]


@converter(aten.argsort.default, aten.argsort.stable)
def argsort(
    cx: Context,
    self: relax.Expr,
    dim: int = -1,
    descending: bool = False,
    stable: bool | None = None,
) -> relax.Expr:
    if self.ty.ndim == 0 or _is_empty(self):
        return cx.emit(relax.op.zeros(cx.shape, "int64"))
    return order(cx, self, dim, descending)


def _is_empty(x: relax.Expr) -> bool:
    return any(static_value(s) == 0 for s in extents(x))


@converter(aten.topk.default)
def topk(
    cx: Context,
    self: relax.Expr,
    k: Any,
    dim: int = -1,
    largest: bool = True,
    sorted: bool = True,
) -> list[relax.Expr]:
    """The ``k`` largest (or smallest) entries along an axis and their positions, in order;
    of equal ones the first."""
    shape = cx.shape_of(cx.result[0])
    if self.ty.ndim == 0 or any(static_value(s) == 0 for s in shape):
        return [cx.reshape(self, shape), cx.emit(relax.op.zeros(shape, "int64"))]
    axis = axis_of(dim, self.ty.ndim)
    positions = piece(cx, order(cx, self, dim, largest), axis, 0, shape)
    return [_at(cx, self, positions, dim), positions]


def _median(cx: Context, x: relax.Expr, dim: int) -> tuple[relax.Expr, relax.Expr]:
    """The middle entry along an axis, the lower of two, with its position; the first NaN where
    there is one. The axis keeps extent 1."""
    axis = axis_of(dim, x.ty.ndim)
    single = [1 if i == axis else s for i, s in enumerate(extents(x))]
    middle = tirx.floordiv(as_int64(extents(x)[axis]) - 1, as_int64(2))
    positions = order(cx, x, axis, False)
    found = piece(cx, positions, axis, cx.sizes.simplify(middle), single)
    if is_float(dtype_of(x)):
        nans = cx.cast(isnan(cx, x), "uint8")
        first = cx.emit(relax.op.argmax(nans, axis, True))
        some = cx.cast(cx.emit(relax.op.max(nans, axis, True)), "bool")
        found = cx.emit(relax.op.where(some, cx.cast(first, "int64"), found))
    return _at(cx, x, found, axis), found


@converter(aten.median.default)
def median(cx: Context, self: relax.Expr) -> relax.Expr:
    value, _ = _median(cx, cx.reshape(self, (count_of(extents(self)),)), 0)
    return cx.reshape(value, ())


@converter(aten.median.dim)
def median_along(
    cx: Context, self: relax.Expr, dim: int, keepdim: bool = False
) -> list[relax.Expr]:
    x = cx.reshape(self, (1,)) if self.ty.ndim == 0 else self
    shape = cx.shape_of(cx.result[0])
    return [cx.reshape(part, shape) for part in _median(cx, x, dim)]


@converter(aten.bucketize.Tensor, aten.bucketize.Scalar)
def bucketize(
    cx: Context, self: Any, boundaries: relax.Expr, out_int32: bool = False, right: bool = False
) -> relax.Expr:
    """How many boundaries, which are in ascending order, lie below each entry (with ``right``:
    below it or on it). NaN lies above all."""
    dtype = common_dtype(cx, 0, 1)
    values, limits = (cx.tensor(v, dtype) for v in (self, boundaries))
    if _is_empty(limits):
        return cx.emit(relax.op.zeros(cx.shape, cx.dtype))
    x = cx.reshape(values, (*(extents(values) if is_tensor(self) else ()), 1))

    def buckets(data: te.Tensor, edges: te.Tensor) -> te.Tensor:
        each = te.reduce_axis((0, edges.shape[0]), name="edge")

        def count(*at: Any) -> Any:
            value, edge = data(*at, 0), edges(each)
            # Not "edge < value": nothing is below NaN, and all is to be.
            above = edge > value if right else edge >= value
            one, zero = tirx.const(1, cx.dtype), tirx.const(0, cx.dtype)
            return te.sum(tirx.Select(above, zero, one), axis=each)

        return te.compute(data.shape[:-1], count, name="bucketize")

    return cx.emit_te(buckets, x, limits, name="bucketize")
