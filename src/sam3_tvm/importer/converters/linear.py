"""Matrix products and einsum, with the result dtype that PyTorch gives them.

A linear layer is ``matmul(x, permute_dims(weight)) + bias``, the form that passes match.
Half-precision products are summed in float32 and rounded once at the end.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import torch
from tvm import relax, te

from sam3_tvm.importer.converters._tensors import (
    accumulator,
    cast,
    dtype_of,
    extents,
    is_one,
    product,
    same_shape,
)
from sam3_tvm.importer.registry import Context, converter

aten = torch.ops.aten


def _matmul(cx: Context, a: relax.Expr, b: relax.Expr) -> relax.Expr:
    """The product of two tensors, still in the dtype in which it was summed."""
    return cx.emit(relax.op.matmul(a, b, out_dtype=accumulator(dtype_of(a))))


@converter(aten.linear.default)
def linear(
    cx: Context, input: relax.Expr, weight: relax.Expr, bias: relax.Expr | None
) -> relax.Expr:
    """``input [..., in] weight [out, in]^T + bias [out]``; a 1-D weight is a dot product."""
    if len(extents(weight)) > 1:
        weight = cx.emit(relax.op.permute_dims(weight))
    out = _matmul(cx, input, weight)
    if bias is not None:
        out = cx.emit(relax.op.add(out, cast(cx, bias, dtype_of(out))))
    return cast(cx, out, cx.dtype)


@converter(
    aten.mm.default,
    aten.bmm.default,
    aten.matmul.default,
    aten.linalg_matmul.default,
    aten.mv.default,
    aten.dot.default,
    aten.vdot.default,
)
def matmul(cx: Context, self: relax.Expr, **other: relax.Expr) -> relax.Expr:
    """Products of vectors, matrices and broadcast batches of them."""
    (b,) = other.values()  # mat2, vec or tensor, by operator
    return cast(cx, _matmul(cx, self, b), cx.dtype)


@converter(aten.addmm.default, aten.addmv.default, aten.baddbmm.default, aten.addbmm.default)
def add_product(
    cx: Context, self: relax.Expr, *, beta: float, alpha: float, **factors: relax.Expr
) -> relax.Expr:
    """``beta self + alpha (a b)``; with ``beta`` 0 whatever ``self`` holds is ignored."""
    a, b = factors.values()
    out = _matmul(cx, a, b)
    if cx.node.target is aten.addbmm.default:
        out = cx.emit(relax.op.sum(out, axis=0))
    dtype = dtype_of(out)
    if alpha != 1:
        out = cx.emit(relax.op.multiply(out, relax.const(alpha, dtype)))
    if beta != 0:
        bias = cast(cx, self, dtype)
        if beta != 1:
            bias = cx.emit(relax.op.multiply(bias, relax.const(beta, dtype)))
        out = cx.emit(relax.op.add(out, bias))
    return cast(cx, out, cx.dtype)


@converter(aten.outer.default, aten.ger.default)
def outer(cx: Context, self: relax.Expr, vec2: relax.Expr) -> relax.Expr:
    rows = cx.emit(relax.op.expand_dims(cast(cx, self, cx.dtype), 1))
    columns = cx.emit(relax.op.expand_dims(cast(cx, vec2, cx.dtype), 0))
    times = relax.op.logical_and if cx.dtype == "bool" else relax.op.multiply
    return cx.emit(times(rows, columns))


@converter(aten.inner.default)
def inner(cx: Context, self: relax.Expr, other: relax.Expr) -> relax.Expr:
    """The sum over both last dimensions; a number multiplies."""
    ranks = len(extents(self)), len(extents(other))
    if 0 in ranks:
        return cx.emit(relax.op.multiply(self, other))
    a = string.ascii_lowercase[: ranks[0] - 1]
    b = string.ascii_uppercase[: ranks[1] - 1]
    return _contract_all(cx, [a + "z", b + "z"], [self, other], a + b)


@converter(aten.tensordot.default)
def tensordot(
    cx: Context,
    self: relax.Expr,
    other: relax.Expr,
    dims_self: Sequence[int],
    dims_other: Sequence[int],
) -> relax.Expr:
    ranks = len(extents(self)), len(extents(other))
    a = list(string.ascii_lowercase[: ranks[0]])
    b = list(string.ascii_uppercase[: ranks[1]])
    for i, j in zip(dims_self, dims_other, strict=True):
        b[j] = a[i]
    summed = {a[i] for i in dims_self}
    kept = "".join(label for label in a + b if label not in summed)
    return _contract_all(cx, ["".join(a), "".join(b)], [self, other], kept)


@converter(aten.einsum.default)
def einsum(
    cx: Context, equation: str, tensors: Sequence[relax.Expr], *, path: Sequence[int] | None
) -> relax.Expr:
    """Any equation of ``torch.einsum``: ellipses, repeated labels (diagonals), labels of extent
    1 that broadcast, an implicit result.

    Operands are contracted from left to right, each step as one batched matrix product on
    permuted operands, so that it gets the kernel that every other product has.
    """
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    hidden = [
        len(extents(x)) - len(t.replace("...", "")) for x, t in zip(tensors, terms, strict=True)
    ]
    unused = [c for c in string.ascii_letters if c not in equation]
    widest = max((h for h, t in zip(hidden, terms, strict=True) if "..." in t), default=0)
    ellipsis = "".join(unused[:widest])
    terms = [t.replace("...", ellipsis[widest - h :]) for h, t in zip(hidden, terms, strict=True)]
    if arrow:
        output = output.replace("...", ellipsis)
    else:
        joined = "".join(terms)
        once = (c for c in sorted(set(joined)) if joined.count(c) == 1 and c not in ellipsis)
        output = ellipsis + "".join(once)
    return _contract_all(cx, terms, list(tensors), output)


def _contract_all(
    cx: Context, terms: list[str], tensors: list[relax.Expr], output: str
) -> relax.Expr:
    """Sum the product of tensors with labelled axes over every label that isn't in ``output``."""
    axes: dict[str, Any] = {}
    operands: list[tuple[str, relax.Expr]] = []
    for term, tensor in zip(terms, tensors, strict=True):
        labels, x = _take_diagonals(cx, term, tensor)
        for label, extent in zip(labels, extents(x), strict=True):
            if is_one(axes.get(label, 1)):
                axes[label] = extent
        operands.append((labels, x))
    # An axis of extent 1 multiplies every value along that label: it isn't there at all.
    operands = [_drop_broadcast_axes(cx, labels, x, axes) for labels, x in operands]
    while len(operands) > 1:
        rest = "".join(labels for labels, _ in operands[2:]) + output
        operands[:2] = [_contract_pair(cx, *operands[0], *operands[1], rest)]
    labels, x = _sum_out(cx, *operands[0], output)
    missing = [i for i, label in enumerate(output) if label not in labels]
    x = _permute(cx, labels, x, "".join(c for c in output if c in labels))
    if missing:
        x = cx.emit(relax.op.expand_dims(x, missing))
    return cast(cx, x, cx.dtype)


def _take_diagonals(cx: Context, labels: str, x: relax.Expr) -> tuple[str, relax.Expr]:
    """Merge axes with the same label into the diagonal between them."""
    distinct = "".join(dict.fromkeys(labels))
    if distinct == labels:
        return labels, x

    def diagonal(data: te.Tensor) -> te.Tensor:
        sizes = [data.shape[labels.index(c)] for c in distinct]
        return te.compute(
            sizes, lambda *i: data(*(i[distinct.index(c)] for c in labels)), name="diagonal"
        )

    return distinct, cx.emit_te(diagonal, x, name="diagonal")


def _drop_broadcast_axes(
    cx: Context, labels: str, x: relax.Expr, axes: dict[str, Any]
) -> tuple[str, relax.Expr]:
    ones = [i for i, e in enumerate(extents(x)) if is_one(e) and not is_one(axes[labels[i]])]
    if not ones:
        return labels, x
    kept = "".join(c for i, c in enumerate(labels) if i not in ones)
    return kept, cx.emit(relax.op.squeeze(x, ones))


def _sum_out(cx: Context, labels: str, x: relax.Expr, keep: str) -> tuple[str, relax.Expr]:
    gone = [i for i, c in enumerate(labels) if c not in keep]
    if not gone:
        return labels, x
    wide = cast(cx, x, accumulator(dtype_of(x)))
    total = cx.emit(relax.op.sum(wide, axis=gone))
    return "".join(c for c in labels if c in keep), cast(cx, total, dtype_of(x))


def _permute(cx: Context, labels: str, x: relax.Expr, order: str) -> relax.Expr:
    if labels == order:
        return x
    return cx.emit(relax.op.permute_dims(x, [labels.index(c) for c in order]))


def _contract_pair(
    cx: Context, a_labels: str, a: relax.Expr, b_labels: str, b: relax.Expr, rest: str
) -> tuple[str, relax.Expr]:
    """Two operands into one, as ``[batch, m, k] @ [batch, k, n]``."""
    a_labels, a = _sum_out(cx, a_labels, a, b_labels + rest)
    b_labels, b = _sum_out(cx, b_labels, b, a_labels + rest)
    shared = [c for c in a_labels if c in b_labels]
    batch = "".join(c for c in shared if c in rest)
    k = "".join(c for c in shared if c not in rest)
    m = "".join(c for c in a_labels if c not in shared)
    n = "".join(c for c in b_labels if c not in shared)
    size = {
        **dict(zip(b_labels, extents(b), strict=True)),
        **dict(zip(a_labels, extents(a), strict=True)),
    }

    def sizes(labels: str) -> list[Any]:
        return [size[c] for c in labels]

    a = _permute(cx, a_labels, a, batch + m + k)
    b = _permute(cx, b_labels, b, batch + k + n)
    if not k:
        a = _reshape(cx, a, [*sizes(batch + m), *(1 for _ in n)])
        b = _reshape(cx, b, [*sizes(batch), *(1 for _ in m), *sizes(n)])
        return batch + m + n, cx.emit(relax.op.multiply(a, b))
    a = _reshape(cx, a, [*sizes(batch), product(sizes(m)), product(sizes(k))])
    b = _reshape(cx, b, [*sizes(batch), product(sizes(k)), product(sizes(n))])
    out = cast(cx, _matmul(cx, a, b), dtype_of(a))
    return batch + m + n, _reshape(cx, out, sizes(batch + m + n))


def _reshape(cx: Context, x: relax.Expr, shape: list[Any]) -> relax.Expr:
    return x if same_shape(extents(x), shape) else cx.emit(relax.op.reshape(x, shape))
