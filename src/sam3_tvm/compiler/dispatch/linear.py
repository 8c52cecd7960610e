"""Gives every linear layer its kernel: weights packed offline, epilogue fused.

Packing, and rounding to the stored precision, are written as operators on the weight, for
LiftTransformParams to move to compile time. Between layers that multiply pairs of bfloat16, with
nothing but those reading what lies between, activations are bfloat16 in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import tvm
from tvm import relax

from sam3_tvm.arithmetic import Arithmetic
from sam3_tvm.compiler.dispatch.store_weights import pack_weights
from sam3_tvm.compiler.graph.arithmetic import arithmetic_of, excepted_by
from sam3_tvm.compiler.graph.dataflow import Dataflow, shape_of
from sam3_tvm.compiler.graph.linear_patterns import LinearLayer, find_linear_layers
from sam3_tvm.compiler.graph.rewriting import Emit, NewValue, rewrite_bindings
from sam3_tvm.compiler.kernels.product.dot import Dot, dot_for
from sam3_tvm.compiler.kernels.product.linear import (
    Rounded,
    kernel_name,
    linear_kernel,
    linear_layout,
)
from sam3_tvm.compiler.kernels.product.quantise import (
    quantise_kernel,
    quantise_name,
    quantised_width,
)
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["DispatchLinear"]

Expr = Any


@tvm.ir.transform.module_pass(opt_level=0, name="DispatchLinear")
class DispatchLinear:
    """The pass; functions say which arguments are parameters by their attribute ``num_input``, and
    how they compute by their arithmetic.

    Args:
        target: the CPU that the kernels are for.
    """

    def __init__(self, target: CpuTarget) -> None:
        self.target = target

    def transform_module(
        self, mod: tvm.IRModule, _ctx: tvm.ir.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite every Relax function of the module."""
        return rewrite_bindings(mod, self._find)

    def _find(self, func: relax.Function) -> dict[Expr, NewValue]:
        scheme, flow, excepted = arithmetic_of(func), Dataflow(func), excepted_by(func)

        def of_layer(layer: LinearLayer) -> Arithmetic:
            named = excepted and excepted & flow.parameters(layer.weight)
            return (scheme.besides if named else scheme).of_layer(layer.n, layer.k)

        layers = find_linear_layers(flow)
        arithmetic = {var: of_layer(layer) for var, layer in layers.items()}
        # By the variable of its product: layers that take bfloat16.
        taking = {
            layer.chain[0]: layer
            for var, layer in layers.items()
            if dot_for(self.target, arithmetic[var]).pairs
        }

        def is_rounded(var: Expr) -> bool:
            """Whether a value is the result of such a layer, and read by nothing else."""
            users = flow.users(var)
            if var not in layers or layers[var].chain[0] not in taking or not users:
                return False
            return all(user in taking and taking[user].x.same_as(var) for user in users)

        return {
            var: _Dispatch(
                self.target, arithmetic[var], layer, Rounded(is_rounded(layer.x), is_rounded(var))
            )
            for var, layer in layers.items()
        }


@dataclass(frozen=True)
class _Dispatch:
    """Gives the variable that a layer defines its kernel's call as value."""

    target: CpuTarget
    arithmetic: Arithmetic
    layer: LinearLayer
    rounded: Rounded

    def __call__(self, emit: Emit) -> Expr:
        layer, n = self.layer, self.layer.n
        shape = shape_of(layer.chain[-1]) or []
        m = prod(shape[:-1], start=tvm.tirx.const(1, "int64"))
        layout, dot = (
            linear_layout(self.target, self.arithmetic),
            dot_for(self.target, self.arithmetic),
        )
        rows = layer.weight if layer.transposed else emit(relax.op.permute_dims(layer.weight))
        args = [*self._activations(emit, m, dot), *pack_weights(emit, layout, rows, dot.a_zero)]
        if layer.bias is not None:
            args.append(layout.padded(emit, _reshape(emit, layer.bias, (n,))))
        if layer.residual is not None:
            args.append(_reshape(emit, layer.residual, (m, n)))
        given = (n, layer.k, layer.epilogue, self.arithmetic, self.rounded)
        kernel = emit.kernel(kernel_name(*given), linear_kernel(self.target, *given))
        dtype = "uint16" if self.rounded.y else "float32"
        call = relax.call_tir(kernel, args, relax.TensorType((m, n), dtype))
        return call if len(shape) == 2 else relax.op.reshape(emit(call), shape)

    def _activations(self, emit: Emit, m: Expr, dot: Dot) -> list[Expr]:
        """The kernel's arguments for x: itself, or quantised once for all layers that take it."""
        layer = self.layer
        if dot.integers is None:
            return [_reshape(emit, layer.x, (m, layer.k))]
        integers = dot.integers

        def quantised(emit: Emit) -> Expr:
            name = quantise_name(layer.k, integers)
            kernel = emit.kernel(name, quantise_kernel(self.target, layer.k, integers))
            values = relax.TensorType((m, quantised_width(layer.k, integers)), integers.dtype)
            scales = relax.TensorType((m,), "float32")
            x = _reshape(emit, layer.x, (m, layer.k))
            return emit(relax.call_tir(kernel, [x], [values, scales]))

        both = emit.once((layer.x, "quantised"), quantised)
        return [emit(relax.TupleGetItem(both, i)) for i in range(2)]


def _reshape(emit: Emit, tensor: Expr, shape: tuple[Expr, ...]) -> Expr:
    """The tensor in another shape; a tensor of that many axes has it already."""
    return tensor if tensor.ty.ndim == len(shape) else emit(relax.op.reshape(tensor, shape))
