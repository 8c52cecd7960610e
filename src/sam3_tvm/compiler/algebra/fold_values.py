"""Projects what an attention found, rather than all that it looked at.

With one head the values of an attention are rows of ``M W + b``, and its result is a weighted mean
of them, of weights A whose rows add up to one. So

    A (M W + b) = (A M) W + b

which takes Lq Lk E multiply-adds for Lq Lk D and projects Lq rows for Lk, where M [Lk, E] is not
wider than its projection [Lk, D]. SAM 3's tracker attends to memories of 64 channels, some 36,000
of them, as values of 256.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax
from tvm.sym import Analyzer, ConstIntBound

from sam3_tvm.compiler.graph.dataflow import (
    Dataflow,
    call_of,
    float32_shape_of,
    shape_of,
    static_int,
)
from sam3_tvm.compiler.graph.rewriting import Emit, NewValue, rewrite_bindings

__all__ = ["FoldValues"]

Expr = Any


@tvm.transform.module_pass(opt_level=0, name="FoldValues")
class FoldValues:
    """The pass. Attention with several heads, a bias or a causal mask stays, and so do values that
    anything else reads, whose weights are no parameters, or of which there may be fewer than
    queries."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite every Relax function of the module."""
        return rewrite_bindings(mod, _find)


@dataclass
class _Folded:
    """``attention(query, key, x weight + bias)``."""

    attention: Expr
    x: Expr
    weight: Expr
    bias: Expr | None

    def __call__(self, emit: Emit) -> Expr:
        op, (query, key, values) = relax.op, self.attention.args
        batch, rows, heads, _ = shape_of(values) or []
        width, _ = shape_of(self.weight) or []
        x = emit(op.reshape(self.x, (batch, rows, heads, width)))
        scale = self.attention.attrs.scale
        scale = None if scale is None else float(scale.value)
        means = emit(op.nn.attention(query, key, x, scale=scale))
        projected = op.matmul(means, self.weight)
        if self.bias is None:
            return projected
        return op.add(emit(projected), emit(op.reshape(self.bias, (-1,))))


def _find(func: relax.Function) -> Mapping[Expr, NewValue]:
    flow, least = Dataflow(func), _least_sizes(func)
    found: dict[Expr, NewValue] = {}
    for binding in flow.bindings:
        call = call_of(binding.value, "relax.nn.attention")
        if call is None or call.attrs.causal_mask is not None or call.attrs.window_size is not None:
            continue
        folded = _match(flow, call)
        if folded is not None and _pays(folded, least):
            found[binding.var] = folded
    return found


def _match(flow: Dataflow, call: Expr) -> _Folded | None:
    values = float32_shape_of(call.args[2])
    if values is None or len(values) != 4 or static_int(values[2]) != 1:
        return None
    rows, bias = _behind_moves(flow, call.args[2]), None
    if rows is None:
        return None
    total = call_of(flow.definition(rows), "relax.add")
    if total is not None:
        rows, bias = total.args
        if flow.is_offline(rows):
            rows, bias = bias, rows
        if flow.only_user(rows) is None:
            return None
        # Of any other size than its last axis it would differ from row to row.
        if not flow.is_offline(bias) or not _is_vector(bias, values[3]):
            return None
    product = call_of(flow.definition(rows), "relax.matmul")
    if product is None:
        return None
    x, weight = product.args
    sizes = float32_shape_of(weight)
    if sizes is None or len(sizes) != 2 or not flow.is_offline(weight) or flow.is_offline(x):
        return None
    if static_int(sizes[0]) is None or static_int(sizes[1]) != static_int(values[3]):
        return None
    return _Folded(call, x, weight, bias)


def _behind_moves(flow: Dataflow, expr: Expr) -> Expr | None:
    """What an operand is, its rows in the same order, behind reshapes and transpositions of single
    axes; None if anything else reads it."""
    width = static_int((shape_of(expr) or [None])[-1])
    while True:
        shape = shape_of(expr)
        if not shape or static_int(shape[-1]) != width or flow.only_user(expr) is None:
            return None
        value = flow.definition(expr)
        moved = call_of(value, "relax.reshape", "relax.permute_dims")
        if moved is None or (moved.op.name == "relax.permute_dims" and not _keeps_order(moved)):
            return expr
        expr = moved.args[0]


def _keeps_order(permuted: Expr) -> bool:
    """Whether a transposition moves nothing but axes of size 1."""
    shape, axes = shape_of(permuted.args[0]), permuted.attrs.axes
    if shape is None or axes is None:
        return False
    long = [int(axis) for axis in axes if static_int(shape[int(axis)]) != 1]
    return long == sorted(long)


def _is_vector(expr: Expr, size: Expr) -> bool:
    shape = [static_int(extent) for extent in float32_shape_of(expr) or []]
    return shape[-1:] == [static_int(size)] and all(extent == 1 for extent in shape[:-1])


def _least_sizes(func: relax.Function) -> Analyzer:
    """What is known of a function's symbolic sizes."""
    least = (func.attrs or {}).get("tir_var_lower_bound", {})
    analyzer = Analyzer()
    for var in relax.analysis.defined_symbolic_vars(func):
        bound = int(least[var.name]) if var.name in least else 0
        analyzer.update(var, ConstIntBound(bound, ConstIntBound.POS_INF))
    return analyzer


def _pays(folded: _Folded, least: Analyzer) -> bool:
    """Whether it takes fewer multiply-adds at every size. Without a row to look at there would be
    no mean to which the bias could be added."""
    query, _, values = (shape_of(arg) or [] for arg in folded.attention.args)
    width, projected = (static_int(extent) or 0 for extent in shape_of(folded.weight) or [])
    if not query or width > projected or static_int(query[2]) != 1:
        return False
    more = least.simplify(values[1] - query[1])
    same = static_int(more) == 0 and width == projected
    at_least = (least.const_int_bound(size).min_value for size in (more, values[1] - 1))
    return not same and all(bound >= 0 for bound in at_least)
