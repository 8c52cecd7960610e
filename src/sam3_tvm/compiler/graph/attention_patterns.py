"""Which attentions of a function the kernel takes, with what it sees through around them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from sam3_tvm.compiler.graph.attention_biases import BiasSource, find_bias, guarded
from sam3_tvm.compiler.graph.attention_sources import OperandSource, find_result, find_sources
from sam3_tvm.compiler.graph.dataflow import Dataflow, call_of, float32_shape_of, static_int
from sam3_tvm.compiler.kernels.attention.attention import AttentionSpec

__all__ = ["AttentionCall", "find_attention"]

Expr = Any

_ATTENTION = ("relax.nn.attention", "relax.nn.attention_bias")


@dataclass
class AttentionCall:
    """One match: the kernel, its operands as they lie in memory, and the call's own."""

    spec: AttentionSpec
    sources: list[OperandSource]
    bias: BiasSource
    call: Expr


def find_attention(flow: Dataflow) -> dict[Expr, AttentionCall]:
    """The attentions of a function, each under the variable that its kernel defines."""
    found: dict[Expr, AttentionCall] = {}
    for binding in flow.bindings:
        call = call_of(binding.value, *_ATTENTION)
        spec = None if call is None else _spec(call)
        if spec is not None:
            sources = find_sources(flow, call)
            query, key, value = (source.layout for source in sources)
            var, result = find_result(flow, guarded(flow, call, binding.var), query.windows)
            spec = replace(spec, query=query, key=key, value=value, result=result)
            bias = find_bias(flow, call)
            spec = replace(spec, rotary=sources[0].rotary is not None, bias=bias.kind)
            found[var] = AttentionCall(spec, sources, bias, call)
    return found


def _spec(call: Expr) -> AttentionSpec | None:
    """What the kernel needs to know, axes in Relax's order; None where it doesn't apply."""
    shapes = [float32_shape_of(arg) for arg in call.args]
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
    scale = 1 / math.sqrt(head_dim) if attrs.scale is None else float(attrs.scale.value)
    return AttentionSpec(heads, head_dim, value_dim, scale, causal=causal)
