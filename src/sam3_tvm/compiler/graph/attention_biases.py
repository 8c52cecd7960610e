"""What an attention's bias is made of, where the kernel can take that instead of the array.

- A mask that transformers expanded to every query is ``logical_and`` of a constant that is true
  everywhere with the mask itself, or a broadcast of it: the kernel takes the narrow one.
- A separable bias, such as SAM 3's box relative position bias, is the sum of a table of rows and
  one of columns, flattened to keys, permuted to heads first and padded with zeros for the
  queries without one: the kernel takes the tables.
- Beside a mask that may hide every key of a query, the importer gives such queries zeros by a
  ``where``. The kernel does that by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tvm.ir import GenericConst

from sam3_tvm.compiler.graph.attention_sources import permutation
from sam3_tvm.compiler.graph.dataflow import (
    Dataflow,
    call_of,
    constant,
    same_shape,
    shape_of,
    static_int,
)
from sam3_tvm.compiler.kernels.attention.bias import Separable, Varying

__all__ = ["BiasSource", "Choice", "find_bias", "guarded"]

Expr = Any


@dataclass(frozen=True)
class Choice:
    """``where(mask, yes, no)``, to be computed for a mask without its broadcast axes."""

    mask: Expr
    yes: Expr
    no: Expr


@dataclass(frozen=True)
class BiasSource:
    """Attributes:
    kind: what the kernel is told.
    tensors: what it takes; none for attention without bias.
    """

    kind: Varying | Separable | None = None
    tensors: tuple[Expr | Choice, ...] = ()


def find_bias(flow: Dataflow, call: Expr) -> BiasSource:
    """The least that the kernel needs of the bias of an ``nn.attention_bias``."""
    if len(call.args) < 4:
        return BiasSource()
    return (
        _separable(flow, call)
        or _narrow_mask(flow, call.args[3])
        or BiasSource(_varying(call.args[3]), (call.args[3],))
    )


def _varying(tensor: Expr) -> Varying:
    b, h, q, k = (static_int(d) != 1 for d in tensor.ty.shape.values)
    return b, h, q, k


def _dims(expr: Expr, rank: int) -> list[Expr] | None:
    """The dimensions of a tensor of this rank and any dtype, else None."""
    dims = shape_of(expr)
    return dims if dims is not None and len(dims) == rank else None


def _narrow_mask(flow: Dataflow, bias: Expr) -> BiasSource | None:
    choice = call_of(flow.definition(bias), "relax.where")
    if choice is None or constant(choice.args[1]) is None or constant(choice.args[2]) is None:
        return None
    mask = _before_broadcast(flow, choice.args[0])
    narrow, wide = (None if m is None else _dims(m, 4) for m in (mask, bias))
    if narrow is None or wide is None:
        return None
    if not all(
        static_int(n) == 1 or same_shape([n], [w]) for n, w in zip(narrow, wide, strict=True)
    ):
        return None
    return BiasSource(_varying(mask), (Choice(flow.root(mask), choice.args[1], choice.args[2]),))


def _before_broadcast(flow: Dataflow, mask: Expr) -> Expr | None:
    """What a mask is a broadcast of; None if it is none."""
    spread = call_of(flow.definition(mask), "relax.broadcast_to")
    if spread is not None:
        return spread.args[0]
    both = call_of(flow.definition(mask), "relax.logical_and")
    if both is None:
        return None
    one, other = both.args
    for always, rest in ((one, other), (other, one)):
        value = flow.definition(always)
        if isinstance(value, GenericConst) and value.value.numpy().all():
            return rest
    return None


def _separable(flow: Dataflow, call: Expr) -> BiasSource | None:
    value, first = _without_padding(flow, flow.definition(call.args[3]))
    permute = call_of(value, "relax.permute_dims")
    if permute is None or permutation(permute) != [0, 3, 1, 2]:
        return None
    flat = call_of(flow.definition(permute.args[0]), "relax.reshape")
    if flat is None:
        return None
    total = call_of(flow.definition(flat.args[0]), "relax.add")
    if total is None:
        return None
    whole, keys = _dims(flat.args[0], 5), _dims(permute.args[0], 4)
    if whole is None or keys is None or static_int(whole[2]) is None:
        return None
    batch, queries, down, across, heads = whole
    if static_int(across) is None or not same_shape(keys, [batch, queries, down * across, heads]):
        return None
    # Neither axis of the scores may be one that the bias was broadcast along.
    scores = [call.args[0].ty.shape.values[i] for i in (0, 2, 1)]
    if not same_shape(scores, [batch, heads, queries + first]):
        return None
    for one, other in (total.args, reversed(total.args)):
        table, other_table = _dims(one, 5), _dims(other, 5)
        if table is None or other_table is None:
            continue
        if same_shape(table, [batch, queries, down, 1, heads]) and same_shape(
            other_table, [batch, queries, 1, across, heads]
        ):
            kind = Separable(static_int(down) or 0, static_int(across) or 0, first)
            return BiasSource(kind, (flow.root(one), flow.root(other)))
    return None


def _without_padding(flow: Dataflow, bias: Expr) -> tuple[Expr, int]:
    """The bias before queries of zeros were put first, and how many were."""
    pad = call_of(bias, "relax.nn.pad")
    if pad is None:
        return bias, 0
    attrs = pad.attrs
    widths = [int(w) for w in attrs.pad_width]
    first = widths[4] if len(widths) == 8 else 0
    if str(attrs.pad_mode) != "constant" or float(attrs.pad_value) != 0:
        return bias, 0
    if first <= 0 or any(w for i, w in enumerate(widths) if i != 4):
        return bias, 0
    return flow.definition(pad.args[0]), first


def guarded(flow: Dataflow, call: Expr, var: Expr) -> Expr:
    """The variable of ``where(the query sees a key, attention, 0)`` if that is the only use of
    an attention with bias, else the attention's own.

    The guard goes only if its mask is provably that of the bias: ``seen`` in
    ``bias = where(seen, 0, -inf)``, or ``seen = bias > -inf``.
    """
    user = flow.only_user(var)
    guard = None if user is None else call_of(flow.definition(user), "relax.where")
    if guard is None or len(call.args) < 4 or guard.args[1] != var or constant(guard.args[2]) != 0:
        return var
    seen = _reduced_mask(flow, guard.args[0])
    if seen is None:
        return var
    bias = flow.root(call.args[3])
    choice = call_of(flow.definition(bias), "relax.where")
    if choice is not None:
        same = flow.root(choice.args[0]) == seen
        values = (constant(choice.args[1]), constant(choice.args[2]))
        return user if same and values == (0, -math.inf) else var
    test = call_of(flow.definition(seen), "relax.greater")
    if test is not None and flow.root(test.args[0]) == bias and constant(test.args[1]) == -math.inf:
        return user
    return var


def _reduced_mask(flow: Dataflow, condition: Expr) -> Expr | None:
    """``seen`` of a condition that says, as [B, Lq, heads, 1], whether any key is seen."""
    permute = call_of(flow.definition(condition), "relax.permute_dims")
    if permute is None or permutation(permute) != [0, 2, 1, 3]:
        return None
    truth = call_of(flow.definition(permute.args[0]), "relax.astype")
    largest = None if truth is None else call_of(flow.definition(truth.args[0]), "relax.max")
    if largest is None or [int(a) % 4 for a in largest.attrs.axis or []] != [3]:
        return None
    number = call_of(flow.definition(largest.args[0]), "relax.astype")
    return None if number is None else flow.root(number.args[0])
