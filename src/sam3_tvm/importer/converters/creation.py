"""Tensors made from sizes and numbers, and conversions between dtypes."""

from __future__ import annotations

from typing import Any

import torch
from tvm import relax, tirx

from sam3_tvm.importer.converters._tensors import dtype_of, extents
from sam3_tvm.importer.converters.arithmetic import is_float, is_tensor
from sam3_tvm.importer.converters.comparisons import truth
from sam3_tvm.importer.converters.indexing import iota, is_constant
from sam3_tvm.importer.converters.shapes import broadcast
from sam3_tvm.importer.registry import Context, converter
from sam3_tvm.importer.sizes import static_value

aten = torch.ops.aten


def convert_dtype(cx: Context, x: relax.Expr, dtype: str) -> relax.Expr:
    """``x`` as ``dtype`` by the rules of PyTorch on x86.

    To bool: whether it differs from zero. From floats to ints: towards zero; what doesn't
    fit 32 or 64 bits, NaN included, becomes the smallest int, and narrower ints wrap.
    TVM leaves all of that to the target.
    """
    have = dtype_of(x)
    if have == dtype:
        return x
    if dtype == "bool":
        return truth(cx, x)
    if not is_float(have) or is_float(dtype):
        return cx.emit(relax.op.astype(x, dtype))
    if have in ("float16", "bfloat16"):
        x = cx.cast(x, "float32")
    work = "int32" if dtype == "int32" else "int64"
    bits = torch.iinfo(getattr(torch, work)).bits
    limit = cx.tensor(2.0 ** (bits - 1), dtype_of(x))
    fits = cx.emit(relax.op.less(cx.emit(relax.op.abs(x)), limit))
    zero = relax.const(0, dtype_of(x))
    whole = cx.emit(relax.op.astype(cx.emit(relax.op.where(fits, x, zero)), work))
    smallest = cx.tensor(-(1 << (bits - 1)), work)
    return cx.cast(cx.emit(relax.op.where(fits, whole, smallest)), dtype)


@converter(
    aten._to_copy.default,
    aten.to.dtype,
    aten.to.device,
    aten.to.other,
    aten.to.dtype_layout,
    aten.to.prim_dtype,
    aten.to.prim_Device,
    aten.to.prim_other,
    aten.type_as.default,
)
def to(cx: Context, self: relax.Expr, *_: Any, **__: Any) -> relax.Expr:
    return convert_dtype(cx, self, cx.dtype)


@converter(aten.copy.default)
def copy(cx: Context, self: relax.Expr, src: relax.Expr, **_: Any) -> relax.Expr:
    """``src``, in the shape and dtype of what it would be copied into."""
    return broadcast(cx, convert_dtype(cx, src, cx.dtype), cx.shape)


def filled(cx: Context, value: Any) -> relax.Expr:
    """A tensor of the result's shape and dtype, all ``value``."""
    if is_tensor(value) and value.ty.ndim:
        value = cx.reshape(value, ())
    fill = convert_dtype(cx, value, cx.dtype) if is_tensor(value) else cx.tensor(value, cx.dtype)
    # Not relax.full: it can't hold infinity, and narrows integers to 32 bits.
    return broadcast(cx, fill, cx.shape)


@converter(
    aten.zeros.default,
    aten.zeros_like.default,
    aten.new_zeros.default,
    aten.empty.memory_format,
    aten.empty_like.default,
    aten.new_empty.default,
    aten.empty_permuted.default,
    aten.new_empty_strided.default,
    aten.empty_strided.default,
    aten.zero.default,
)
def zeros(cx: Context, *_: Any, **__: Any) -> relax.Expr:
    """Zeros, also where PyTorch leaves memory as it is."""
    return cx.emit(relax.op.zeros(cx.shape, cx.dtype))


@converter(aten.ones.default, aten.ones_like.default, aten.new_ones.default)
def ones(cx: Context, *_: Any, **__: Any) -> relax.Expr:
    return cx.emit(relax.op.ones(cx.shape, cx.dtype))


@converter(aten.full.default, aten.full_like.default, aten.new_full.default)
def full(cx: Context, fill_value: Any, **_: Any) -> relax.Expr:
    return filled(cx, fill_value)


@converter(aten.arange.default, aten.arange.start, aten.arange.start_step)
def arange(cx: Context, end: Any, start: Any = 0, step: Any = 1, **_: Any) -> relax.Expr:
    """``start, start + step, ...`` before ``end``: as many as torch says there are.

    Floats are computed in float64 from the position, not by repeated addition.
    """
    (length,) = cx.shape
    if static_value(length) == 0:
        return cx.emit(relax.op.zeros([0], cx.dtype))
    floats = is_float(cx.dtype) or any(isinstance(v, float) for v in (start, step))
    work = "float64" if floats else "int64"
    values = cx.cast(iota(cx, length), work)
    if static_value(step) != 1 or isinstance(step, float):
        values = cx.emit(relax.op.multiply(values, cx.tensor(step, work)))
    if static_value(start) != 0 or isinstance(start, float):
        values = cx.emit(relax.op.add(values, cx.tensor(start, work)))
    return convert_dtype(cx, values, cx.dtype)


@converter(
    aten.linspace.default,
    aten.linspace.Tensor_Tensor,
    aten.linspace.Tensor_Scalar,
    aten.linspace.Scalar_Tensor,
)
def linspace(cx: Context, start: Any, end: Any, steps: int, **_: Any) -> relax.Expr:
    """``steps`` values from ``start`` to ``end``, counted from the nearer end as PyTorch does.

    The number of steps is static: torch.export specialises it.
    """
    work = "float64"
    a, b = cx.tensor(start, work), cx.tensor(end, work)
    if steps < 2:
        return convert_dtype(cx, broadcast(cx, a, cx.shape), cx.dtype)
    i = cx.cast(iota(cx, steps), work)
    gaps = relax.const(steps - 1, work)
    step = cx.emit(relax.op.divide(cx.emit(relax.op.subtract(b, a)), gaps))
    from_start = cx.emit(relax.op.add(a, cx.emit(relax.op.multiply(step, i))))
    left = cx.emit(relax.op.subtract(gaps, i))
    from_end = cx.emit(relax.op.subtract(b, cx.emit(relax.op.multiply(step, left))))
    early = cx.emit(relax.op.less_equal(i, left))
    return convert_dtype(cx, cx.emit(relax.op.where(early, from_start, from_end)), cx.dtype)


def _grid(cx: Context, rows: Any, columns: Any) -> tuple[relax.Expr, relax.Expr]:
    """Row numbers [rows, 1] and column numbers [1, columns], int64."""
    return cx.reshape(iota(cx, rows), [rows, 1]), cx.reshape(iota(cx, columns), [1, columns])


@converter(aten.eye.default, aten.eye.m)
def eye(cx: Context, *_: Any, **__: Any) -> relax.Expr:
    if any(static_value(s) == 0 for s in cx.shape):
        return cx.emit(relax.op.zeros(cx.shape, cx.dtype))
    row, column = _grid(cx, *cx.shape)
    return cx.cast(cx.emit(relax.op.equal(row, column)), cx.dtype)


@converter(aten.tril.default, aten.triu.default)
def triangle(cx: Context, self: relax.Expr, diagonal: Any = 0) -> relax.Expr:
    """The part on and below (``tril``) or above (``triu``) a diagonal, zero elsewhere."""
    if any(static_value(s) == 0 for s in extents(self)):
        return self
    row, column = _grid(cx, *extents(self)[-2:])
    edge = row
    if static_value(diagonal) != 0:
        edge = cx.emit(relax.op.add(row, cx.tensor(diagonal, "int64")))
    lower = cx.node.target.__name__.startswith("tril")
    compare = relax.op.less_equal if lower else relax.op.greater_equal
    kept = cx.emit(compare(column, edge))
    return cx.emit(relax.op.where(kept, self, cx.tensor(0, cx.dtype)))


@converter(aten.one_hot.default)
def one_hot(cx: Context, self: relax.Expr, num_classes: int = -1) -> relax.Expr:
    """1 at each class number, 0 elsewhere, along a new last axis: int64."""
    classes = cx.shape[-1]
    rank = self.ty.ndim
    each = cx.reshape(iota(cx, classes), [1] * rank + [classes])
    spread = cx.reshape(self, [*extents(self), 1])
    return cx.cast(cx.emit(relax.op.equal(spread, cx.cast(each, dtype_of(self)))), "int64")


@converter(aten.repeat_interleave.Tensor)
def repeated_positions(cx: Context, repeats: relax.Expr, **_: Any) -> relax.Expr:
    """Position ``i`` as often as ``repeats[i]`` says: an index for ``repeat_interleave``.

    Output ``k`` is the number of positions whose running sum of repeats is at most ``k``.
    """
    ends = cx.emit(relax.op.cumsum(cx.cast(repeats, "int64"), 0, "int64"))
    count = cx.result.shape[0]
    if not cx.sizes.knows(count):
        symbol = str(count.node.expr)
        if is_constant(repeats):
            cx.sizes.define(symbol, int(repeats.value.numpy().sum()))
        else:
            total = cx.emit(relax.op.sum(cx.cast(repeats, "int64"), 0, True))
            variable = tirx.Var(symbol, "int64")
            shape = cx.emit(relax.op.tensor_to_shape(total))
            cx.builder.match_cast(shape, relax.ShapeType([variable]))
            cx.sizes.define(symbol, variable)
    (length,) = cx.shape
    place = cx.reshape(iota(cx, length), [length, 1])
    passed = cx.emit(relax.op.less_equal(ends, place))
    positions = cx.emit(relax.op.sum(cx.cast(passed, "int64"), 1))
    return cx.cast(positions, cx.dtype)
