"""What each operator on complex tensors is in real ones (see complex_numbers).

Shapes in the comments are those of the complex tensors; the pair has one axis more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from sam3_tvm.importer.complex_numbers import REAL, Emitter, Pair, rule
from sam3_tvm.importer.complex_shapes import axis_in_front

aten = torch.ops.aten


# Between real and complex


@rule(aten.view_as_complex.default)
def view_as_complex(e: Emitter, self: fx.Node) -> Pair:
    return Pair(self)


@rule(aten.view_as_real.default)
def view_as_real(e: Emitter, self: Pair) -> fx.Node:
    return self.node


@rule(aten.complex.default)
def complex_(e: Emitter, real: fx.Node, imag: fx.Node) -> Pair:
    return e.join(real, imag)


@rule(aten.polar.default)
def polar(e: Emitter, abs: fx.Node, angle: fx.Node) -> Pair:
    return e.join(
        e.call(aten.mul.Tensor, abs, e.call(aten.cos.default, angle)),
        e.call(aten.mul.Tensor, abs, e.call(aten.sin.default, angle)),
    )


def _reinterprets_parts(node: fx.Node) -> bool:
    """Whether a ``view(dtype)`` only goes between a complex dtype and that of its parts."""
    source: Any = node.args[0]
    before, after = source.meta["val"].dtype, node.meta["val"].dtype
    return bool(REAL.get(before) == after or REAL.get(after) == before)


@rule(aten.view.dtype, when=_reinterprets_parts)
def view_dtype(e: Emitter, self: Any, dtype: torch.dtype) -> Any:
    if isinstance(self, Pair):  # [..., n] -> real [..., 2n]
        return e.call(aten.reshape.default, self.node, [*e.shape(self.node)[:-2], -1])
    return Pair(e.call(aten.reshape.default, self, [*e.shape(self)[:-1], -1, 2]))


@rule(aten._to_copy.default, aten.type_as.default)
def convert(e: Emitter, self: Any, **_: Any) -> Any:
    dtype = e.source.meta["val"].dtype
    if dtype in REAL:
        return e.pair(self)
    real, imag = e.parts(self)
    if dtype == torch.bool:
        return e.call(
            aten.logical_or.default,
            e.call(aten.ne.Scalar, real, 0),
            e.call(aten.ne.Scalar, imag, 0),
        )
    return e.cast(real, dtype)  # the imaginary part is dropped, as in PyTorch


@rule(aten.abs.default)
def abs_(e: Emitter, self: Pair) -> fx.Node:
    # Dividing by the larger part first keeps the squares from overflowing.
    real, imag = e.parts(self)
    scale = _scale(e, real, imag)
    squares = [
        e.call(aten.mul.Tensor, part, part)
        for part in (
            e.call(aten.div.Tensor, real, scale),
            e.call(aten.div.Tensor, imag, scale),
        )
    ]
    length = e.call(aten.sqrt.default, e.call(aten.add.Tensor, *squares))
    return e.call(aten.mul.Tensor, length, scale)


def _scale(e: Emitter, real: fx.Node, imag: fx.Node) -> fx.Node:
    """The larger of two magnitudes, kept a normal number (neither 0 nor infinite)."""
    limits = torch.finfo(real.meta["val"].dtype)
    largest = e.call(
        aten.maximum.default, e.call(aten.abs.default, real), e.call(aten.abs.default, imag)
    )
    return e.call(aten.clamp.default, largest, limits.tiny, limits.max)


@rule(aten.angle.default)
def angle(e: Emitter, self: Pair) -> fx.Node:
    real, imag = e.parts(self)
    return e.call(aten.atan2.default, imag, real)


# Arithmetic


@rule(aten._conj.default, aten._conj_physical.default)
def conj(e: Emitter, self: Pair) -> Pair:
    real, imag = e.parts(self)
    return e.join(real, e.call(aten.neg.default, imag))


@rule(aten.neg.default)
def neg(e: Emitter, self: Pair) -> Pair:
    return Pair(e.call(aten.neg.default, self.node))


@rule(aten._neg_view.default)
def neg_view(e: Emitter, self: fx.Node) -> fx.Node:
    return e.call(aten.neg.default, self)  # torch's lazy way to the imaginary part of a conjugate


@rule(aten.add.Tensor, aten.add.Scalar)
def add(e: Emitter, self: Any, other: Any, alpha: Any = 1) -> Pair:
    scaled = other if alpha == 1 else mul(e, other, alpha)
    return Pair(e.call(aten.add.Tensor, e.pair(self).node, e.pair(scaled).node))


@rule(aten.sub.Tensor, aten.sub.Scalar)
def sub(e: Emitter, self: Any, other: Any, alpha: Any = 1) -> Pair:
    scaled = other if alpha == 1 else mul(e, other, alpha)
    return Pair(e.call(aten.sub.Tensor, e.pair(self).node, e.pair(scaled).node))


@rule(aten.rsub.Scalar, aten.rsub.Tensor)
def rsub(e: Emitter, self: Any, other: Any, alpha: Any = 1) -> Pair:
    return sub(e, other, self, alpha)


@rule(aten.mul.Tensor, aten.mul.Scalar)
def mul(e: Emitter, self: Any, other: Any) -> Any:
    """(a + bi)(c + di) = (ac - bd) + (ad + bc)i."""
    (a, b), (c, d) = e.parts(self), e.parts(other)
    if not isinstance(a, fx.Node):
        (a, b), (c, d) = (c, d), (a, b)
    if not isinstance(a, fx.Node):
        return self * other  # numbers: a scaled scalar
    times = aten.mul.Tensor
    if b is None and d is None:
        return e.call(times, a, c)
    if b is None and isinstance(c, fx.Node):
        (a, b), (c, d) = (c, d), (a, b)
    if d is None:
        return e.join(e.call(times, a, c), e.call(times, b, c))
    if b is None:  # a real tensor times a complex number
        return e.join(e.call(times, a, c), e.call(times, a, d))
    return e.join(
        e.call(aten.sub.Tensor, e.call(times, a, c), e.call(times, b, d)),
        e.call(aten.add.Tensor, e.call(times, a, d), e.call(times, b, c)),
    )


@rule(aten.div.Tensor, aten.div.Scalar)
def div(e: Emitter, self: Any, other: Any) -> Pair:
    """(a + bi)/(c + di) = ((ac + bd) + (bc - ad)i) / (c² + d²).

    c and d are scaled by the larger of them first, so that the squares neither overflow
    nor vanish.
    """
    a, b = e.parts(e.pair(self))
    c, d = e.parts(e.pair(other) if isinstance(other, complex) else other)
    over, times = aten.div.Tensor, aten.mul.Tensor
    if d is None:
        return e.join(e.call(over, a, c), e.call(over, b, c))
    scale = _scale(e, c, d)
    c, d = e.call(over, c, scale), e.call(over, d, scale)
    below = e.call(aten.add.Tensor, e.call(times, c, c), e.call(times, d, d))
    real = e.call(aten.add.Tensor, e.call(times, a, c), e.call(times, b, d))
    imag = e.call(aten.sub.Tensor, e.call(times, b, c), e.call(times, a, d))
    return e.join(
        e.call(over, e.call(over, real, below), scale),
        e.call(over, e.call(over, imag, below), scale),
    )


@rule(aten.reciprocal.default)
def reciprocal(e: Emitter, self: Pair) -> Pair:
    return div(e, 1.0, self)


@rule(aten.exp.default)
def exp(e: Emitter, self: Pair) -> Pair:
    real, imag = e.parts(self)
    return polar(e, e.call(aten.exp.default, real), imag)


@rule(aten.eq.Tensor, aten.eq.Scalar)
def eq(e: Emitter, self: Any, other: Any) -> fx.Node:
    return _compare(e, aten.eq, aten.logical_and.default, self, other)


@rule(aten.ne.Tensor, aten.ne.Scalar)
def ne(e: Emitter, self: Any, other: Any) -> fx.Node:
    return _compare(e, aten.ne, aten.logical_or.default, self, other)


def _compare(e: Emitter, test: Any, both: Any, self: Any, other: Any) -> fx.Node:
    (a, b), (c, d) = e.parts(self), e.parts(other)
    if b is None:
        (a, b), (c, d) = (c, d), (a, b)
    d = 0.0 if d is None else d
    real, imag = (
        e.call(test.Tensor if isinstance(y, fx.Node) else test.Scalar, x, y)
        for x, y in ((a, c), (b, d))
    )
    return e.call(both, real, imag)


@rule(aten.matmul.default, aten.mm.default, aten.bmm.default, aten.linear.default)
def product(e: Emitter, bias: Any = None, **operands: Any) -> Pair:
    """A bilinear operator of two complex tensors, by parts as a product of two numbers."""
    (a, b), (c, d) = map(e.parts, operands.values())
    times = e.source.target
    result = e.join(
        e.call(aten.sub.Tensor, e.call(times, a, c), e.call(times, b, d)),
        e.call(aten.add.Tensor, e.call(times, a, d), e.call(times, b, c)),
    )
    return result if bias is None else add(e, result, bias)


@rule(aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf, aten.where.Scalar)
def where(e: Emitter, condition: fx.Node, self: Any, other: Any) -> Pair:
    return Pair(
        e.call(
            aten.where.self,
            e.call(aten.unsqueeze.default, condition, condition.meta["val"].ndim),
            e.pair(self).node,
            e.pair(other).node,
        )
    )


@rule(aten.masked_fill.Scalar, aten.masked_fill.Tensor)
def masked_fill(e: Emitter, self: Pair, mask: fx.Node, value: Any) -> Pair:
    return where(e, mask, value, self)


# Reductions


@rule(aten.sum.default, aten.mean.default)
def reduce_all(e: Emitter, self: Any, dtype: Any = None) -> Pair:
    return _reduce(e, self, None, False)


@rule(aten.sum.dim_IntList, aten.mean.dim)
def reduce_dims(e: Emitter, self: Any, dim: Any, keepdim: bool = False, dtype: Any = None) -> Pair:
    return _reduce(e, self, dim, keepdim)


def _reduce(e: Emitter, self: Any, dim: Sequence[int] | None, keepdim: bool) -> Pair:
    pair = e.pair(self)
    if pair.rank == 0:
        return pair
    axes = [axis_in_front(d, pair.rank) for d in dim] if dim else list(range(pair.rank))
    is_sum = e.source.target in (aten.sum.default, aten.sum.dim_IntList)
    reduction = aten.sum.dim_IntList if is_sum else aten.mean.dim
    return Pair(e.call(reduction, pair.node, axes, keepdim))


@rule(aten.cumsum.default)
def cumsum(e: Emitter, self: Any, dim: int, dtype: Any = None) -> Pair:
    pair = e.pair(self)
    if pair.rank == 0:
        return pair
    return Pair(e.call(aten.cumsum.default, pair.node, axis_in_front(dim, pair.rank)))
