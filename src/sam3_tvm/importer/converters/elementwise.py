"""One-operand functions. PyTorch promotes ints to float32 and computes halves in float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from tvm import relax

from sam3_tvm.importer.converters._tensors import accumulator, dtype_of
from sam3_tvm.importer.converters.arithmetic import is_float
from sam3_tvm.importer.converters.comparisons import isnan, truth
from sam3_tvm.importer.converters.shapes import broadcast
from sam3_tvm.importer.registry import Context, converter

aten = torch.ops.aten

UnaryOperator = Callable[[relax.Expr], relax.Expr]

_FLOAT_FUNCTIONS: dict[str, UnaryOperator] = {
    "exp": relax.op.exp,
    "log": relax.op.log,
    "sqrt": relax.op.sqrt,
    "rsqrt": relax.op.rsqrt,
    "sin": relax.op.sin,
    "cos": relax.op.cos,
    "tan": relax.op.tan,
    "asin": relax.op.asin,
    "acos": relax.op.acos,
    "atan": relax.op.atan,
    "sinh": relax.op.sinh,
    "cosh": relax.op.cosh,
    "tanh": relax.op.tanh,
    "asinh": relax.op.asinh,
    "acosh": relax.op.acosh,
    "atanh": relax.op.atanh,
    "erf": relax.op.erf,
    "sigmoid": relax.op.sigmoid,
}


def _in_float(operator: UnaryOperator) -> Callable[..., relax.Expr]:
    def convert(cx: Context, self: relax.Expr) -> relax.Expr:
        x = cx.cast(self, accumulator(cx.dtype))
        return cx.cast(cx.emit(operator(x)), cx.dtype)

    return convert


for _name, _operator in _FLOAT_FUNCTIONS.items():
    converter(getattr(aten, _name).default)(_in_float(_operator))


@converter(aten.reciprocal.default)
def reciprocal(cx: Context, self: relax.Expr) -> relax.Expr:
    work = accumulator(cx.dtype)
    one = relax.const(1, work)
    return cx.cast(cx.emit(relax.op.divide(one, cx.cast(self, work))), cx.dtype)


@converter(aten.exp2.default)
def exp2(cx: Context, self: relax.Expr) -> relax.Expr:
    work = accumulator(cx.dtype)
    power = relax.op.power(relax.const(2, work), cx.cast(self, work))
    return cx.cast(cx.emit(power), cx.dtype)


def _log_to(base: float) -> Callable[..., relax.Expr]:
    def convert(cx: Context, self: relax.Expr) -> relax.Expr:
        # In float64 an exact power of the base gives its exact exponent after rounding.
        log = cx.emit(relax.op.log(cx.cast(self, "float64")))
        scaled = relax.op.multiply(log, relax.const(1 / math.log(base), "float64"))
        return cx.cast(cx.emit(scaled), cx.dtype)

    return convert


converter(aten.log2.default)(_log_to(2))
converter(aten.log10.default)(_log_to(10))


def _series(cx: Context, x: relax.Expr, coefficients: list[float]) -> relax.Expr:
    """``c1 x + c2 x^2 + ...`` by Horner's rule."""
    dtype = dtype_of(x)
    total = relax.const(coefficients[-1], dtype)
    for coefficient in reversed(coefficients[:-1]):
        total = cx.emit(relax.op.multiply(total, x))
        total = cx.emit(relax.op.add(total, relax.const(coefficient, dtype)))
    return cx.emit(relax.op.multiply(total, x))


def _near_zero(cx: Context, x: relax.Expr, series: relax.Expr, formula: relax.Expr) -> relax.Expr:
    small = cx.emit(relax.op.less(cx.emit(relax.op.abs(x)), relax.const(1e-3, dtype_of(x))))
    return cx.emit(relax.op.where(small, series, formula))


@converter(aten.expm1.default)
def expm1(cx: Context, self: relax.Expr) -> relax.Expr:
    """``exp(x) - 1``, by its Taylor series where the subtraction would cancel."""
    x = cx.cast(self, "float64")
    series = _series(cx, x, [1 / math.factorial(k) for k in range(1, 6)])
    formula = relax.op.subtract(cx.emit(relax.op.exp(x)), relax.const(1, "float64"))
    return cx.cast(_near_zero(cx, x, series, cx.emit(formula)), cx.dtype)


@converter(aten.log1p.default)
def log1p(cx: Context, self: relax.Expr) -> relax.Expr:
    """``log(1 + x)``, by its Taylor series where the sum would lose ``x``."""
    x = cx.cast(self, "float64")
    series = _series(cx, x, [(-1) ** (k + 1) / k for k in range(1, 6)])
    formula = relax.op.log(cx.emit(relax.op.add(x, relax.const(1, "float64"))))
    return cx.cast(_near_zero(cx, x, series, cx.emit(formula)), cx.dtype)


@converter(aten.erfc.default)
def erfc(cx: Context, self: relax.Expr) -> relax.Expr:
    """``1 - erf(x)`` in float64: its absolute error is far below float32's."""
    erf = cx.emit(relax.op.erf(cx.cast(self, "float64")))
    return cx.cast(cx.emit(relax.op.subtract(relax.const(1, "float64"), erf)), cx.dtype)


@converter(aten.logit.default)
def logit(cx: Context, self: relax.Expr, eps: float | None = None) -> relax.Expr:
    """``log(x / (1 - x))``, with ``x`` within ``eps``..``1 - eps`` if given."""
    work = accumulator(cx.dtype)
    x = cx.cast(self, work)
    if eps is not None:
        x = cx.emit(relax.op.minimum(cx.tensor(1 - eps, work), x))
        x = cx.emit(relax.op.maximum(cx.tensor(eps, work), x))
    odds = relax.op.divide(x, cx.emit(relax.op.subtract(relax.const(1, work), x)))
    return cx.cast(cx.emit(relax.op.log(cx.emit(odds))), cx.dtype)


_ROUNDING: dict[str, UnaryOperator] = {
    "floor": relax.op.floor,
    "ceil": relax.op.ceil,
    "trunc": relax.op.trunc,
    "fix": relax.op.trunc,
}


def _rounding(operator: UnaryOperator) -> Callable[..., relax.Expr]:
    def convert(cx: Context, self: relax.Expr) -> relax.Expr:
        if not is_float(cx.dtype):
            return self
        return cx.cast(cx.emit(operator(cx.cast(self, accumulator(cx.dtype)))), cx.dtype)

    return convert


for _name, _operator in _ROUNDING.items():
    converter(getattr(aten, _name).default)(_rounding(_operator))


def finite(cx: Context, x: relax.Expr) -> relax.Expr:
    """Whether each entry is neither infinite nor NaN.

    Not by ``x - x == 0`` or ``x == x``: TVM simplifies both as if they always held.
    """
    magnitude = cx.emit(relax.op.abs(x))
    return cx.emit(relax.op.less(magnitude, cx.tensor(math.inf, dtype_of(x))))


def round_half_even(cx: Context, x: relax.Expr) -> relax.Expr:
    """The nearest integer, the even one of two: PyTorch's and IEEE 754's rounding.

    Relax's own rounds ties away from zero.
    """
    dtype = dtype_of(x)
    down = cx.emit(relax.op.floor(x))
    rest = cx.emit(relax.op.subtract(x, down))
    half = relax.const(0.5, dtype)
    halved = cx.emit(relax.op.multiply(down, half))
    even = cx.emit(relax.op.equal(cx.emit(relax.op.floor(halved)), halved))
    tie = cx.emit(relax.op.logical_and(even, cx.emit(relax.op.equal(rest, half))))
    below = cx.emit(relax.op.logical_or(cx.emit(relax.op.less(rest, half)), tie))
    up = cx.emit(relax.op.add(down, relax.const(1, dtype)))
    rounded = cx.emit(relax.op.where(below, down, up))
    return cx.emit(relax.op.where(finite(cx, x), rounded, x))


@converter(aten.round.default, aten.round.decimals)
def round_(cx: Context, self: relax.Expr, decimals: int = 0) -> relax.Expr:
    if not is_float(cx.dtype):
        return self
    work = accumulator(cx.dtype)
    x = cx.cast(self, work)
    if decimals == 0:
        return cx.cast(round_half_even(cx, x), cx.dtype)
    scale = cx.tensor(10.0 ** abs(decimals), work)
    there, back = relax.op.multiply, relax.op.divide
    if decimals < 0:
        there, back = back, there
    rounded = round_half_even(cx, cx.emit(there(x, scale)))
    return cx.cast(cx.emit(back(rounded, scale)), cx.dtype)


@converter(aten.frac.default)
def frac(cx: Context, self: relax.Expr) -> relax.Expr:
    return cx.emit(relax.op.subtract(self, cx.emit(relax.op.trunc(self))))


@converter(aten.abs.default, aten.absolute.default)
def abs_(cx: Context, self: relax.Expr) -> relax.Expr:
    return self if cx.dtype in ("bool", "uint8") else cx.emit(relax.op.abs(self))


@converter(aten.neg.default, aten.negative.default)
def neg(cx: Context, self: relax.Expr) -> relax.Expr:
    return cx.emit(relax.op.negative(self))


@converter(aten.sign.default, aten.sgn.default)
def sign(cx: Context, self: relax.Expr) -> relax.Expr:
    """-1, 0 or 1; 0 of NaN."""
    dtype = cx.dtype
    if dtype == "bool":
        return self
    zero = relax.const(0, dtype)
    positive = cx.cast(cx.emit(relax.op.greater(self, zero)), dtype)
    if dtype == "uint8":
        return positive
    negative = cx.cast(cx.emit(relax.op.less(self, zero)), dtype)
    return cx.emit(relax.op.subtract(positive, negative))


@converter(aten.square.default)
def square(cx: Context, self: relax.Expr) -> relax.Expr:
    x = cx.cast(self, cx.dtype)
    return cx.emit(relax.op.multiply(x, x))


@converter(aten.bitwise_not.default)
def bitwise_not(cx: Context, self: relax.Expr) -> relax.Expr:
    inverse = relax.op.logical_not if cx.dtype == "bool" else relax.op.bitwise_not
    return cx.emit(inverse(self))


@converter(aten.logical_not.default)
def logical_not(cx: Context, self: relax.Expr) -> relax.Expr:
    return cx.emit(relax.op.logical_not(truth(cx, self)))


def _constant(cx: Context, value: bool) -> relax.Expr:
    return broadcast(cx, relax.const(value, "bool"), cx.shape)


@converter(aten.isnan.default)
def isnan_(cx: Context, self: relax.Expr) -> relax.Expr:
    if not is_float(dtype_of(self)):
        return _constant(cx, False)
    return isnan(cx, self)


def _equals(cx: Context, x: relax.Expr, value: float) -> relax.Expr:
    return cx.emit(relax.op.equal(x, cx.tensor(value, dtype_of(x))))


@converter(aten.isinf.default)
def isinf(cx: Context, self: relax.Expr) -> relax.Expr:
    if not is_float(dtype_of(self)):
        return _constant(cx, False)
    return _equals(cx, cx.emit(relax.op.abs(self)), math.inf)


@converter(aten.isposinf.default)
def isposinf(cx: Context, self: relax.Expr) -> relax.Expr:
    return _equals(cx, self, math.inf) if is_float(dtype_of(self)) else _constant(cx, False)


@converter(aten.isneginf.default)
def isneginf(cx: Context, self: relax.Expr) -> relax.Expr:
    return _equals(cx, self, -math.inf) if is_float(dtype_of(self)) else _constant(cx, False)


@converter(aten.isfinite.default)
def isfinite(cx: Context, self: relax.Expr) -> relax.Expr:
    if not is_float(dtype_of(self)):
        return _constant(cx, True)
    return finite(cx, self)


@converter(aten.nan_to_num.default)
def nan_to_num(
    cx: Context,
    self: relax.Expr,
    nan: float | None = None,
    posinf: float | None = None,
    neginf: float | None = None,
) -> relax.Expr:
    if not is_float(cx.dtype):
        return self
    limits = torch.finfo(cx.result.dtype)
    found = self
    for value, replacement, default in (
        (math.inf, posinf, limits.max),
        (-math.inf, neginf, limits.min),
    ):
        to: Any = cx.tensor(default if replacement is None else float(replacement), cx.dtype)
        found = cx.emit(relax.op.where(_equals(cx, self, value), to, found))
    other = isnan(cx, self)
    return cx.emit(relax.op.where(other, cx.tensor(float(nan or 0.0), cx.dtype), found))
