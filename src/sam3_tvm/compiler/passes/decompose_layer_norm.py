"""Layer norm as elementary operators (lesson 6), for where the operator itself gives trouble.

    mean = mean(x);  d = x - mean;  y = d * rsqrt(mean(d * d) + epsilon) * gamma + beta

The variance is taken of deviations, so that a mean that is large against the spread doesn't
cancel it away. Half-precision inputs are computed in float32, as the operator does.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam3_tvm.compiler.passes.dataflow import call_of

__all__ = ["DecomposeLayerNorm"]


@tvm.transform.module_pass(opt_level=0, name="DecomposeLayerNorm")
class DecomposeLayerNorm:
    """Replaces every ``relax.nn.layer_norm`` of every Relax function."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Return ``mod`` without layer norms."""
        decomposer = _Decomposer(mod)
        for gvar, func in mod.functions_items():
            if isinstance(func, relax.Function):
                decomposer.builder_.update_func(gvar, decomposer.visit_expr(func))
        return decomposer.builder_.get()


@mutator
class _Decomposer(PyExprMutator):
    def visit_call_(self, call: Any) -> Any:
        """Write a layer norm out."""
        call = super().visit_call_(call)
        if call_of(call, "relax.nn.layer_norm") is None:
            return call
        emit, op, attrs = self.builder_.emit, relax.op, call.attrs
        x, gamma, beta = call.args
        dtype, rank = x.ty.dtype, x.ty.ndim
        axes = [int(a) % rank for a in attrs.axes]
        half = dtype in ("float16", "bfloat16")

        def aligned(param: Any) -> Any:
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
