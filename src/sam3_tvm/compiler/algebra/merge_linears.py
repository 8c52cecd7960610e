"""Makes one product of the projections of an attention that read the same rows.

Queries, keys and values of self-attention are three linear layers over one input. As one layer
with three times the outputs, the input is copied into a task's scratch for up to twice as many
columns, and there is one launch instead of three. The attention kernel reads each part in
place, so layers are merged only where :mod:`~sam3_tvm.compiler.graph.attention_sources` sees
through the slice; weights and biases are joined by operators on parameters, for
LiftTransformParams to move to compile time. Keys and values of cross-attention, or queries and
keys that alone have positions added, make one product of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import tvm
from tvm import relax

from sam3_tvm.compiler.graph.attention_patterns import find_attention
from sam3_tvm.compiler.graph.dataflow import Dataflow, shape_of
from sam3_tvm.compiler.graph.linear_patterns import LinearLayer, find_linear_layers
from sam3_tvm.compiler.graph.rewriting import Emit, NewValue, rewrite_bindings
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue

__all__ = ["MergeLinears"]

Expr = Any


@tvm.ir.transform.module_pass(opt_level=0, name="MergeLinears")
class MergeLinears:
    """The pass, before DispatchAttention and DispatchLinear. Layers whose weights are not
    parameters as they are, or with more than a bias before the attention, stay as they are."""

    def transform_module(
        self, mod: tvm.IRModule, _ctx: tvm.ir.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite every Relax function of the module."""
        return rewrite_bindings(mod, _find)


@dataclass
class Group:
    """Layers that become one; ``merged`` is its result, once emitted."""

    layers: list[LinearLayer]
    merged: Expr | None = None


def find_mergeable(flow: Dataflow) -> dict[Expr, tuple[Group, int]]:
    """Under the variable that each layer defines: its group and its place in it."""
    layers = find_linear_layers(flow)
    found: dict[Expr, tuple[Group, int]] = {}
    for attention in find_attention(flow).values():
        roots = [flow.root(source.expr) for source in attention.sources if source.rows]
        candidates = [
            layers[root]
            for root in dict.fromkeys(roots)
            if root in layers and root not in found and _is_plain(flow, layers[root])
        ]
        while candidates:
            first = candidates[0]
            group = Group([layer for layer in candidates if _alike(flow, first, layer)])
            candidates = [layer for layer in candidates if layer not in group.layers]
            if len(group.layers) > 1:
                for place, layer in enumerate(group.layers):
                    found[layer.chain[-1]] = group, place
    return found


def _is_plain(flow: Dataflow, layer: LinearLayer) -> bool:
    """Whether a layer is a product and a bias of parameters, used once."""
    operands = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
    return (
        layer.epilogue in (Epilogue(), Epilogue(bias=True))
        and flow.only_user(layer.chain[-1]) is not None
        and all(flow.definition(operand) == flow.root(operand) for operand in operands)
    )


def _alike(flow: Dataflow, a: LinearLayer, b: LinearLayer) -> bool:
    return flow.root(a.x) == flow.root(b.x) and (a.n, a.k, a.transposed, a.epilogue) == (
        b.n,
        b.k,
        b.transposed,
        b.epilogue,
    )


def _find(func: relax.Function) -> dict[Expr, NewValue]:
    parts = find_mergeable(Dataflow(func))
    return {var: partial(_part, var, group, place) for var, (group, place) in parts.items()}


def _part(var: Expr, group: Group, place: int, emit: Emit) -> Expr:
    """A layer's slice of the merged layer's result, which the first of them emits."""
    if group.merged is None:
        group.merged = _merge(group.layers, emit)
    axis, n = len(shape_of(var) or []) - 1, group.layers[0].n
    return relax.op.strided_slice(
        group.merged, [axis], [place * n], [(place + 1) * n], [1], assume_inbound=True
    )


def _merge(layers: list[LinearLayer], emit: Emit) -> Expr:
    op, first = relax.op, layers[0]
    weights = [layer.weight for layer in layers]
    weight = emit(op.concat(weights, axis=0 if first.transposed else 1))
    if first.transposed:
        weight = emit(op.permute_dims(weight))
    product = emit(op.matmul(first.x, weight))
    biases = [_flat(layer.bias, emit) for layer in layers if layer.bias is not None]
    if not biases:
        return product
    return emit(op.add(product, emit(op.concat(biases, axis=0))))


def _flat(bias: Expr, emit: Emit) -> Expr:
    """A bias of shape (n,) from one whose leading dimensions are 1."""
    return bias if bias.ty.ndim == 1 else emit(relax.op.reshape(bias, (bias.ty.shape[-1],)))
