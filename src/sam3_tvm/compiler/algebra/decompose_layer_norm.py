"""Layer norm as elementary operators (lesson 6), for where the operator itself gives trouble.

    mean = mean(x);  d = x - mean;  y = d * rsqrt(mean(d * d) + epsilon) * gamma + beta

The variance is taken of deviations, so that a mean that is large against the spread doesn't
cancel it away. Half-precision inputs are computed in float32, as the operator does.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import tvm
from tvm import relax

from sam3_tvm.compiler.graph.dataflow import Dataflow, call_of
from sam3_tvm.compiler.graph.rewriting import Emit, NewValue, rewrite_bindings

__all__ = ["DecomposeLayerNorm"]

Expr = Any


@tvm.transform.module_pass(opt_level=0, name="DecomposeLayerNorm")
class DecomposeLayerNorm:
    """Replaces every ``relax.nn.layer_norm`` of every Relax function."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Return ``mod`` without layer norms."""
        return rewrite_bindings(mod, _find)


def _find(func: relax.Function) -> dict[Expr, NewValue]:
    return {
        binding.var: partial(_written_out, binding.value)
        for binding in Dataflow(func).bindings
        if call_of(binding.value, "relax.nn.layer_norm") is not None
    }


def _written_out(call: Expr, emit: Emit) -> Expr:
    op, attrs = relax.op, call.attrs
    x, gamma, beta = call.args
    dtype, rank = x.ty.dtype, x.ty.ndim
    axes = [int(a) % rank for a in attrs.axes]
    half = dtype in ("float16", "bfloat16")

    def aligned(param: Expr) -> Expr:
        """A parameter over ``axes``, with axes of size 1 where it doesn't vary."""
        param = emit(op.astype(param, "float32")) if half else param
        if axes == list(range(rank - len(axes), rank)):
            return param
        extents = dict(zip(axes, param.ty.shape.values, strict=True))
        return emit(op.reshape(param, [extents.get(i, 1) for i in range(rank)]))

    x = emit(op.astype(x, "float32")) if half else x
    deviation = emit(op.subtract(x, emit(op.mean(x, axes, keepdims=True))))
    square = emit(op.multiply(deviation, deviation))
    variance = emit(op.mean(square, axes, keepdims=True))
    epsilon = relax.const(float(attrs.epsilon), x.ty.dtype)
    scale = emit(op.rsqrt(emit(op.add(variance, epsilon))))
    # The last operator is returned rather than emitted: the caller binds it.
    y = op.multiply(deviation, scale)
    if attrs.scale:
        y = op.multiply(emit(y), aligned(gamma))
    if attrs.center:
        y = op.add(emit(y), aligned(beta))
    return op.astype(emit(y), dtype) if half else y
