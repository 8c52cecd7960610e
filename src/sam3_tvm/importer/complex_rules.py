"""What each operator on complex tensors is in real ones (see complex_numbers).

Shapes in the comments are those of the complex tensors; the pair has one axis more.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from sam3_tvm.importer.complex_numbers import REAL, Emitter, Pair, rule

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
    axes = [_axis(d, pair.rank) for d in dim] if dim else list(range(pair.rank))
    is_sum = e.source.target in (aten.sum.default, aten.sum.dim_IntList)
    reduction = aten.sum.dim_IntList if is_sum else aten.mean.dim
    return Pair(e.call(reduction, pair.node, axes, keepdim))


@rule(aten.cumsum.default)
def cumsum(e: Emitter, self: Any, dim: int, dtype: Any = None) -> Pair:
    pair = e.pair(self)
    if pair.rank == 0:
        return pair
    return Pair(e.call(aten.cumsum.default, pair.node, _axis(dim, pair.rank)))


# Shape: the same operator on the pair, with its axes counted from the front


def _axis(dim: Any, rank: int) -> Any:
    if isinstance(dim, list | tuple):
        return [_axis(d, rank) for d in dim]
    return None if dim is None else dim % max(rank, 1)


_AXES: dict[Any, tuple[str, ...]] = {
    aten.alias.default: (),
    aten.detach.default: (),
    aten.lift_fresh_copy.default: (),
    aten.clone.default: (),
    aten.index.Tensor: (),
    aten.index_select.default: ("dim",),
    aten.select.int: ("dim",),
    aten.slice.Tensor: ("dim",),
    aten.squeeze.default: (),
    aten.squeeze.dim: ("dim",),
    aten.squeeze.dims: ("dim",),
    aten.transpose.int: ("dim0", "dim1"),
    aten.flip.default: ("dims",),
    aten.unbind.int: ("dim",),
    aten.split.Tensor: ("dim",),
    aten.split_with_sizes.default: ("dim",),
}
"""Operators that take a pair as they take a complex tensor, and their arguments that are axes."""


@rule(*_AXES)
def along(e: Emitter, self: Pair, **arguments: Any) -> Any:
    target = e.source.target
    if self.rank == 0 and _AXES[target]:
        return self  # there is nothing along which a single number could be changed
    for name in _AXES[target]:
        arguments[name] = _axis(arguments[name], self.rank)
    # What is left out, being keyword-only, is clone's memory format: Relax has no strides.
    given = [arguments[a.name] for a in target._schema.arguments[1:] if not a.kwarg_only]
    node = e.call(target, self.node, *given)
    values = node.meta["val"]
    if isinstance(values, list | tuple):
        return [Pair(e.call(operator.getitem, node, i)) for i in range(len(values))]
    return Pair(node)


@rule(operator.getitem)
def getitem(e: Emitter, pairs: list[Pair], index: int) -> Pair:
    return pairs[index]


@rule(aten.view.default, aten._unsafe_view.default)
def reshape(e: Emitter, self: Pair, size: Sequence[Any]) -> Pair:
    # Not a view: the strides of the pair needn't allow what those of the original did.
    return Pair(e.call(aten.reshape.default, self.node, [*size, 2]))


@rule(aten.expand.default)
def expand(e: Emitter, self: Pair, size: Sequence[Any], implicit: bool = False) -> Pair:
    return Pair(e.call(aten.expand.default, self.node, [*size, 2]))


@rule(aten.repeat.default)
def repeat(e: Emitter, self: Pair, repeats: Sequence[Any]) -> Pair:
    return Pair(e.call(aten.repeat.default, self.node, [*repeats, 1]))


@rule(aten.tile.default)
def tile(e: Emitter, self: Pair, dims: Sequence[Any]) -> Pair:
    return Pair(e.call(aten.tile.default, self.node, [*dims, 1]))


@rule(aten.permute.default)
def permute(e: Emitter, self: Pair, dims: Sequence[int]) -> Pair:
    return Pair(e.call(aten.permute.default, self.node, [*_axis(dims, self.rank), self.rank]))


@rule(aten.t.default)
def t(e: Emitter, self: Pair) -> Pair:
    return self if self.rank < 2 else Pair(e.call(aten.transpose.int, self.node, 0, 1))


@rule(aten.unsqueeze.default)
def unsqueeze(e: Emitter, self: Pair, dim: int) -> Pair:
    return Pair(e.call(aten.unsqueeze.default, self.node, _axis(dim, self.rank + 1)))


@rule(aten.roll.default)
def roll(e: Emitter, self: Pair, shifts: Sequence[Any], dims: Sequence[int]) -> Pair:
    if self.rank == 0:
        return self
    if not dims:  # rolls the flattened tensor, in which each number takes two places
        return Pair(e.call(aten.roll.default, self.node, [2 * shifts[0]]))
    return Pair(e.call(aten.roll.default, self.node, shifts, _axis(dims, self.rank)))


@rule(aten.cat.default)
def cat(e: Emitter, tensors: Sequence[Any], dim: int = 0) -> Pair:
    pairs = [e.pair(t) for t in tensors]
    # An empty tensor of one axis may stand between tensors of any rank.
    rank = max(p.rank for p in pairs)
    pairs = [p for p in pairs if p.rank == rank]
    return Pair(e.call(aten.cat.default, [p.node for p in pairs], _axis(dim, rank)))


@rule(aten.constant_pad_nd.default)
def constant_pad(e: Emitter, self: Pair, pad: Sequence[Any], value: Any = 0) -> Pair:
    real, imag = (value.real, value.imag) if isinstance(value, complex) else (value, 0)
    parts = zip(e.parts(self), (real, imag), strict=True)
    return e.join(*(e.call(aten.constant_pad_nd.default, x, list(pad), v) for x, v in parts))


@rule(aten.stack.default)
def stack(e: Emitter, tensors: Sequence[Any], dim: int = 0) -> Pair:
    pairs = [e.pair(t) for t in tensors]
    axis = _axis(dim, pairs[0].rank + 1)
    return Pair(e.call(aten.stack.default, [p.node for p in pairs], axis))


@rule(aten.sym_size.int)
def size(e: Emitter, self: Pair, dim: int) -> fx.Node:
    return e.call(aten.sym_size.int, self.node, _axis(dim, self.rank))


@rule(aten._assert_tensor_metadata.default)
def assertion(e: Emitter, **_: Any) -> None:
    return None  # its dtype and strides are those of the complex tensor; torch checked them


# Creation


def _size_of(e: Emitter, self: Any, size: Any) -> Any:
    if size is not None:
        return size
    return e.shape(self.node)[:-1] if isinstance(self, Pair) else e.shape(self)


@rule(aten.zeros.default, aten.zeros_like.default, aten.new_zeros.default)
def zeros(e: Emitter, self: Any = None, size: Any = None, **_: Any) -> Pair:
    return e.full(_size_of(e, self, size), 0)


@rule(aten.ones.default, aten.ones_like.default, aten.new_ones.default)
def ones(e: Emitter, self: Any = None, size: Any = None, **_: Any) -> Pair:
    return e.full(_size_of(e, self, size), 1)


@rule(aten.full.default, aten.full_like.default, aten.new_full.default)
def full(e: Emitter, fill_value: Any, self: Any = None, size: Any = None, **_: Any) -> Pair:
    return e.full(_size_of(e, self, size), fill_value)


@rule(aten.scalar_tensor.default)
def scalar_tensor(e: Emitter, s: Any, **_: Any) -> Pair:
    return e.full([], s)
