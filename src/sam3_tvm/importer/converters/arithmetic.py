"""Two-operand arithmetic.

Lesson 3: PyTorch mixes ints, floats, bools, Python numbers and sizes freely; Relax wants
equal dtypes. Operands are cast to PyTorch's promoted dtype, in which the operator then
is Relax's own. Division by zero of ints is an error in PyTorch and undefined here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tvm import relax
from tvm.ir.expr import GenericConst

from sam3_tvm.importer.converters._tensors import HALF, accumulator, dtype_of
from sam3_tvm.importer.converters.shapes import broadcast
from sam3_tvm.importer.registry import Context, constant, converter, is_symbolic

aten = torch.ops.aten

BinaryOperator = Callable[[relax.Expr, relax.Expr], relax.Expr]


def is_float(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat"))


def is_tensor(value: Any) -> bool:
    return isinstance(value, relax.Expr) and not is_symbolic(value)


def apply(
    cx: Context, operator: BinaryOperator, a: Any, b: Any, dtype: str, wide: bool = False
) -> relax.Expr:
    """``operator(a, b)`` in ``dtype``.

    PyTorch computes half precision in float32 and rounds once, which shows where an
    operand is a number that a half can't hold, or the operator is inexact (``wide``).
    """
    numbers = not (is_tensor(a) and is_tensor(b))
    work = accumulator(dtype) if wide or numbers else dtype
    a, b = cx.tensor(a, work), cx.tensor(b, work)
    found = product_or_quotient(cx, operator, a, b) if operator in _FOLDED else None
    found = cx.emit(operator(a, b)) if found is None else found
    return cx.cast(found, dtype) if dtype_of(found) == work else found


_FOLDED = (relax.op.multiply, relax.op.divide)


def product_or_quotient(
    cx: Context, operator: BinaryOperator, a: relax.Expr, b: relax.Expr
) -> relax.Expr:
    """``a * b`` or ``a / b``, also where one is the constant 0.

    TVM folds a scalar zero: ``x * 0`` and ``0 / x`` to 0, though NaN and infinity times 0 are
    NaN, and ``x / 0`` to an error. Of a tensor with one axis it knows nothing.
    """
    spread = [_spread_zero(x) for x in (a, b)]
    found = cx.emit(operator(*spread))
    if found.ty.ndim > max(a.ty.ndim, b.ty.ndim):
        return cx.reshape(found, ())
    return found


def _spread_zero(x: relax.Expr) -> relax.Expr:
    if not isinstance(x, GenericConst) or x.ty.ndim or not is_float(dtype_of(x)):
        return x
    value = float(x.value.numpy())
    return x if value else constant(torch.tensor([value], dtype=getattr(torch, dtype_of(x))))


@converter(
    aten.add.Tensor,
    aten.add.Scalar,
    aten.sub.Tensor,
    aten.sub.Scalar,
    aten.subtract.Tensor,
    aten.subtract.Scalar,
)
def add(cx: Context, self: Any, other: Any, alpha: Any = 1) -> relax.Expr:
    """``self + alpha * other``, or minus; of bools, their union."""
    if cx.dtype == "bool":
        return cx.emit(relax.op.logical_or(cx.tensor(self), cx.tensor(other)))
    minus = cx.node.target.__name__.startswith("sub")
    return _add(cx, self, other, alpha, minus)


def _add(cx: Context, a: Any, b: Any, alpha: Any, minus: bool) -> relax.Expr:
    dtype = cx.dtype
    work = accumulator(dtype) if alpha != 1 or not (is_tensor(a) and is_tensor(b)) else dtype
    b = cx.tensor(b, work)
    if is_symbolic(alpha) or alpha != 1:
        b = product_or_quotient(cx, relax.op.multiply, b, cx.tensor(alpha, work))
    operator = relax.op.subtract if minus else relax.op.add
    return cx.cast(cx.emit(operator(cx.tensor(a, work), b)), dtype)


@converter(aten.rsub.Tensor, aten.rsub.Scalar)
def rsub(cx: Context, self: Any, other: Any, alpha: Any = 1) -> relax.Expr:
    """``other - alpha * self``."""
    return _add(cx, other, self, alpha, True)


@converter(aten.mul.Tensor, aten.mul.Scalar, aten.multiply.Tensor, aten.multiply.Scalar)
def mul(cx: Context, self: Any, other: Any) -> relax.Expr:
    if cx.dtype == "bool":
        return cx.emit(relax.op.logical_and(cx.tensor(self), cx.tensor(other)))
    return apply(cx, relax.op.multiply, self, other, cx.dtype)


def trunc_mod(cx: Context, a: relax.Expr, b: relax.Expr) -> relax.Expr:
    """The remainder with the sign of ``a``, as C's ``fmod`` and ``%``."""
    return cx.emit(relax.op.mod(a, b))


def _floor_mod_float(cx: Context, a: relax.Expr, b: relax.Expr) -> relax.Expr:
    """The remainder with the sign of ``b``, from the exact ``fmod`` as PyTorch forms it."""
    mod = trunc_mod(cx, a, b)
    wrong = _signs_differ(cx, mod, b)
    return cx.emit(relax.op.where(wrong, cx.emit(relax.op.add(mod, b)), mod))


def _signs_differ(cx: Context, mod: relax.Expr, b: relax.Expr) -> relax.Expr:
    """Whether a remainder isn't 0 and has another sign than the divisor."""
    zero = relax.const(0, dtype_of(mod))
    opposite = cx.emit(
        relax.op.logical_xor(cx.emit(relax.op.less(mod, zero)), cx.emit(relax.op.less(b, zero)))
    )
    return cx.emit(relax.op.logical_and(opposite, cx.emit(relax.op.not_equal(mod, zero))))


def _floor_div_float(cx: Context, a: relax.Expr, b: relax.Expr) -> relax.Expr:
    """Python's floor division of floats, which PyTorch follows.

    ``floor(a / b)`` isn't it: 1.0 / 0.1 rounds to 10, but 0.1 is a little more than a
    tenth and fits 9 times.
    """
    dtype = dtype_of(a)
    zero, one = relax.const(0, dtype), relax.const(1, dtype)
    quotient = product_or_quotient(cx, relax.op.divide, a, b)
    mod = trunc_mod(cx, a, b)
    exact = product_or_quotient(cx, relax.op.divide, cx.emit(relax.op.subtract(a, mod)), b)
    less = cx.emit(relax.op.where(_signs_differ(cx, mod, b), one, zero))
    exact = cx.emit(relax.op.subtract(exact, less))
    # An integer but for rounding errors.
    whole = cx.emit(relax.op.floor(exact))
    rest = cx.emit(relax.op.subtract(exact, whole))
    up = cx.emit(relax.op.greater(rest, relax.const(0.5, dtype)))
    whole = cx.emit(relax.op.where(up, cx.emit(relax.op.add(whole, one)), whole))
    nothing = cx.emit(relax.op.equal(b, zero))
    return cx.emit(relax.op.where(nothing, quotient, whole))


def _divide(cx: Context, a: Any, b: Any, mode: str | None) -> relax.Expr:
    dtype = cx.dtype
    if mode is None:
        return apply(cx, relax.op.divide, a, b, dtype, wide=True)
    if not is_float(dtype):
        operator = relax.op.floor_divide if mode == "floor" else relax.op.divide
        return apply(cx, operator, a, b, dtype)
    work = accumulator(dtype)
    a, b = cx.tensor(a, work), cx.tensor(b, work)
    if mode == "floor":
        return cx.cast(_floor_div_float(cx, a, b), dtype)
    quotient = product_or_quotient(cx, relax.op.divide, a, b)
    return cx.cast(cx.emit(relax.op.trunc(quotient)), dtype)


@converter(
    aten.div.Tensor,
    aten.div.Scalar,
    aten.div.Tensor_mode,
    aten.div.Scalar_mode,
    aten.divide.Tensor,
    aten.divide.Scalar,
    aten.divide.Tensor_mode,
    aten.divide.Scalar_mode,
    aten.true_divide.Tensor,
    aten.true_divide.Scalar,
)
def div(cx: Context, self: Any, other: Any, rounding_mode: str | None = None) -> relax.Expr:
    """True division, or rounded towards minus infinity (``floor``) or zero (``trunc``)."""
    return _divide(cx, self, other, rounding_mode)


@converter(aten.floor_divide.default, aten.floor_divide.Scalar)
def floor_divide(cx: Context, self: Any, other: Any) -> relax.Expr:
    return _divide(cx, self, other, "floor")


@converter(aten.remainder.Tensor, aten.remainder.Scalar, aten.remainder.Scalar_Tensor)
def remainder(cx: Context, self: Any, other: Any) -> relax.Expr:
    """The remainder with the divisor's sign."""
    dtype = cx.dtype
    work = accumulator(dtype)
    a, b = cx.tensor(self, work), cx.tensor(other, work)
    if not is_float(dtype):
        return cx.emit(relax.op.floor_mod(a, b))
    return cx.cast(_floor_mod_float(cx, a, b), dtype)


@converter(aten.fmod.Tensor, aten.fmod.Scalar)
def fmod(cx: Context, self: Any, other: Any) -> relax.Expr:
    """The remainder with the dividend's sign."""
    return apply(cx, relax.op.mod, self, other, cx.dtype, wide=True)


def _power_of_ints(cx: Context, base: relax.Expr, exponent: Any) -> relax.Expr:
    """Integer powers by squaring, wrapping around as PyTorch's do."""
    dtype = dtype_of(base)
    one = relax.const(1, dtype)
    if isinstance(exponent, int):
        found = None
        while exponent:
            if exponent & 1:
                found = base if found is None else cx.emit(relax.op.multiply(found, base))
            exponent >>= 1
            if exponent:
                base = cx.emit(relax.op.multiply(base, base))
        return broadcast(cx, one, cx.shape) if found is None else found
    # Beyond 63 only 0, 1 and -1 don't overflow, and for these only the parity counts.
    zero = relax.const(0, dtype)
    odd = cx.emit(relax.op.bitwise_and(exponent, one))
    large = cx.emit(relax.op.greater(exponent, relax.const(63, dtype)))
    negative = cx.emit(relax.op.less(exponent, zero))
    parity = cx.emit(relax.op.add(relax.const(62, dtype), odd))
    unit = cx.emit(relax.op.equal(cx.emit(relax.op.multiply(base, base)), one))
    bits = cx.emit(relax.op.where(cx.emit(relax.op.logical_or(large, negative)), parity, exponent))
    found = one
    for bit in range(6):
        chosen = cx.emit(relax.op.bitwise_and(bits, relax.const(1 << bit, dtype)))
        factor = cx.emit(relax.op.where(cx.emit(relax.op.equal(chosen, zero)), one, base))
        found = cx.emit(relax.op.multiply(found, factor))
        base = cx.emit(relax.op.multiply(base, base))
    # A reciprocal truncates to 0, except for 1 and -1.
    gone = cx.emit(relax.op.logical_and(negative, cx.emit(relax.op.logical_not(unit))))
    return cx.emit(relax.op.where(gone, zero, found))


@converter(
    aten.pow.Tensor_Tensor,
    aten.pow.Tensor_Scalar,
    aten.pow.Scalar,
    aten.float_power.Tensor_Scalar,
    aten.float_power.Tensor_Tensor,
    aten.float_power.Scalar,
)
def power(cx: Context, self: Any, exponent: Any) -> relax.Expr:
    dtype = cx.dtype
    if not is_float(dtype):
        if not isinstance(exponent, int):
            exponent = cx.tensor(exponent, dtype)
        return _power_of_ints(cx, cx.tensor(self, dtype), exponent)
    work = accumulator(dtype)
    x = cx.tensor(self, work)
    if exponent == 0.5:
        return cx.cast(cx.emit(relax.op.sqrt(x)), dtype)
    if exponent == -0.5:
        return cx.cast(cx.emit(relax.op.rsqrt(x)), dtype)
    if exponent in (2, 3, -1, -2) and not is_tensor(exponent):
        found = x
        for _ in range(abs(int(exponent)) - 1):
            found = cx.emit(relax.op.multiply(found, x))
        if exponent < 0:
            found = cx.emit(relax.op.divide(relax.const(1, work), found))
        return cx.cast(found, dtype)
    return cx.cast(cx.emit(relax.op.power(x, cx.tensor(exponent, work))), dtype)


@converter(aten.atan2.default, aten.arctan2.default)
def atan2(cx: Context, self: relax.Expr, other: relax.Expr) -> relax.Expr:
    return apply(cx, relax.op.atan2, self, other, cx.dtype, wide=cx.dtype in HALF)
