"""Writing by position: ``x[i] = v`` and the scatter operators, each as a new tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from tvm import relax

from sam3_tvm.importer.converters._tensors import extents
from sam3_tvm.importer.converters.arithmetic import is_float
from sam3_tvm.importer.converters.comparisons import isnan
from sam3_tvm.importer.converters.indexing import (
    MergedIndex,
    count_of,
    from_end,
    iota,
    is_constant,
    plain,
    position_of,
)
from sam3_tvm.importer.converters.shapes import axis_of, broadcast, permute, piece
from sam3_tvm.importer.registry import Context, converter
from sam3_tvm.importer.sizes import static_value

aten = torch.ops.aten


@converter(aten.index_put.default, aten._unsafe_index_put.default)
def index_put(
    cx: Context,
    self: relax.Expr,
    indices: Sequence[Any],
    values: relax.Expr,
    accumulate: bool = False,
) -> relax.Expr:
    """``self[indices] = values`` as a new tensor; with ``accumulate``, added."""
    given = [i for i in indices if i is not None]
    if len(given) == 1 and given[0].ty.dtype.dtype == "bool" and not is_constant(given[0]):
        return _put_by_mask(cx, self, list(indices), values, accumulate)
    at = MergedIndex(cx, self, indices)
    lead, rest = at.merged[: at.axis], at.merged[at.axis + 1 :]
    if any(static_value(size) == 0 for size in (*lead, *at.grid, *rest)):
        return self  # TVM's loops divide by the sizes
    values = broadcast(cx, cx.cast(values, cx.dtype), [*lead, *at.grid, *rest])
    points = count_of(at.grid)
    # The indexed axis goes first, so that each point writes one row.
    rows = cx.reshape(values, [count_of(lead), points, count_of(rest)])
    rows = cx.reshape(permute(cx, rows, [1, 0, 2]), [points, *lead, *rest])
    position = cx.reshape(broadcast(cx, at.index, at.grid), [points, 1])
    order = [at.axis, *(a for a in range(len(at.merged)) if a != at.axis)]
    base = permute(cx, at.arrange(cx, self), order)
    reduction = "add" if accumulate else "update"
    if accumulate and cx.dtype == "bool":  # the sum of bools is whether any is true
        reduction, base, rows = "max", cx.cast(base, "uint8"), cx.cast(rows, "uint8")
    written = cx.cast(cx.emit(relax.op.scatter_nd(base, position, rows, reduction)), cx.dtype)
    written = permute(cx, written, [order.index(a) for a in range(len(order))])
    written = cx.reshape(written, [extents(self)[a] for a in at.order])
    return permute(cx, written, [at.order.index(a) for a in range(len(at.order))])


def _put_by_mask(
    cx: Context, x: relax.Expr, indices: list[Any], values: relax.Expr, accumulate: bool
) -> relax.Expr:
    """``x[mask] = values``, without knowing how many entries the mask has."""
    axis = next(i for i, index in enumerate(indices) if index is not None)
    mask = indices[axis]
    after = list(extents(x)[axis + mask.ty.ndim :])
    values = cx.cast(values, cx.dtype)
    spread = cx.reshape(mask, [*extents(mask), *([1] * len(after))])
    if values.ty.ndim > len(after):
        # Entry k of the values goes to the k-th true entry of the mask.
        if axis or static_value(extents(values)[0]) == 1:
            values = _aligned(cx, x, values, axis, mask)
        else:
            flat = cx.cast(cx.reshape(mask, (count_of(extents(mask)),)), "int64")
            rank = cx.emit(relax.op.cumsum(flat, 0, "int64"))
            rank = cx.emit(relax.op.subtract(rank, relax.const(1, "int64")))
            # Before the first true entry the rank is -1; what is read there isn't used.
            rank = cx.emit(relax.op.maximum(rank, relax.const(0, "int64")))
            taken = cx.emit(relax.op.take(values, rank, 0, mode="clip"))
            values = cx.reshape(taken, [*extents(mask), *extents(values)[1:]])
    written = cx.emit(relax.op.add(x, values)) if accumulate else values
    return cx.emit(relax.op.where(spread, broadcast(cx, written, extents(x)), x))


def _aligned(
    cx: Context, x: relax.Expr, values: relax.Expr, axis: int, mask: relax.Expr
) -> relax.Expr:
    """Values with one entry for the whole mask, its axis widened to the mask's rank."""
    at = values.ty.ndim - (x.ty.ndim - axis - mask.ty.ndim) - 1
    if static_value(extents(values)[at]) != 1:
        raise NotImplementedError("a value per true entry needs the mask as the first index")
    shape = extents(values)
    return cx.reshape(values, [*shape[:at], *([1] * mask.ty.ndim), *shape[at + 1 :]])


@converter(aten.masked_fill.Scalar, aten.masked_fill.Tensor)
def masked_fill(cx: Context, self: relax.Expr, mask: relax.Expr, value: Any) -> relax.Expr:
    value = cx.tensor(value, cx.dtype)
    chosen = cx.emit(relax.op.where(mask, value, self))
    return broadcast(cx, chosen, cx.shape)


@converter(aten.masked_scatter.default)
def masked_scatter(
    cx: Context, self: relax.Expr, mask: relax.Expr, source: relax.Expr
) -> relax.Expr:
    x = broadcast(cx, self, cx.shape)
    flat = cx.reshape(source, (count_of(extents(source)),))
    return _put_by_mask(cx, x, [broadcast(cx, mask, cx.shape)], flat, False)


@converter(aten.fill.Scalar, aten.fill.Tensor)
def fill(cx: Context, self: relax.Expr, value: Any) -> relax.Expr:
    return broadcast(cx, cx.tensor(value, cx.dtype), cx.shape)


def _write_slice(
    cx: Context, x: relax.Expr, src: relax.Expr, axis: int, start: Any, step: Any = 1
) -> relax.Expr:
    """``x`` with ``x[start::step]`` along an axis replaced by ``src``; all in range."""
    shape = extents(x)
    extent, length = shape[axis], extents(src)[axis]
    if any(static_value(s) == 0 for s in extents(src)):
        return x
    if static_value(step) == 1:
        end = cx.sizes.simplify(start + length)

        def part(at: Any, size: Any) -> list[relax.Expr]:
            size = cx.sizes.simplify(size)
            if static_value(size) == 0:
                return []
            return [piece(cx, x, axis, at, [*shape[:axis], size, *shape[axis + 1 :]])]

        parts = [*part(0, start), src, *part(end, extent - end)]
        return src if len(parts) == 1 else cx.emit(relax.op.concat(parts, axis))
    zero = relax.const(0, "int64")
    offset = cx.emit(relax.op.subtract(iota(cx, extent), cx.tensor(start, "int64")))
    every = cx.tensor(step, "int64")
    row = cx.emit(relax.op.floor_divide(offset, every))
    on_step = cx.emit(relax.op.equal(cx.emit(relax.op.floor_mod(offset, every)), zero))
    in_range = cx.emit(
        relax.op.logical_and(
            cx.emit(relax.op.greater_equal(offset, zero)),
            cx.emit(relax.op.less(row, cx.tensor(length, "int64"))),
        )
    )
    chosen = cx.emit(relax.op.logical_and(on_step, in_range))
    along = [extent if i == axis else 1 for i in range(len(shape))]
    spread = cx.emit(relax.op.take(src, row, axis, mode="clip"))
    return cx.emit(relax.op.where(cx.reshape(chosen, along), spread, x))


@converter(aten.slice_scatter.default)
def slice_scatter(
    cx: Context,
    self: relax.Expr,
    src: relax.Expr,
    dim: int = 0,
    start: Any = None,
    end: Any = None,
    step: Any = 1,
) -> relax.Expr:
    axis = axis_of(dim, self.ty.ndim)
    start = 0 if start is None else plain(start)
    first = position_of(cx, start, extents(self)[axis])
    return _write_slice(cx, self, cx.cast(src, cx.dtype), axis, first, plain(step))


@converter(aten.select_scatter.default)
def select_scatter(
    cx: Context, self: relax.Expr, src: relax.Expr, dim: int, index: Any
) -> relax.Expr:
    axis = axis_of(dim, self.ty.ndim)
    shape = [1 if i == axis else s for i, s in enumerate(extents(self))]
    first = position_of(cx, plain(index), extents(self)[axis])
    return _write_slice(cx, self, cx.reshape(cx.cast(src, cx.dtype), shape), axis, first)


_REDUCTIONS = {
    "add": "add",
    "sum": "add",
    "multiply": "mul",
    "prod": "mul",
    "amax": "max",
    "amin": "min",
}


def _scatter(
    cx: Context, x: relax.Expr, dim: int, index: relax.Expr, src: Any, reduction: str
) -> relax.Expr:
    """Write ``src``, as far as ``index`` reaches, at ``index`` along an axis."""
    if any(static_value(s) == 0 for s in extents(index)):
        return x
    if x.ty.ndim == 0:
        one = _scatter(
            cx,
            cx.reshape(x, (1,)),
            0,
            cx.reshape(index, (1,)),
            cx.reshape(src, (1,)) if isinstance(src, relax.Expr) else src,
            reduction,
        )
        return cx.reshape(one, ())
    shape = extents(index)
    dtype = x.ty.dtype.dtype
    if dtype == "bool" and reduction != "update":  # TVM's loops don't add or multiply bools
        reduction = {"add": "max", "mul": "min"}.get(reduction, reduction)
        src = cx.cast(cx.tensor(src, "bool"), "uint8")
        found = _scatter(cx, cx.cast(x, "uint8"), dim, index, src, reduction)
        return cx.cast(found, "bool")
    if isinstance(src, relax.Expr) and src.ty.ndim == x.ty.ndim:
        src = cx.cast(src, dtype)
        for axis in range(len(shape)):
            have = [*extents(src)[:axis], shape[axis], *extents(src)[axis + 1 :]]
            src = piece(cx, src, axis, 0, have)
    else:
        src = broadcast(cx, cx.tensor(src, dtype), shape)
    return cx.emit(relax.op.scatter_elements(x, index, src, axis_of(dim, x.ty.ndim), reduction))


@converter(aten.scatter.src, aten.scatter.value, aten.scatter.reduce, aten.scatter.value_reduce)
def scatter(
    cx: Context,
    self: relax.Expr,
    dim: int,
    index: relax.Expr,
    src: Any = None,
    value: Any = None,
    reduce: str | None = None,
) -> relax.Expr:
    """``self[..., index, ...] = src``, or with ``reduce`` added to or multiplied with it."""
    reduction = _REDUCTIONS[reduce] if reduce else "update"
    return _scatter(cx, self, dim, index, value if src is None else src, reduction)


@converter(aten.scatter_add.default)
def scatter_add(
    cx: Context, self: relax.Expr, dim: int, index: relax.Expr, src: relax.Expr
) -> relax.Expr:
    return _scatter(cx, self, dim, index, src, "add")


@converter(aten.scatter_reduce.two)
def scatter_reduce(
    cx: Context,
    self: relax.Expr,
    dim: int,
    index: relax.Expr,
    src: relax.Expr,
    reduce: str,
    include_self: bool = True,
) -> relax.Expr:
    """Reduce all that lands on one entry; without ``include_self``, its old value is left out."""
    dtype = self.ty.dtype.dtype
    zeros = cx.emit(relax.op.zeros(cx.shape, dtype))
    ones = cx.emit(relax.op.ones(cx.shape, dtype))
    base = self
    hits = _scatter(cx, zeros, dim, index, 1, "add")
    touched = cx.emit(relax.op.greater(hits, relax.const(0, dtype)))
    if reduce == "mean":
        if not include_self:
            base = cx.emit(relax.op.where(touched, zeros, self))
        total = _scatter(cx, base, dim, index, src, "add")
        own = ones if include_self else cx.emit(relax.op.where(touched, zeros, ones))
        count = cx.emit(relax.op.add(hits, own))
        if dtype.startswith("float") or dtype == "bfloat16":
            return cx.emit(relax.op.divide(total, count))
        return cx.emit(relax.op.floor_divide(total, count))
    if not include_self:
        limits = torch.finfo if cx.result.dtype.is_floating_point else torch.iinfo
        low, high = limits(cx.result.dtype).min, limits(cx.result.dtype).max
        if cx.result.dtype.is_floating_point:
            low, high = -float("inf"), float("inf")
        neutral = {"sum": 0, "prod": 1, "amax": low, "amin": high}[reduce]
        base = cx.emit(relax.op.where(touched, cx.tensor(neutral, dtype), self))
    found = _scatter(cx, base, dim, index, src, _REDUCTIONS[reduce])
    if reduce in ("amax", "amin") and is_float(dtype):
        # Relax's maximum and minimum pass over NaN.
        nans = (cx.cast(isnan(cx, x), "int32") for x in (base, src))
        some = cx.cast(_scatter(cx, next(nans), dim, index, next(nans), "max"), "bool")
        found = cx.emit(relax.op.where(some, cx.tensor(math.nan, dtype), found))
    return found


def _rows(cx: Context, x: relax.Expr, axis: int, index: relax.Expr) -> relax.Expr:
    """An index along one axis, the same for every other position, in ``x``'s rank."""
    index = from_end(cx, cx.reshape(index, (count_of(extents(index)),)), extents(x)[axis])
    length = extents(index)[0]
    along = [length if i == axis else 1 for i in range(x.ty.ndim)]
    full = [length if i == axis else s for i, s in enumerate(extents(x))]
    return broadcast(cx, cx.reshape(index, along), full)


def _write_rows(
    cx: Context, x: relax.Expr, dim: int, index: relax.Expr, src: Any, reduction: str
) -> relax.Expr:
    """Write slices, or one number, at an index along one axis; a 0-d tensor has one entry."""
    if x.ty.ndim == 0:
        line = cx.reshape(src, (1,)) if isinstance(src, relax.Expr) else src
        return cx.reshape(_write_rows(cx, cx.reshape(x, (1,)), 0, index, line, reduction), ())
    axis = axis_of(dim, x.ty.ndim)
    return _scatter(cx, x, axis, _rows(cx, x, axis, index), src, reduction)


@converter(aten.index_copy.default)
def index_copy(
    cx: Context, self: relax.Expr, dim: int, index: relax.Expr, source: relax.Expr
) -> relax.Expr:
    return _write_rows(cx, self, dim, index, source, "update")


@converter(aten.index_add.default)
def index_add(
    cx: Context,
    self: relax.Expr,
    dim: int,
    index: relax.Expr,
    source: relax.Expr,
    alpha: Any = 1,
) -> relax.Expr:
    if alpha != 1:
        source = cx.emit(relax.op.multiply(source, cx.tensor(alpha, source.ty.dtype.dtype)))
    return _write_rows(cx, self, dim, index, source, "add")


@converter(aten.index_fill.int_Scalar, aten.index_fill.int_Tensor)
def index_fill(
    cx: Context, self: relax.Expr, dim: int, index: relax.Expr, value: Any
) -> relax.Expr:
    return _write_rows(cx, self, dim, index, value, "update")
