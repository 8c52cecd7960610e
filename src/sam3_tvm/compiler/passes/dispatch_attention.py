"""Gives every attention its kernel, and takes the transpositions around it along.

``nn.attention`` and ``nn.attention_bias`` take and give [B, L, heads, head_dim]; PyTorch has
heads before L, so transpositions surround them. The kernel reads and writes any order of
axes that ends in head_dim, so those are not executed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam3_tvm.compiler.kernels.attention import AttentionSpec, attention_kernel, kernel_name
from sam3_tvm.compiler.passes.dataflow import Dataflow, call_of, shape_of, static_int
from sam3_tvm.compiler.target import CpuTarget

__all__ = ["DispatchAttention"]

Expr = Any

_AXES = "BLHD"
_ATTENTION = ("relax.nn.attention", "relax.nn.attention_bias")


@tvm.ir.transform.module_pass(opt_level=0, name="DispatchAttention")
class DispatchAttention:
    """The pass. Attention in other dtypes than float32, with a window, or with fewer key heads
    than query heads is left as it is."""

    def __init__(self, target: CpuTarget) -> None:
        self.target = target

    def transform_module(
        self, mod: tvm.IRModule, _ctx: tvm.ir.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite every Relax function of the module."""
        mod = relax.transform.Normalize()(mod)
        rewriter = _Rewriter(mod, self.target)
        for gvar, func in mod.functions_items():
            if isinstance(func, relax.Function):
                rewriter.calls = find_attention(Dataflow(func))
                if rewriter.calls:
                    rewritten = rewriter.visit_expr(func)
                    rewriter.builder_.update_func(gvar, relax.analysis.remove_all_unused(rewritten))
        return rewriter.builder_.get()


@dataclass
class AttentionCall:
    """One match: the kernel, and its arguments as they lie in memory."""

    spec: AttentionSpec
    args: list[Expr]


def find_attention(flow: Dataflow) -> dict[Expr, AttentionCall]:
    """The attentions of a function, each under the variable that its kernel defines."""
    found: dict[Expr, AttentionCall] = {}
    for binding in flow.bindings:
        call = call_of(binding.value, *_ATTENTION)
        if call is None:
            continue
        spec = _spec(call)
        if spec is not None:
            var, layout = _result(flow, binding.var)
            stored = [_source(flow, operand) for operand in call.args[:3]]
            query, key, value = (order for _, order in stored)
            spec = AttentionSpec(
                **{
                    **vars(spec),
                    "query": query,
                    "key": key,
                    "value": value,
                    "result": layout,
                }
            )
            found[var] = AttentionCall(spec, [t for t, _ in stored] + list(call.args[3:]))
    return found


def _spec(call: Expr) -> AttentionSpec | None:
    """What the kernel needs to know, axes in Relax's order; None where it doesn't apply."""
    shapes = [shape_of(arg) for arg in call.args]
    if any(s is None or len(s) != 4 for s in shapes):
        return None
    q, k, v = ([static_int(d) for d in s or []] for s in shapes[:3])
    heads, head_dim, value_dim = q[2], q[3], v[3]
    if heads is None or not head_dim or not value_dim:
        return None
    if (k[2], k[3], v[2]) != (heads, head_dim, heads):
        return None
    attrs = call.attrs
    if attrs.window_size is not None:
        return None
    causal = None if attrs.causal_mask is None else str(attrs.causal_mask)
    if causal not in (None, "TopLeft", "BottomRight"):
        return None
    bias = None
    if len(shapes) == 4:
        b0, b1, b2, b3 = (static_int(d) != 1 for d in shapes[3] or [])
        bias = (b0, b1, b2, b3)
    scale = 1 / math.sqrt(head_dim) if attrs.scale is None else float(attrs.scale.value)
    return AttentionSpec(heads, head_dim, value_dim, scale, bias=bias, causal=causal)


def _source(flow: Dataflow, operand: Expr) -> tuple[Expr, str]:
    """Where an operand's values lie without being transposed, and in what order of axes."""
    best, names = (operand, _AXES), _AXES
    while (call := call_of(flow.definition(operand), "relax.permute_dims")) is not None:
        operand, axes = call.args[0], _permutation(call)
        names = "".join(names[axes.index(i)] for i in range(4))
        if names[-1] == "D":
            best = (operand, names)
    return best


def _result(flow: Dataflow, var: Expr) -> tuple[Expr, str]:
    """The variable that the kernel can define, past transpositions of the result."""
    best, names = (var, _AXES), _AXES
    while (user := flow.only_user(var)) is not None:
        call = call_of(flow.definition(user), "relax.permute_dims")
        if call is None:
            break
        var = user
        names = "".join(names[i] for i in _permutation(call))
        if names[-1] == "D":
            best = (var, names)
    return best


def _permutation(call: Expr) -> list[int]:
    axes = call.attrs.axes
    return [3, 2, 1, 0] if axes is None else [int(a) % 4 for a in axes]


@mutator
class _Rewriter(PyExprMutator):  # type: ignore[misc]
    """Replaces the variable that each attention defines; what fed it may be left without users."""

    def __init__(self, mod: tvm.IRModule, target: CpuTarget) -> None:
        super().__init__(mod)
        self.target = target
        self.calls: dict[Expr, AttentionCall] = {}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        found = self.calls.get(binding.var)
        if found is not None:
            func = attention_kernel(self.target, found.spec)
            kernel = self.builder_.add_func(func, kernel_name(found.spec))
            args = [self.visit_expr(arg) for arg in found.args]
            result = relax.TensorType(shape_of(binding.var) or [], "float32")
            binding = relax.VarBinding(binding.var, relax.call_tir(kernel, args, result))
        super().visit_var_binding_(binding)
