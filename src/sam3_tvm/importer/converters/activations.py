"""Activations that torch doesn't decompose, or that stay whole. NaN goes in and comes out.

Those that torch decomposes well (silu, hardswish, softplus, selu and their like) are left to it.
"""

from __future__ import annotations

import torch
from tvm import relax

from sam3_tvm.importer.converters._tensors import accumulator, cast, dtype_of, extents
from sam3_tvm.importer.converters.arithmetic import product_or_quotient
from sam3_tvm.importer.converters.comparisons import clamp
from sam3_tvm.importer.registry import Context, converter

aten = torch.ops.aten


def _exponential_below_zero(
    cx: Context, x: relax.Expr, below: float, above: float, rate: float
) -> relax.Expr:
    """``above x`` for positive x, else ``below (exp(rate x) - 1)``."""
    dtype = accumulator(dtype_of(x))
    wide = cast(cx, x, dtype)
    zero, one = relax.const(0.0, dtype), relax.const(1.0, dtype)
    # Only arguments below zero reach exp, so that none overflows. Zero stands first, so that
    # NaN, which isn't greater, is kept.
    negative = cx.emit(relax.op.minimum(zero, wide))
    grown = relax.op.exp(relax.op.multiply(negative, relax.const(rate, dtype)))
    bent = cx.emit(relax.op.multiply(relax.op.subtract(grown, one), relax.const(below, dtype)))
    straight = cx.emit(relax.op.multiply(wide, relax.const(above, dtype)))
    out = cx.emit(relax.op.where(relax.op.greater(wide, zero), straight, bent))
    return cast(cx, out, dtype_of(x))


@converter(aten.relu.default)
def relu(cx: Context, self: relax.Expr) -> relax.Expr:
    """The larger of ``x`` and 0; ``relax.nn.relu`` gives 0 for NaN."""
    return cx.emit(relax.op.maximum(relax.const(0, dtype_of(self)), self))


@converter(aten.hardtanh.default)
def hardtanh(cx: Context, self: relax.Expr, min_val: float, max_val: float) -> relax.Expr:
    """``x`` kept within ``min_val`` and ``max_val``."""
    return clamp(cx, self, min_val, max_val)


@converter(aten.leaky_relu.default)
def leaky_relu(cx: Context, self: relax.Expr, negative_slope: float) -> relax.Expr:
    """``x`` above zero, ``negative_slope x`` below."""
    return _bent(cx, self, cx.tensor(negative_slope, accumulator(dtype_of(self))))


@converter(aten.gelu.default)
def gelu(cx: Context, self: relax.Expr, approximate: str) -> relax.Expr:
    """``x`` times the normal distribution's share below it, or its approximation by tanh."""
    operator = relax.op.nn.gelu_tanh if approximate == "tanh" else relax.op.nn.gelu
    wide = cast(cx, self, accumulator(dtype_of(self)))
    return cast(cx, cx.emit(operator(wide)), dtype_of(self))


@converter(aten.elu.default)
def elu(
    cx: Context, self: relax.Expr, alpha: float, scale: float, input_scale: float
) -> relax.Expr:
    """``scale x`` above zero, ``scale alpha (exp(input_scale x) - 1)`` below."""
    return _exponential_below_zero(cx, self, scale * alpha, scale, input_scale)


@converter(aten.celu.default)
def celu(cx: Context, self: relax.Expr, alpha: float) -> relax.Expr:
    """``x`` above zero, ``alpha (exp(x / alpha) - 1)`` below."""
    return _exponential_below_zero(cx, self, alpha, 1.0, 1.0 / alpha)


@converter(aten.prelu.default, aten._prelu_kernel.default)
def prelu(cx: Context, self: relax.Expr, weight: relax.Expr) -> relax.Expr:
    """``x`` above zero, ``weight x`` below, with one weight or one per channel (axis 1)."""
    rank, of_weight = len(extents(self)), extents(weight)
    if len(of_weight) == 1 and rank > 1:
        weight = cx.emit(relax.op.reshape(weight, (of_weight[0], *[1] * (rank - 2))))
    return _bent(cx, self, weight)


def _bent(cx: Context, x: relax.Expr, slope: relax.Expr) -> relax.Expr:
    """``x`` above zero, ``slope x`` below."""
    wide = cast(cx, x, dtype_of(slope))
    scaled = product_or_quotient(cx, relax.op.multiply, wide, slope)
    positive = relax.op.greater(wide, relax.const(0.0, dtype_of(wide)))
    return cast(cx, cx.emit(relax.op.where(positive, wide, scaled)), dtype_of(x))
