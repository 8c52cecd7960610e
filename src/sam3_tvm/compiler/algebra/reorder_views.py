"""Writes views of a tensor in the one order that later passes read.

Models say the same in several ways. Two are rewritten here:

- ``unbind`` of a product that makes queries, keys and values, after it was split into parts and
  heads and transposed. Slices of the parts come first instead, of the product's last axis:
  ``slice(permute(reshape(x))) = permute(reshape(slice(x)))``.
- An axis that is split before a transposition that keeps its parts together, as rows of a window
  are. It is split after it: ``permute(reshape(x)) = reshape(permute(x))``.

Nothing is computed in another order: these are permutations of the same values.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import tvm
from tvm import relax

from sam3_tvm.compiler.graph.dataflow import Dataflow, call_of, same_shape, shape_of, static_int
from sam3_tvm.compiler.graph.rewriting import Emit, NewValue, rewrite_bindings

__all__ = ["ReorderViews"]

Expr = Any

_SLICE = "relax.strided_slice"


@tvm.ir.transform.module_pass(opt_level=0, name="ReorderViews")
class ReorderViews:
    """The pass, before those that look for attention."""

    def transform_module(
        self, mod: tvm.IRModule, _ctx: tvm.ir.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite every Relax function of the module."""
        return rewrite_bindings(mod, _find)


def _find(func: relax.Function) -> dict[Expr, NewValue]:
    flow = Dataflow(func)
    found: dict[Expr, NewValue] = {}
    for binding in flow.bindings:
        new_value = _part(flow, binding) or _late_split(flow, binding)
        if new_value is not None:
            found[binding.var] = new_value
    return found


def _part(flow: Dataflow, binding: Expr) -> NewValue | None:
    """A reshape of one entry of the first axis of a transposed split of a tensor's last axis."""
    shaped = call_of(binding.value, "relax.reshape")
    cut = None if shaped is None else call_of(flow.definition(shaped.args[0]), _SLICE)
    permute = None if cut is None else call_of(flow.definition(cut.args[0]), "relax.permute_dims")
    split = None if permute is None else call_of(flow.definition(permute.args[0]), "relax.reshape")
    if cut is None or permute is None or split is None or len(cut.args) != 5:
        return None
    axes, begin, end, step = ([static_int(i) for i in arg.fields] for arg in cut.args[1:])
    at = begin[0]
    if axes != [0] or at is None or end != [at + 1] or step != [1]:
        return None
    whole, parts, turned = shape_of(split.args[0]), shape_of(permute.args[0]), shape_of(cut.args[0])
    if not whole or not parts or not turned or permute.attrs.axes is None:
        return None
    order = [int(a) for a in permute.attrs.axes]
    inner = [static_int(d) for d in parts[order[0] :]]
    known = [d for d in inner if d is not None]
    if len(known) < len(inner) or static_int(whole[-1]) != math.prod(known) or len(inner) < 2:
        return None
    size, part = math.prod(known[1:]), order[0]
    rest = [a - (a > part) for a in order[1:]]
    wanted = shape_of(binding.var) or []
    shape = None if same_shape(wanted, turned[1:]) else wanted
    start = at * size
    return partial(_sliced_first, split.args[0], start, size, _without(parts, part), rest, shape)


def _without(items: list[Expr], position: int) -> list[Expr]:
    return [item for i, item in enumerate(items) if i != position]


def _sliced_first(
    x: Expr,
    start: int,
    size: int,
    parts: list[Expr],
    order: list[int],
    shape: list[Expr] | None,
    emit: Emit,
) -> Expr:
    last = len(shape_of(x) or []) - 1
    cut = emit(relax.op.strided_slice(x, [last], [start], [start + size], [1], True))
    turned = relax.op.permute_dims(emit(relax.op.reshape(cut, parts)), order)
    return turned if shape is None else relax.op.reshape(emit(turned), shape)


def _late_split(flow: Dataflow, binding: Expr) -> NewValue | None:
    """A transposition that keeps the two parts of a split axis next to each other."""
    permute = call_of(binding.value, "relax.permute_dims")
    split = None if permute is None else call_of(flow.definition(permute.args[0]), "relax.reshape")
    if permute is None or split is None or permute.attrs.axes is None:
        return None
    before, after = shape_of(split.args[0]), shape_of(permute.args[0])
    axis = None if before is None or after is None else _split_axis(before, after)
    if axis is None:
        return None
    order = [int(a) for a in permute.attrs.axes]
    at = order.index(axis)
    if order[at + 1 : at + 2] != [axis + 1]:
        return None
    joined = [a - (a > axis) for a in _without(order, at + 1)]
    return partial(_split_last, split.args[0], joined, shape_of(binding.var) or [])


def _split_axis(before: list[Expr], after: list[Expr]) -> int | None:
    """The axis that became two, of static sizes, where no other changed."""
    if len(after) != len(before) + 1:
        return None
    for axis, size in enumerate(before):
        parts = [static_int(d) for d in after[axis : axis + 2]]
        if None in parts or static_int(size) != math.prod(p for p in parts if p is not None):
            continue
        kept = [*after[:axis], *after[axis + 2 :]]
        if same_shape(_without(before, axis), kept):
            return axis
    return None


def _split_last(x: Expr, order: list[int], shape: list[Expr], emit: Emit) -> Expr:
    return relax.op.reshape(emit(relax.op.permute_dims(x, order)), shape)
