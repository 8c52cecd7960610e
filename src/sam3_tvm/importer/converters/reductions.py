"""Reductions over axes: sums, extremes, truth, positions, moments, norms, scans, softmax.

PyTorch sums ints and bools as int64 and halves in float32, takes the maximum of bools,
and reduces 0-d tensors over axis -1; Relax does none of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tvm import relax

from sam3_tvm.importer.converters._tensors import accumulator, dtype_of, extents
from sam3_tvm.importer.converters.arithmetic import is_float
from sam3_tvm.importer.converters.comparisons import isnan, truth
from sam3_tvm.importer.converters.creation import convert_dtype
from sam3_tvm.importer.converters.indexing import count_of
from sam3_tvm.importer.converters.shapes import axis_of
from sam3_tvm.importer.registry import Context, converter
from sam3_tvm.importer.sizes import static_value

aten = torch.ops.aten


def axes_of(dim: Any, rank: int) -> list[int]:
    """The axes that a ``dim`` argument names: none named means all."""
    if dim is None or (isinstance(dim, Sequence) and not dim):
        return list(range(max(rank, 1)))
    return sorted({axis_of(d, rank) for d in ([dim] if isinstance(dim, int) else dim)})


def ranked(cx: Context, x: relax.Expr) -> relax.Expr:
    """``x`` with at least one axis."""
    return x if x.ty.ndim else cx.reshape(x, (1,))


def reduced(
    cx: Context,
    operator: Callable[..., relax.Expr],
    x: relax.Expr,
    axes: list[int],
    keepdims: bool,
    of_none: float,
) -> relax.Expr:
    """``operator`` over axes; ``of_none`` where there is nothing to reduce.

    TVM's kernels set a result while they visit the first element: over an axis of size 0
    they leave it as memory was.
    """
    found = cx.emit(operator(x, axes, keepdims))
    count = count_of([extents(x)[a] for a in axes])
    if static_value(count) == 0 or not cx.sizes.proven(count >= 1):
        empty = cx.emit(relax.op.equal(cx.tensor(count, "int64"), relax.const(0, "int64")))
        found = cx.emit(relax.op.where(empty, cx.tensor(of_none, dtype_of(x)), found))
    return found


def total(cx: Context, x: relax.Expr, axes: list[int], keepdims: bool) -> relax.Expr:
    return reduced(cx, relax.op.sum, x, axes, keepdims, 0)


def extent_of(cx: Context, x: relax.Expr, axes: list[int], dtype: str) -> relax.Expr:
    """How many entries are reduced, as a 0-d tensor."""
    return cx.tensor(count_of([extents(x)[a] for a in axes]), dtype)


@converter(aten.sum.default, aten.sum.dim_IntList)
def sum_(
    cx: Context, self: relax.Expr, dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> relax.Expr:
    x = ranked(cx, convert_dtype(cx, self, accumulator(cx.dtype)))
    found = total(cx, x, axes_of(dim, self.ty.ndim), keepdim)
    return cx.cast(cx.reshape(found, cx.shape), cx.dtype)


@converter(aten.mean.default, aten.mean.dim)
def mean(
    cx: Context, self: relax.Expr, dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> relax.Expr:
    x = ranked(cx, cx.cast(self, accumulator(cx.dtype)))
    found = reduced(cx, relax.op.mean, x, axes_of(dim, self.ty.ndim), keepdim, math.nan)
    return cx.cast(cx.reshape(found, cx.shape), cx.dtype)


@converter(aten.prod.default, aten.prod.dim_int)
def prod(
    cx: Context, self: relax.Expr, dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> relax.Expr:
    x = ranked(cx, convert_dtype(cx, self, accumulator(cx.dtype)))
    found = reduced(cx, relax.op.prod, x, axes_of(dim, self.ty.ndim), keepdim, 1)
    return cx.cast(cx.reshape(found, cx.shape), cx.dtype)


def _count_true(cx: Context, mask: relax.Expr, dim: Any, keepdim: bool) -> relax.Expr:
    """How many entries are true, int32: 0 of none, which an extreme can't tell."""
    x = ranked(cx, cx.cast(mask, "int32"))
    return cx.reshape(total(cx, x, axes_of(dim, mask.ty.ndim), keepdim), cx.shape)


@converter(aten.any.default, aten.any.dim, aten.any.dims)
def any_(cx: Context, self: relax.Expr, dim: Any = None, keepdim: bool = False) -> relax.Expr:
    count = _count_true(cx, truth(cx, self), dim, keepdim)
    return cx.cast(cx.emit(relax.op.greater(count, relax.const(0, "int32"))), cx.dtype)


@converter(aten.all.default, aten.all.dim, aten.all.dims)
def all_(cx: Context, self: relax.Expr, dim: Any = None, keepdim: bool = False) -> relax.Expr:
    false = cx.emit(relax.op.logical_not(truth(cx, self)))
    count = _count_true(cx, false, dim, keepdim)
    return cx.cast(cx.emit(relax.op.equal(count, relax.const(0, "int32"))), cx.dtype)


def extreme(
    cx: Context, x: relax.Expr, dim: Any, keepdim: bool, least: bool, shape: Sequence[Any]
) -> relax.Expr:
    """The largest (or ``least``) entries; of bools too; NaN where any is NaN.

    Relax starts from the largest finite number, passes over NaN, and so has neither NaN
    nor the infinity that is the extreme of nothing else. What kind of number decides is
    found by a second reduction.
    """
    dtype = dtype_of(x)
    axes = axes_of(dim, x.ty.ndim)
    work = "uint8" if dtype == "bool" else accumulator(dtype)
    values = ranked(cx, cx.cast(x, work))
    found = cx.emit((relax.op.min if least else relax.op.max)(values, axes, keepdim))
    if is_float(dtype):
        worst = cx.tensor(math.inf if least else -math.inf, work)
        nan, number, bound = (relax.const(code, "uint8") for code in (2, 1, 0))
        kind = cx.emit(relax.op.where(cx.emit(relax.op.equal(values, worst)), bound, number))
        kind = cx.emit(relax.op.where(isnan(cx, values), nan, kind))
        kind = cx.emit(relax.op.max(kind, axes, keepdim))
        found = cx.emit(relax.op.where(cx.emit(relax.op.equal(kind, bound)), worst, found))
        not_a_number = cx.tensor(math.nan, work)
        found = cx.emit(relax.op.where(cx.emit(relax.op.equal(kind, nan)), not_a_number, found))
    return cx.reshape(cx.cast(found, dtype), shape)


@converter(aten.max.default, aten.amax.default)
def amax(cx: Context, self: relax.Expr, dim: Any = None, keepdim: bool = False) -> relax.Expr:
    return extreme(cx, self, dim, keepdim, False, cx.shape)


@converter(aten.min.default, aten.amin.default)
def amin(cx: Context, self: relax.Expr, dim: Any = None, keepdim: bool = False) -> relax.Expr:
    return extreme(cx, self, dim, keepdim, True, cx.shape)


def position_of_extreme(
    cx: Context, x: relax.Expr, dim: int | None, keepdim: bool, least: bool, shape: Sequence[Any]
) -> relax.Expr:
    """The first position of the largest (or ``least``) entry along an axis, int64; of the
    first NaN where there is one."""
    dtype = dtype_of(x)
    # Halves are compared in float32: TVM can't build a search for a position in bfloat16.
    x = cx.cast(x, "uint8" if dtype == "bool" else accumulator(dtype))
    if dim is None or x.ty.ndim == 0:
        x, dim = cx.reshape(x, (count_of(extents(x)),)), 0
    search = relax.op.argmin if least else relax.op.argmax
    axis = axis_of(dim, x.ty.ndim)
    found = cx.emit(search(x, axis, keepdim))
    if is_float(dtype_of(x)):
        nans = cx.cast(isnan(cx, x), "uint8")
        first = cx.emit(relax.op.argmax(nans, axis, keepdim))
        some = cx.cast(cx.emit(relax.op.max(nans, axis, keepdim)), "bool")
        found = cx.emit(relax.op.where(some, first, found))
    # Where every entry is the dtype's own extreme, Relax finds none and says -1.
    found = cx.emit(relax.op.maximum(cx.cast(found, "int64"), relax.const(0, "int64")))
    return cx.reshape(found, shape)


@converter(aten.argmax.default)
def argmax(cx: Context, self: relax.Expr, dim: Any = None, keepdim: bool = False) -> relax.Expr:
    return position_of_extreme(cx, self, dim, keepdim, False, cx.shape)


@converter(aten.argmin.default)
def argmin(cx: Context, self: relax.Expr, dim: Any = None, keepdim: bool = False) -> relax.Expr:
    return position_of_extreme(cx, self, dim, keepdim, True, cx.shape)


def _extreme_and_position(least: bool) -> Callable[..., list[relax.Expr]]:
    def convert(cx: Context, self: relax.Expr, dim: int, keepdim: bool = False) -> list[relax.Expr]:
        shape = cx.shape_of(cx.result[0])
        return [
            extreme(cx, self, dim, keepdim, least, shape),
            position_of_extreme(cx, self, dim, keepdim, least, shape),
        ]

    return convert


converter(aten.max.dim)(_extreme_and_position(least=False))
converter(aten.min.dim)(_extreme_and_position(least=True))


def _scan(operator: Callable[..., relax.Expr]) -> Callable[..., relax.Expr]:
    def convert(cx: Context, self: relax.Expr, dim: int, dtype: Any = None) -> relax.Expr:
        work = accumulator(cx.dtype)
        x = convert_dtype(cx, self, work)
        found = cx.emit(operator(ranked(cx, x), axis_of(dim, self.ty.ndim), work))
        return cx.cast(cx.reshape(found, cx.shape), cx.dtype)

    return convert


converter(aten.cumsum.default)(_scan(relax.op.cumsum))
converter(aten.cumprod.default)(_scan(relax.op.cumprod))


def _variance(
    cx: Context, x: relax.Expr, dim: Any, correction: float, keepdim: bool, dtype: str
) -> relax.Expr:
    """The mean square distance from the mean, of ``n - correction`` degrees of freedom."""
    work = accumulator(dtype)
    axes = axes_of(dim, x.ty.ndim)
    x = ranked(cx, cx.cast(x, work))
    distance = cx.emit(relax.op.subtract(x, cx.emit(relax.op.mean(x, axes, True))))
    squares = total(cx, cx.emit(relax.op.multiply(distance, distance)), axes, keepdim)
    freedom = cx.emit(
        relax.op.subtract(extent_of(cx, x, axes, work), cx.tensor(float(correction), work))
    )
    freedom = cx.emit(relax.op.maximum(freedom, relax.const(0, work)))
    return cx.emit(relax.op.divide(squares, freedom))


def _moment(root: bool) -> Callable[..., relax.Expr]:
    def convert(
        cx: Context,
        self: relax.Expr,
        dim: Any = None,
        unbiased: bool = True,
        correction: Any = None,
        keepdim: bool = False,
    ) -> relax.Expr:
        freedom = correction if correction is not None else float(unbiased)
        found = _variance(cx, self, dim, freedom, keepdim, cx.dtype)
        found = cx.emit(relax.op.sqrt(found)) if root else found
        return cx.cast(cx.reshape(found, cx.shape), cx.dtype)

    return convert


def _moment_and_mean(root: bool) -> Callable[..., list[relax.Expr]]:
    def convert(
        cx: Context,
        self: relax.Expr,
        dim: Any = None,
        unbiased: bool = True,
        correction: Any = None,
        keepdim: bool = False,
    ) -> list[relax.Expr]:
        dtype, shape = dtype_of(self), cx.shape_of(cx.result[0])
        freedom = correction if correction is not None else float(unbiased)
        found = _variance(cx, self, dim, freedom, keepdim, dtype)
        found = cx.emit(relax.op.sqrt(found)) if root else found
        x = ranked(cx, cx.cast(self, accumulator(dtype)))
        middle = reduced(cx, relax.op.mean, x, axes_of(dim, self.ty.ndim), keepdim, math.nan)
        return [cx.cast(cx.reshape(part, shape), dtype) for part in (found, middle)]

    return convert


converter(aten.var.default, aten.var.dim, aten.var.correction)(_moment(root=False))
converter(aten.std.default, aten.std.dim, aten.std.correction)(_moment(root=True))
converter(aten.var_mean.default, aten.var_mean.dim, aten.var_mean.correction)(
    _moment_and_mean(root=False)
)
converter(aten.std_mean.default, aten.std_mean.dim, aten.std_mean.correction)(
    _moment_and_mean(root=True)
)


def _norm(cx: Context, x: relax.Expr, order: float, dim: Any, keepdim: bool) -> relax.Expr:
    """The vector norm ``(sum |x|^order)^(1/order)`` and its limits 0 and infinity."""
    work = accumulator(cx.dtype)
    axes = axes_of(dim, x.ty.ndim)
    x = ranked(cx, cx.cast(x, work))
    size = cx.emit(relax.op.abs(x))
    if math.isinf(order):
        found = extreme(cx, size, axes, keepdim, order < 0, cx.shape)
    elif order == 0:
        found = total(cx, cx.cast(truth(cx, x), work), axes, keepdim)
    elif order == 1:
        found = total(cx, size, axes, keepdim)
    elif order == 2:
        squares = cx.emit(relax.op.multiply(x, x))
        found = cx.emit(relax.op.sqrt(total(cx, squares, axes, keepdim)))
    else:
        powers = cx.emit(relax.op.power(size, cx.tensor(float(order), work)))
        found = total(cx, powers, axes, keepdim)
        found = cx.emit(relax.op.power(found, cx.tensor(1.0 / order, work)))
    return cx.cast(cx.reshape(found, cx.shape), cx.dtype)


@converter(aten.linalg_vector_norm.default)
def vector_norm(
    cx: Context,
    self: relax.Expr,
    ord: float = 2,
    dim: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
) -> relax.Expr:
    return _norm(cx, self, float(ord), dim, keepdim)


@converter(
    aten.norm.Scalar,
    aten.norm.ScalarOpt_dim,
    aten.norm.ScalarOpt_dim_dtype,
    aten.norm.ScalarOpt_dtype,
)
def norm(
    cx: Context,
    self: relax.Expr,
    p: float | None = 2,
    dim: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
) -> relax.Expr:
    return _norm(cx, self, 2.0 if p is None else float(p), dim, keepdim)


@converter(aten.logsumexp.default)
def logsumexp(cx: Context, self: relax.Expr, dim: Any, keepdim: bool = False) -> relax.Expr:
    """``log(sum(exp(x)))``, shifted by the largest entry so that nothing overflows."""
    work = accumulator(cx.dtype)
    axes = axes_of(dim, self.ty.ndim)
    x = ranked(cx, cx.cast(self, work))
    top = cx.emit(relax.op.max(x, axes, True))
    # An infinite shift would turn infinities into NaN.
    infinite = cx.emit(relax.op.equal(cx.emit(relax.op.abs(top)), cx.tensor(math.inf, work)))
    shift = cx.emit(relax.op.where(infinite, relax.const(0, work), top))
    powers = cx.emit(relax.op.exp(cx.emit(relax.op.subtract(x, shift))))
    logs = cx.emit(relax.op.log(total(cx, powers, axes, True)))
    return cx.cast(cx.reshape(cx.emit(relax.op.add(logs, shift)), cx.shape), cx.dtype)


def _normalised(operator: Callable[..., relax.Expr]) -> Callable[..., relax.Expr]:
    def convert(cx: Context, self: relax.Expr, dim: int, **_: Any) -> relax.Expr:
        work = accumulator(cx.dtype)
        x = ranked(cx, cx.cast(self, work))
        found = cx.emit(operator(x, axis_of(dim, self.ty.ndim)))
        return cx.cast(cx.reshape(found, cx.shape), cx.dtype)

    return convert


converter(aten.softmax.int, aten._softmax.default)(_normalised(relax.op.nn.softmax))
converter(aten.log_softmax.int, aten._log_softmax.default)(_normalised(relax.op.nn.log_softmax))
