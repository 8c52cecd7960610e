"""Gives every linear layer its kernel: weights packed offline, epilogue fused.

Packing, and rounding to the stored precision, are written as operators on the weight, for
LiftTransformParams to move to compile time. Where a value may be bfloat16 in memory
(:mod:`~sam3_tvm.compiler.dispatch.readers`), the kernels on both sides get to know: layers, the
attentions between them, and norms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import tvm
from tvm import relax

from sam3_tvm.arithmetic import Arithmetic
from sam3_tvm.compiler.dispatch.readers import AttentionKernels, Readers
from sam3_tvm.compiler.dispatch.store_weights import pack_weights
from sam3_tvm.compiler.graph.arithmetic import arithmetic_of, excepted_by
from sam3_tvm.compiler.graph.dataflow import Dataflow, shape_of, static_int
from sam3_tvm.compiler.graph.linear_patterns import LinearLayer, find_linear_layers
from sam3_tvm.compiler.graph.rewriting import Emit, NewValue, rewrite_bindings
from sam3_tvm.compiler.kernels.attention.attention import AttentionSpec, attention_kernel
from sam3_tvm.compiler.kernels.attention.attention import kernel_name as attention_name
from sam3_tvm.compiler.kernels.norm import layer_norm_kernel, layer_norm_name
from sam3_tvm.compiler.kernels.product.dot import Dot, dot_for
from sam3_tvm.compiler.kernels.product.int8 import Integers
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
        attentions: kernels that :class:`~sam3_tvm.compiler.dispatch.attention.DispatchAttention`
            has made: they are made again where they take or give bfloat16.
    """

    def __init__(self, target: CpuTarget, attentions: AttentionKernels | None = None) -> None:
        self.target = target
        self.attentions = {} if attentions is None else attentions

    def transform_module(
        self, mod: tvm.IRModule, _ctx: tvm.ir.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite every Relax function of the module."""
        return rewrite_bindings(mod, self._find)

    def _find(self, func: relax.Function) -> dict[Expr, NewValue]:
        scheme, flow, excepted = arithmetic_of(func), Dataflow(func), excepted_by(func)

        def of_layer(layer: LinearLayer) -> Arithmetic:
            named = excepted and excepted & flow.parameters(layer.weight)
            return (scheme.besides if named else scheme).of_layer(layer.n, layer.k, _rows(layer))

        layers = find_linear_layers(flow)
        arithmetic = {var: of_layer(layer) for var, layer in layers.items()}
        readers = Readers(flow, self.target, layers, arithmetic, self.attentions)
        changed = {
            var: partial(_attend_again, self.target, flow.definition(var), *made)
            for var, made in readers.changed_attentions().items()
        }
        return changed | {
            var: _Dispatch(self.target, arithmetic[var], layer, readers)
            for var, layer in layers.items()
        }


def _rows(layer: LinearLayer) -> int:
    """How many rows a layer has whatever a call brings: its fixed sizes multiplied."""
    sizes = (shape_of(layer.chain[-1]) or [])[:-1]
    return math.prod(static_int(size) or 1 for size in sizes)


@dataclass(frozen=True)
class _Dispatch:
    """Gives the variable that a layer defines its kernel's call as value."""

    target: CpuTarget
    arithmetic: Arithmetic
    layer: LinearLayer
    readers: Readers

    def __call__(self, emit: Emit) -> Expr:
        layer, n = self.layer, self.layer.n
        shape = shape_of(layer.chain[-1]) or []
        m = prod(shape[:-1], start=tvm.tirx.const(1, "int64"))
        layout, dot = (
            linear_layout(self.target, self.arithmetic),
            dot_for(self.target, self.arithmetic),
        )
        rows = layer.weight if layer.transposed else emit(relax.op.permute_dims(layer.weight))
        x, rounded_x = self._activations(emit, m, dot)
        args = [*x, *pack_weights(emit, layout, rows, dot.a_zero)]
        if layer.bias is not None:
            args.append(layout.padded(emit, _reshape(emit, layer.bias, (n,))))
        if layer.residual is not None:
            args.append(_reshape(emit, layer.residual, (m, n)))
        rounded = Rounded(rounded_x, self.readers.rounds(layer.chain[-1]))
        given = (n, layer.k, layer.epilogue, self.arithmetic, rounded)
        kernel = emit.kernel(kernel_name(*given), linear_kernel(self.target, *given))
        dtype = "uint16" if rounded.y else "float32"
        call = relax.call_tir(kernel, args, relax.TensorType((m, n), dtype))
        return call if len(shape) == 2 else relax.op.reshape(emit(call), shape)

    def _activations(self, emit: Emit, m: Expr, dot: Dot) -> tuple[list[Expr], bool]:
        """The kernel's arguments for x, and whether x itself is bfloat16."""
        layer = self.layer
        norm = self.readers.norm(layer.x)
        rounded = self.readers.rounds(layer.x)
        if dot.integers is None:
            if norm is None or dot.pairs is None:
                return [_reshape(emit, layer.x, (m, layer.k))], rounded
            return [self._normed(emit, *norm, m, dot)], True
        if norm is not None:
            both = self._normed(emit, *norm, m, dot)
        else:
            both = self._quantised(emit, m, dot.integers, rounded)
        return [emit(relax.TupleGetItem(both, i)) for i in range(2)], False

    def _quantised(self, emit: Emit, m: Expr, integers: Integers, rounded: bool) -> Expr:
        """x in eight bits and its scales, once for all layers that take it."""
        x, k = self.layer.x, self.layer.k

        def make(emit: Emit) -> Expr:
            name = quantise_name(k, integers, rounded)
            kernel = emit.kernel(name, quantise_kernel(self.target, k, integers, rounded))
            types = _quantised_types(m, k, integers)
            return emit(relax.call_tir(kernel, [_reshape(emit, x, (m, k))], types))

        return emit.once((x, "quantised"), make)

    def _normed(self, emit: Emit, var: Expr, norm: Expr, m: Expr, dot: Dot) -> Expr:
        """What a layer norm writes for the layers that read it, once for all of them."""
        k = self.layer.k

        def make(emit: Emit) -> Expr:
            name = layer_norm_name(k, dot)
            made = layer_norm_kernel(self.target, k, float(norm.attrs.epsilon), dot)
            types: Any = relax.TensorType((m, k), "uint16")
            if dot.integers is not None:
                types = _quantised_types(m, k, dot.integers)
            x, gamma, beta = norm.args
            args = [_reshape(emit, x, (m, k)), gamma, beta]
            return emit(relax.call_tir(emit.kernel(name, made), args, types))

        return emit.once((var, "normed"), make)


def _attend_again(target: CpuTarget, call: Expr, spec: AttentionSpec, dot: Dot, emit: Emit) -> Expr:
    """An attention's call with operands or a result that are bfloat16."""
    name = attention_name(spec, dot)
    kernel = emit.kernel(name, attention_kernel(target, spec, dot))
    (made,) = call.ty_args
    dtype = "uint16" if spec.result.rounded else "float32"
    return relax.call_tir(kernel, call.args[1], relax.TensorType(made.shape, dtype))


def _quantised_types(m: Expr, k: int, integers: Integers) -> list[Any]:
    width = quantised_width(k, integers)
    return [relax.TensorType((m, width), integers.dtype), relax.TensorType((m,), "float32")]


def _reshape(emit: Emit, tensor: Expr, shape: tuple[Expr, ...]) -> Expr:
    """The tensor in another shape; a tensor of that many axes has it already."""
    return tensor if tensor.ty.ndim == len(shape) else emit(relax.op.reshape(tensor, shape))
