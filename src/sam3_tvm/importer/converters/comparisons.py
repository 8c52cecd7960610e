"""Comparisons, choices by them, bits and logic.

Operands are cast to PyTorch's promoted dtype, as those of arithmetic are (lesson 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from tvm import relax

from sam3_tvm.importer.converters._tensors import accumulator, dtype_of
from sam3_tvm.importer.converters.arithmetic import BinaryOperator, apply, is_float, is_tensor
from sam3_tvm.importer.converters.shapes import broadcast
from sam3_tvm.importer.registry import Context, converter, dtype_name

aten = torch.ops.aten


def common_dtype(cx: Context, *positions: int) -> str:
    """PyTorch's promoted dtype of these arguments of the node, for a comparison or a choice.

    Python numbers and 0-d tensors count less than tensors with axes.
    """
    stand_ins: list[Any] = []
    for position in positions:
        fake = cx.fake(position)
        if isinstance(fake, torch.Tensor):
            stand_ins.append(torch.empty((1,) if fake.ndim else (), dtype=fake.dtype))
        else:
            number = {torch.SymInt: 0, torch.SymFloat: 0.0, torch.SymBool: False}
            stand_ins.append(number.get(type(fake), fake))
    if len(stand_ins) == 1:
        return dtype_name(stand_ins[0].dtype)
    found = torch.result_type(stand_ins[0], stand_ins[1])
    for other in stand_ins[2:]:
        found = torch.result_type(torch.empty((1,), dtype=found), other)
    return dtype_name(found)


def differs(cx: Context, a: relax.Expr, b: relax.Expr) -> relax.Expr:
    """``a != b``, true where either is NaN.

    Relax's ``not_equal`` is ordered (false for NaN), and TVM rewrites the negation of
    ``equal`` into it; a detour over int8 keeps it from doing so.
    """
    if not is_float(dtype_of(a)):
        return cx.emit(relax.op.not_equal(a, b))
    same = cx.cast(cx.emit(relax.op.equal(a, b)), "int8")
    return cx.emit(relax.op.equal(same, relax.const(0, "int8")))


def isnan(cx: Context, x: relax.Expr) -> relax.Expr:
    """Where a float tensor is NaN."""
    return cx.emit(relax.op.isnan(cx.cast(x, accumulator(dtype_of(x)))))


def _comparison(operator: BinaryOperator) -> Callable[..., relax.Expr]:
    def compare(cx: Context, self: Any, other: Any) -> relax.Expr:
        dtype = common_dtype(cx, 0, 1)
        # Relax orders numbers only.
        dtype = "uint8" if dtype == "bool" else dtype
        a, b = cx.tensor(self, dtype), cx.tensor(other, dtype)
        return differs(cx, a, b) if operator is relax.op.not_equal else cx.emit(operator(a, b))

    return compare


for _names, _operator in (
    (("eq",), relax.op.equal),
    (("ne", "not_equal"), relax.op.not_equal),
    (("lt", "less"), relax.op.less),
    (("le", "less_equal"), relax.op.less_equal),
    (("gt", "greater"), relax.op.greater),
    (("ge", "greater_equal"), relax.op.greater_equal),
):
    for _name in _names:
        _packet = getattr(aten, _name)
        converter(_packet.Tensor, _packet.Scalar)(_comparison(_operator))


@converter(aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf, aten.where.Scalar)
def where(cx: Context, condition: relax.Expr, self: Any, other: Any) -> relax.Expr:
    chosen = relax.op.where(
        truth(cx, condition), cx.tensor(self, cx.dtype), cx.tensor(other, cx.dtype)
    )
    return broadcast(cx, cx.emit(chosen), cx.shape)


def maximum(cx: Context, a: relax.Expr, b: relax.Expr, least: bool = False) -> relax.Expr:
    """The larger (or ``least``) of two tensors of one dtype, NaN where either is NaN.

    Relax's maximum is ``a > b ? a : b``: it passes on NaN from ``b`` alone.
    """
    dtype = dtype_of(a)
    if dtype == "bool":
        return cx.emit((relax.op.logical_and if least else relax.op.logical_or)(a, b))
    found = cx.emit((relax.op.minimum if least else relax.op.maximum)(b, a))
    if is_float(dtype):
        found = cx.emit(relax.op.where(isnan(cx, b), b, found))
    return found


@converter(aten.maximum.default, aten.max.other)
def maximum_of(cx: Context, self: relax.Expr, other: relax.Expr) -> relax.Expr:
    return maximum(cx, cx.tensor(self, cx.dtype), cx.tensor(other, cx.dtype))


@converter(aten.minimum.default, aten.min.other)
def minimum_of(cx: Context, self: relax.Expr, other: relax.Expr) -> relax.Expr:
    return maximum(cx, cx.tensor(self, cx.dtype), cx.tensor(other, cx.dtype), least=True)


def _bounded(cx: Context, x: relax.Expr, bound: Any, least: bool) -> relax.Expr:
    if bound is None:
        return x
    limit = cx.tensor(bound, dtype_of(x))
    if isinstance(bound, float) and math.isnan(bound):
        return broadcast(cx, limit, cx.shape)
    if is_tensor(bound):
        return maximum(cx, x, limit, least)
    # The number stands first: what isn't greater than it, NaN included, is kept.
    return cx.emit((relax.op.minimum if least else relax.op.maximum)(limit, x))


@converter(
    aten.clamp.default,
    aten.clamp.Tensor,
    aten.clip.default,
    aten.clip.Tensor,
    aten.clamp_min.default,
    aten.clamp_min.Tensor,
    aten.clamp_max.default,
    aten.clamp_max.Tensor,
)
def clamp(cx: Context, self: relax.Expr, min: Any = None, max: Any = None) -> relax.Expr:
    """At least ``min``, then at most ``max``; either may be absent. NaN stays NaN."""
    x = cx.cast(self, cx.dtype)
    return _bounded(cx, _bounded(cx, x, min, least=False), max, least=True)


def truth(cx: Context, x: Any) -> relax.Expr:
    """Whether each entry differs from zero: bool."""
    x = cx.tensor(x)
    dtype = dtype_of(x)
    return x if dtype == "bool" else differs(cx, x, relax.const(0, dtype))


def _bitwise(on_ints: BinaryOperator, on_bools: BinaryOperator) -> Callable[..., relax.Expr]:
    def combine(cx: Context, self: Any, other: Any) -> relax.Expr:
        if cx.dtype == "bool":
            return cx.emit(on_bools(truth(cx, self), truth(cx, other)))
        return cx.emit(on_ints(cx.tensor(self, cx.dtype), cx.tensor(other, cx.dtype)))

    return combine


def _logical(operator: BinaryOperator) -> Callable[..., relax.Expr]:
    def combine(cx: Context, self: relax.Expr, other: relax.Expr) -> relax.Expr:
        return cx.emit(operator(truth(cx, self), truth(cx, other)))

    return combine


for _name, _on_ints, _on_bools in (
    ("and", relax.op.bitwise_and, relax.op.logical_and),
    ("or", relax.op.bitwise_or, relax.op.logical_or),
    ("xor", relax.op.bitwise_xor, relax.op.logical_xor),
):
    _bits, _dunder = getattr(aten, f"bitwise_{_name}"), getattr(aten, f"__{_name}__")
    converter(_bits.Tensor, _bits.Scalar, _bits.Scalar_Tensor, _dunder.Tensor, _dunder.Scalar)(
        _bitwise(_on_ints, _on_bools)
    )
    converter(getattr(aten, f"logical_{_name}").default)(_logical(_on_bools))


@converter(
    aten.bitwise_left_shift.Tensor,
    aten.bitwise_left_shift.Tensor_Scalar,
    aten.bitwise_left_shift.Scalar_Tensor,
    aten.__lshift__.Tensor,
    aten.__lshift__.Scalar,
)
def left_shift(cx: Context, self: Any, other: Any) -> relax.Expr:
    return apply(cx, relax.op.left_shift, self, other, cx.dtype)


@converter(
    aten.bitwise_right_shift.Tensor,
    aten.bitwise_right_shift.Tensor_Scalar,
    aten.bitwise_right_shift.Scalar_Tensor,
    aten.__rshift__.Tensor,
    aten.__rshift__.Scalar,
)
def right_shift(cx: Context, self: Any, other: Any) -> relax.Expr:
    return apply(cx, relax.op.right_shift, self, other, cx.dtype)
