"""Reading by position: slices, selections, gathers, advanced indexing, sorting.

Lesson 5: slice bounds may be None, one-element lists, negative, symbolic or beyond the
end. And ``x[-1]``, ``x[tensor([0, -1])]``: PyTorch counts negative positions from the
end, Relax's ``take`` reads out of bounds with them, so they are normalised here and
every ``take`` clips: a wrong index from a model must never read foreign memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tvm import relax, tirx
from tvm.ir.expr import GenericConst

from sam3_tvm.importer.converters._tensors import extents
from sam3_tvm.importer.converters.shapes import axis_of, broadcast, permute, piece
from sam3_tvm.importer.registry import Context, converter, is_symbolic
from sam3_tvm.importer.sizes import static_value

aten = torch.ops.aten


def plain(value: Any) -> Any:
    """A slice bound: lists of one are unwrapped, TIR constants become ints."""
    if isinstance(value, list | tuple):
        (value,) = value
    static = static_value(value)
    return value if static is None else static


def position_of(cx: Context, value: Any, extent: Any) -> Any:
    """A slice bound within 0..extent: counted from the end if negative, and clipped."""
    prove = cx.sizes.proven
    if isinstance(value, int) and isinstance(extent, int):
        return min(max(value + extent if value < 0 else value, 0), extent)
    if isinstance(value, int):
        negative = value < 0
    else:
        negative = prove(value < 0)
        if not negative and not prove(value >= 0):
            value = tirx.Select(value < 0, value + extent, value)
    if negative:
        value = value + extent
    if not prove(value >= 0):
        value = tirx.max(value, 0)
    if not prove(value <= extent):
        value = tirx.min(value, extent)
    return cx.sizes.simplify(value)


@converter(aten.slice.Tensor)
def slice_(
    cx: Context, self: relax.Expr, dim: int = 0, start: Any = None, end: Any = None, step: Any = 1
) -> relax.Expr:
    """``self[start:end:step]`` along one axis."""
    axis = axis_of(dim, self.ty.ndim)
    start, end, step = plain(start), plain(end), plain(step)
    if any(isinstance(v, relax.Expr) and not is_symbolic(v) for v in (start, end)):
        return _slice_by_data(cx, self, axis, start, end, step)
    extent = extents(self)[axis]
    first = 0 if start is None else position_of(cx, start, extent)
    known = all(map(cx.sizes.knows, cx.result.shape))
    if known:
        reach = first + (cx.shape[axis] - 1) * step + 1
        if cx.sizes.proven(cx.sizes.simplify(reach) <= extent):
            return piece(cx, self, axis, first, cx.shape, step)
    # A bound that stems from data may lie outside: it is clipped, and the length that torch
    # expects is checked, when it runs.
    return _slice_by_data(cx, self, axis, start, end, step)


def _slice_by_data(
    cx: Context, x: relax.Expr, axis: int, start: Any, end: Any, step: int
) -> relax.Expr:
    """A slice whose bounds are 0-d tensors; its length is known when it runs."""
    extent = (
        cx.tensor(extents(x)[axis], "int64")
        if is_symbolic(extents(x)[axis])
        else cx.tensor(int(extents(x)[axis]))
    )

    def bound(value: Any, default: relax.Expr) -> relax.Expr:
        if value is None:
            return default
        value = cx.tensor(value, "int64")
        value = from_end(cx, value, extent)
        value = cx.emit(relax.op.maximum(value, relax.const(0, "int64")))
        return cx.emit(relax.op.minimum(value, extent))

    first = bound(start, relax.const(0, "int64"))
    last = cx.emit(relax.op.maximum(bound(end, extent), first))
    rank = x.ty.ndim

    def vector(value: relax.Expr, others: Sequence[Any]) -> relax.Expr:
        entries = [value if i == axis else cx.tensor(o, "int64") for i, o in enumerate(others)]
        return cx.emit(relax.op.concat([cx.reshape(e, (1,)) for e in entries], 0))

    return cx.emit(
        relax.op.dynamic_strided_slice(
            x,
            vector(first, [0] * rank),
            vector(last, extents(x)),
            relax.const(np.array([step if i == axis else 1 for i in range(rank)]), "int64"),
        )
    )


@converter(aten.narrow.default, aten.narrow_copy.default)
def narrow(cx: Context, self: relax.Expr, dim: int, start: Any, length: Any) -> relax.Expr:
    axis = axis_of(dim, self.ty.ndim)
    return piece(cx, self, axis, position_of(cx, plain(start), extents(self)[axis]), cx.shape)


@converter(aten.select.int)
def select(cx: Context, self: relax.Expr, dim: int, index: Any) -> relax.Expr:
    """One entry along an axis, which disappears."""
    axis = axis_of(dim, self.ty.ndim)
    index = plain(index)
    if isinstance(index, relax.Expr) and not is_symbolic(index):
        return take(cx, self, index, axis)
    single = [1 if i == axis else s for i, s in enumerate(extents(self))]
    start = position_of(cx, index, extents(self)[axis])
    return cx.reshape(piece(cx, self, axis, start, single), cx.shape)


def is_constant(x: relax.Expr) -> bool:
    return isinstance(x, GenericConst)


def from_end(cx: Context, index: relax.Expr, extent: relax.Expr | Any) -> relax.Expr:
    """Indices with the negative ones counted from the end."""
    if is_constant(index):
        values = index.value.numpy()
        if not (values < 0).any():
            return index
        size = extent if not isinstance(extent, relax.Expr) or is_symbolic(extent) else None
        static = static_value(size) if size is not None else None
        if static is not None:
            return relax.const(np.where(values < 0, values + static, values), index.ty.dtype.dtype)
    dtype = index.ty.dtype.dtype
    if dtype.startswith("uint"):
        return index
    zero = relax.const(0, dtype)
    wrapped = cx.emit(relax.op.add(index, cx.tensor(plain(extent), dtype)))
    return cx.emit(relax.op.where(cx.emit(relax.op.less(index, zero)), wrapped, index))


def take(cx: Context, x: relax.Expr, index: relax.Expr, axis: int) -> relax.Expr:
    """``x`` at these positions along an axis; negative ones count from the end."""
    extent = extents(x)[axis]
    shape = [*extents(x)[:axis], *extents(index), *extents(x)[axis + 1 :]]
    if any(static_value(s) == 0 for s in shape):
        return cx.emit(relax.op.zeros(shape, x.ty.dtype.dtype))
    return cx.emit(relax.op.take(x, from_end(cx, index, extent), axis, mode="clip"))


@converter(aten.index_select.default)
def index_select(cx: Context, self: relax.Expr, dim: int, index: relax.Expr) -> relax.Expr:
    x = cx.reshape(self, (1,)) if self.ty.ndim == 0 else self
    index = cx.reshape(index, (1,)) if index.ty.ndim == 0 else index
    return cx.reshape(take(cx, x, index, axis_of(dim, x.ty.ndim)), cx.shape)


@converter(aten.embedding.default)
def embedding(cx: Context, weight: relax.Expr, indices: relax.Expr, **_: Any) -> relax.Expr:
    return take(cx, weight, indices, 0)


@converter(aten.take.default)
def take_flat(cx: Context, self: relax.Expr, index: relax.Expr) -> relax.Expr:
    return take(cx, cx.reshape(self, (count_of(extents(self)),)), index, 0)


def count_of(shape: Sequence[Any]) -> Any:
    total: Any = 1
    for size in shape:
        total = total * plain(size)
    return total


@converter(aten.gather.default)
def gather(cx: Context, self: relax.Expr, dim: int, index: relax.Expr, **_: Any) -> relax.Expr:
    if any(static_value(s) == 0 for s in cx.shape):
        return cx.emit(relax.op.zeros(cx.shape, cx.dtype))
    if self.ty.ndim == 0:
        return cx.reshape(self, cx.shape)
    axis = axis_of(dim, self.ty.ndim)
    index = from_end(cx, index, extents(self)[axis])
    return cx.emit(relax.op.gather_elements(self, index, axis))


@converter(aten.take_along_dim.default)
def take_along_dim(
    cx: Context, self: relax.Expr, indices: relax.Expr, dim: int | None = None
) -> relax.Expr:
    if dim is None:
        flat = cx.reshape(self, (count_of(extents(self)),))
        index = cx.reshape(indices, cx.shape)
        return cx.emit(relax.op.gather_elements(flat, from_end(cx, index, extents(flat)[0]), 0))
    axis = axis_of(dim, self.ty.ndim)
    shape = cx.shape
    x = broadcast(cx, self, [*shape[:axis], extents(self)[axis], *shape[axis + 1 :]])
    index = from_end(cx, broadcast(cx, indices, shape), extents(self)[axis])
    return cx.emit(relax.op.gather_elements(x, index, axis))


# Advanced indexing.


def nonzero_positions(cx: Context, mask: relax.Expr, count: Any) -> relax.Expr:
    """Flat positions of the true entries of a mask, in order: int64 [count].

    Without a sort: each true entry knows its rank from a running sum, and writes its
    position there; the false ones write to a slot that is cut off.

    Args:
        mask: bool, any shape.
        count: torch's size of the result; its symbol is defined here if it is new.
    """
    shape = extents(mask)
    total = count_of(shape)
    flat = cx.cast(cx.reshape(mask, (total,)), "int64")
    running = cx.emit(relax.op.cumsum(flat, 0, "int64"))
    if not cx.sizes.knows(count):
        variable = tirx.Var(str(count.node.expr), "int64")
        found = cx.emit(relax.op.sum(flat, 0, keepdims=True))
        cx.builder.match_cast(cx.emit(relax.op.tensor_to_shape(found)), relax.ShapeType([variable]))
        cx.sizes.define(variable.name, variable)
    one = relax.const(1, "int64")
    rank = cx.emit(relax.op.subtract(running, one))
    rank = cx.emit(relax.op.where(cx.cast(flat, "bool"), rank, cx.tensor(total, "int64")))
    slots = cx.emit(relax.op.zeros((total + 1,), "int64"))
    positions = cx.emit(relax.op.arange(0, total, 1, "int64"))
    filled = cx.emit(relax.op.scatter_elements(slots, rank, positions, 0))
    return piece(cx, filled, 0, 0, [cx.sizes.expr(count)])


def _unravel(cx: Context, flat: relax.Expr, shape: Sequence[Any]) -> list[relax.Expr]:
    """Flat positions as one index per axis."""
    found: list[relax.Expr] = []
    for size in reversed(list(shape)):
        extent = cx.tensor(plain(size), "int64")
        found.append(cx.emit(relax.op.floor_mod(flat, extent)))
        flat = cx.emit(relax.op.floor_divide(flat, extent))
    return found[::-1]


@converter(aten.nonzero.default)
def nonzero(cx: Context, self: relax.Expr) -> relax.Expr:
    mask = cx.cast(self, "bool")
    flat = nonzero_positions(cx, mask, cx.result.shape[0])
    axes = _unravel(cx, flat, extents(self))
    if not axes:
        return cx.emit(relax.op.zeros(cx.shape, "int64"))
    columns = [cx.reshape(a, [extents(a)[0], 1]) for a in axes]
    return columns[0] if len(columns) == 1 else cx.emit(relax.op.concat(columns, 1))


@converter(aten.masked_select.default)
def masked_select(cx: Context, self: relax.Expr, mask: relax.Expr) -> relax.Expr:
    shape = _broadcast_shape(cx, extents(self), extents(mask))
    flat = nonzero_positions(cx, broadcast(cx, mask, shape), cx.result.shape[0])
    return take(cx, cx.reshape(broadcast(cx, self, shape), (count_of(shape),)), flat, 0)


def _broadcast_shape(cx: Context, *shapes: Sequence[Any]) -> list[Any]:
    """The common shape; among equal symbolic sizes the first."""
    rank = max(map(len, shapes), default=0)
    common: list[Any] = [1] * rank
    for shape in shapes:
        for at, size in enumerate(shape, start=rank - len(shape)):
            if static_value(common[at]) == 1:
                common[at] = plain(size)
    return common


class MergedIndex:
    """``x[indices]`` brought to one index along one axis.

    Attributes:
        axis: where that axis is, once ``order`` has been applied and axes merged.
        order: permutation of ``x`` that puts the indexed axes side by side.
        merged: ``x``'s shape, permuted, with the indexed axes as one.
        index: int64, in range, shape ``grid``; the positions along ``axis``.
        grid: the broadcast shape of the index tensors.
    """

    def __init__(
        self, cx: Context, x: relax.Expr, indices: Sequence[Any], count: Any = None
    ) -> None:
        shape = extents(x)
        by_axis: dict[int, relax.Expr] = {}
        axis = 0
        for index in indices:
            if index is None:
                axis += 1
                continue
            dtype = index.ty.dtype.dtype
            if dtype in ("bool", "uint8"):
                for part in self._from_mask(cx, cx.cast(index, "bool"), count):
                    by_axis[axis] = part
                    axis += 1
                continue
            by_axis[axis] = from_end(cx, cx.cast(index, "int64"), shape[axis])
            axis += 1
        axes = sorted(by_axis)
        adjacent = axes == list(range(axes[0], axes[0] + len(axes)))
        self.axis = axes[0] if adjacent else 0
        rest = [a for a in range(len(shape)) if a not in by_axis]
        self.order = rest[: self.axis] + axes + rest[self.axis :]
        self.grid = _broadcast_shape(cx, *(extents(i) for i in by_axis.values()))
        extent: Any = 1
        for a in axes:
            extent = extent * shape[a]
        permuted = [shape[a] for a in self.order]
        self.merged = [*permuted[: self.axis], extent, *permuted[self.axis + len(axes) :]]
        self.index = by_axis[axes[0]]
        for a in axes[1:]:
            scaled = cx.emit(relax.op.multiply(self.index, cx.tensor(shape[a], "int64")))
            self.index = cx.emit(relax.op.add(scaled, by_axis[a]))

    @staticmethod
    def _from_mask(cx: Context, mask: relax.Expr, count: Any) -> list[relax.Expr]:
        if is_constant(mask):
            places = mask.value.numpy().nonzero()
            if not cx.sizes.knows(count):
                cx.sizes.define(str(count.node.expr), len(places[0]))
            return [relax.const(p, "int64") for p in places]
        if count is None:
            raise NotImplementedError("a mask beside other indices must be constant")
        return _unravel(cx, nonzero_positions(cx, mask, count), extents(mask))

    def arrange(self, cx: Context, x: relax.Expr) -> relax.Expr:
        return cx.reshape(permute(cx, x, self.order), self.merged)


def _mask_count(cx: Context, indices: Sequence[Any]) -> Any:
    """torch's size for the only index if that is a mask: the number of its true entries."""
    axis = next(i for i, index in enumerate(indices) if index is not None)
    return cx.result.shape[axis] if sum(i is not None for i in indices) == 1 else None


@converter(aten.index.Tensor, aten._unsafe_index.Tensor)
def index(cx: Context, self: relax.Expr, indices: Sequence[Any]) -> relax.Expr:
    """``self[i, :, j]`` with integer and boolean tensors and gaps (None)."""
    at = MergedIndex(cx, self, indices, _mask_count(cx, indices))
    return cx.reshape(take(cx, at.arrange(cx, self), at.index, at.axis), cx.shape)


def iota(cx: Context, extent: Any) -> relax.Expr:
    """0, 1, ... extent - 1 as int64."""
    return cx.emit(relax.op.arange(0, extent, 1, "int64"))


def wrap_index(cx: Context, index: relax.Expr, extent: Any) -> relax.Expr:
    return cx.emit(relax.op.floor_mod(index, cx.tensor(plain(extent), "int64")))


@converter(aten.flip.default, aten.fliplr.default, aten.flipud.default)
def flip(cx: Context, self: relax.Expr, dims: Sequence[int] | None = None) -> relax.Expr:
    if dims is None:
        dims = [1] if cx.node.target is aten.fliplr.default else [0]
    for dim in dims:
        if self.ty.ndim:
            self = cx.emit(relax.op.flip(self, axis_of(dim, self.ty.ndim)))
    return self


@converter(aten.roll.default)
def roll(
    cx: Context, self: relax.Expr, shifts: Sequence[Any], dims: Sequence[int] = ()
) -> relax.Expr:
    """Entries move by ``shifts``; what leaves at one end enters at the other."""
    if not dims:
        flat = cx.reshape(self, (count_of(extents(self)),))
        return cx.reshape(_roll(cx, flat, plain(list(shifts)), 0), cx.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        self = _roll(cx, self, plain(shift), axis_of(dim, self.ty.ndim))
    return self


def _roll(cx: Context, x: relax.Expr, shift: Any, axis: int) -> relax.Expr:
    extent = extents(x)[axis]
    if any(static_value(s) == 0 for s in extents(x)):
        return x
    if isinstance(extent, int) and isinstance(shift, int):
        cut = -shift % extent
        if cut == 0:
            return x
        shape = extents(x)

        def part(start: int, length: int) -> relax.Expr:
            return piece(cx, x, axis, start, [*shape[:axis], length, *shape[axis + 1 :]])

        return cx.emit(relax.op.concat([part(cut, extent - cut), part(0, cut)], axis))
    moved = cx.emit(relax.op.subtract(iota(cx, extent), cx.tensor(shift, "int64")))
    index = wrap_index(cx, moved, extent)
    return cx.emit(relax.op.take(x, index, axis, mode="clip"))
