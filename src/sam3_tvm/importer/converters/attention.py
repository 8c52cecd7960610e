"""Scaled dot-product attention, kept as one operator.

Every call becomes one ``relax.nn.attention`` or ``relax.nn.attention_bias`` on
``[batch, length, heads, width]`` tensors, with an explicit ``scale`` and without
``causal_mask``: stock lowering of that attribute takes each row's maximum over zeros that
stand for the masked scores, and divides 0 by 0 once all visible scores are far below zero.
So a pass has two forms to match, and masks are always an additive bias
``[batch | 1, heads | 1, queries | 1, keys]``:

- a boolean mask gives 0 where a key takes part and ``-inf`` elsewhere;
- a float mask is passed as it is, and may hold ``-inf``.

PyTorch defines the result as zero for a query that sees no key, while a softmax over such
a row is not a number. Where a mask could do so, ``where(visible, attention, 0)`` follows.
A kernel that yields zero for a row whose every score is ``-inf`` can match the pair and
drop the guard.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import tvm
from tvm import relax, te, tirx

from sam3_tvm.importer.converters._tensors import (
    accumulator,
    broadcast,
    cast,
    dtype_of,
    extents,
    is_one,
    product,
    same_shape,
)
from sam3_tvm.importer.registry import Context, converter

aten = torch.ops.aten


@converter(aten.scaled_dot_product_attention.default)
def scaled_dot_product_attention(
    cx: Context,
    query: relax.Expr,
    key: relax.Expr,
    value: relax.Expr,
    attn_mask: relax.Expr | None,
    dropout_p: float,
    is_causal: bool,
    *,
    scale: float | None,
    enable_gqa: bool,
) -> relax.Expr:
    """``softmax(query key^T scale + mask) value`` for ``[..., heads, length, width]``.

    Two-dimensional inputs have neither batch nor heads, three-dimensional ones no heads;
    more than four dimensions are one batch. Half-precision inputs are attended to in
    float32 and rounded once, as PyTorch's CPU kernels do.

    Raises:
        NotImplementedError: ``dropout_p`` isn't 0, which has no meaning at inference.
    """
    if dropout_p:
        raise NotImplementedError(
            f"scaled_dot_product_attention with dropout_p={dropout_p}: "
            "only inference is imported, pass 0.0 (module.training is False then)"
        )
    dtype = accumulator(dtype_of(query))
    rank = max(len(extents(x)) for x in (query, key, value))
    lead = _common_lead([query, key, value], rank, heads=not enable_gqa)
    q, k, v = (_to_blhd(cx, cast(cx, x, dtype), lead, rank) for x in (query, key, value))
    if enable_gqa:
        heads = extents(q)[2]
        k, v = (_repeat_heads(cx, x, heads) for x in (k, v))
    bias, visible = None, None
    if attn_mask is not None:
        bias, visible = _bias(cx, attn_mask, dtype, lead, rank, extents(k)[1])
    elif is_causal:
        bias = _causal_bias(cx, extents(q)[1], extents(k)[1], dtype)
    width = extents(query)[-1]
    if scale is None and isinstance(width, int):
        scale = 1.0 / math.sqrt(width)
    factor = None if scale is None else tirx.FloatImm("float32", scale)
    out = cx.emit(relax.op.nn.attention(q, k, v, bias=bias, scale=factor))
    if visible is not None:
        out = cx.emit(relax.op.where(visible, out, relax.const(0.0, dtype)))
    return cast(cx, _from_blhd(cx, out, lead, rank), dtype_of(query))


def _common_lead(tensors: list[relax.Expr], rank: int, *, heads: bool) -> list[Any]:
    """The dimensions before (length, width), broadcast over the tensors; in grouped-query
    attention the heads are the query's."""
    lead: list[Any] = [1] * (rank - 2)
    for position in range(rank - 2):
        for tensor in tensors if heads or position < rank - 3 else tensors[:1]:
            shape = extents(tensor)
            at = position - (rank - len(shape))
            if at >= 0 and is_one(lead[position]):
                lead[position] = shape[at]
    return lead


def _to_blhd(cx: Context, x: relax.Expr, lead: list[Any], rank: int) -> relax.Expr:
    """``[*lead, length, width]`` as ``[batch, length, heads, width]``."""
    shape = extents(x)
    length, width = shape[-2:]
    if rank <= 3:
        batch = [*lead, length, width] if rank == 3 else [1, length, width]
        x = broadcast(cx, x, batch)
        return cx.emit(relax.op.expand_dims(x, 2))
    # Grouped-query attention keeps the tensor's own number of heads.
    heads = shape[-3] if len(shape) >= 3 and not is_one(shape[-3]) else lead[-1]
    x = broadcast(cx, x, [*lead[:-1], heads, length, width])
    if rank > 4:
        x = cx.emit(relax.op.reshape(x, (product(lead[:-1]), heads, length, width)))
    return cx.emit(relax.op.permute_dims(x, [0, 2, 1, 3]))


def _from_blhd(cx: Context, x: relax.Expr, lead: list[Any], rank: int) -> relax.Expr:
    if rank <= 3:
        return cx.emit(relax.op.squeeze(x, [0, 2] if rank == 2 else [2]))
    length, width = extents(x)[1], extents(x)[3]
    x = cx.emit(relax.op.permute_dims(x, [0, 2, 1, 3]))
    if rank > 4:
        x = cx.emit(relax.op.reshape(x, (*lead, length, width)))
    return x


def _repeat_heads(cx: Context, x: relax.Expr, heads: Any) -> relax.Expr:
    """Give each group of query heads its own copy of the key (or value) head it shares.

    Raises:
        NotImplementedError: the number of heads isn't static.
    """
    own = extents(x)[2]
    if not (isinstance(own, int) and isinstance(heads, int)):
        raise NotImplementedError("enable_gqa with a number of heads that varies")
    return x if own == heads else cx.emit(relax.op.repeat(x, heads // own, axis=2))


def _bias(
    cx: Context, mask: relax.Expr, dtype: str, lead: list[Any], rank: int, keys: Any
) -> tuple[relax.Expr, relax.Expr | None]:
    """The additive bias of a mask, and which queries see a key at all (None: all do).

    Returns:
        The bias ``[batch | 1, heads | 1, queries | 1, keys]``, and bool
        ``[batch | 1, queries | 1, heads | 1, 1]``.
    """
    boolean = dtype_of(mask) == "bool"
    every_row_sees = _constant_sees_all(mask)
    mask = _to_bhqk(cx, mask, lead, rank, keys)
    visible = None
    if not every_row_sees:
        seen = mask
        if not boolean:
            seen = cx.emit(relax.op.greater(mask, relax.const(-math.inf, dtype_of(mask))))
        # Relax can't take the maximum of booleans.
        seen = cx.emit(relax.op.max(relax.op.astype(seen, "int8"), axis=-1, keepdims=True))
        visible = cx.emit(relax.op.astype(seen, "bool"))
        visible = cx.emit(relax.op.permute_dims(visible, [0, 2, 1, 3]))
    if boolean:
        hidden = relax.const(-math.inf, dtype)
        return cx.emit(relax.op.where(mask, relax.const(0.0, dtype), hidden)), visible
    return cast(cx, mask, dtype), visible


def _constant_sees_all(mask: relax.Expr) -> bool:
    """Whether the mask is a constant that leaves each query at least one key."""
    if not isinstance(mask, tvm.ir.GenericConst) or dtype_of(mask) == "bfloat16":
        return False
    values = mask.value.numpy()
    seen = values if values.dtype == bool else values > -np.inf
    return bool(seen.any(axis=-1).all())


def _to_bhqk(cx: Context, mask: relax.Expr, lead: list[Any], rank: int, keys: Any) -> relax.Expr:
    """A mask that broadcasts to ``[*lead, queries, keys]`` as a four-dimensional one."""
    shape = [1] * (rank - len(extents(mask))) + extents(mask)
    if rank <= 3:
        batch = shape[0] if rank == 3 else 1
        bhqk = [batch, 1, shape[-2], shape[-1]]
    elif all(is_one(e) for e in shape[:-3]):
        bhqk = [1, *shape[-3:]]
    else:
        if rank > 4:
            shape[:-3] = lead[:-1]
            mask = broadcast(cx, mask, shape)
        bhqk = [product(shape[:-3]), *shape[-3:]]
    if not same_shape(extents(mask), bhqk):
        mask = cx.emit(relax.op.reshape(mask, bhqk))
    # Relax broadcasts a bias over batch, heads and queries, not over keys.
    return broadcast(cx, mask, [*bhqk[:3], keys]) if is_one(bhqk[3]) else mask


def _causal_bias(cx: Context, queries: Any, keys: Any, dtype: str) -> relax.Expr:
    """``[1, 1, queries, keys]``: query i sees keys 0..i, also where the lengths differ."""

    def causal_bias(q: Any, k: Any) -> te.Tensor:
        hidden, zero = tirx.const(-math.inf, dtype), tirx.const(0, dtype)
        return te.compute(
            (1, 1, q, k),
            lambda _b, _h, i, j: tirx.Select(j <= i, zero, hidden),
            name="causal_bias",
        )

    return cx.emit_te(causal_bias, queries, keys, name="causal_bias")
