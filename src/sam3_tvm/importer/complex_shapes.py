"""Operators on complex tensors that move, repeat or make numbers (see complex_numbers).

Most are the same operator on the pair, with its axes counted from the front: the pair has one more
axis, the last.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from sam3_tvm.importer.complex_numbers import Emitter, Pair, rule

__all__ = ["axis_in_front"]

aten = torch.ops.aten


def axis_in_front(dim: Any, rank: int) -> Any:
    """An axis, or several, of a tensor of ``rank`` axes, counted from the front."""
    if isinstance(dim, list | tuple):
        return [axis_in_front(d, rank) for d in dim]
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
        arguments[name] = axis_in_front(arguments[name], self.rank)
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
    return Pair(
        e.call(aten.permute.default, self.node, [*axis_in_front(dims, self.rank), self.rank])
    )


@rule(aten.t.default)
def t(e: Emitter, self: Pair) -> Pair:
    return self if self.rank < 2 else Pair(e.call(aten.transpose.int, self.node, 0, 1))


@rule(aten.unsqueeze.default)
def unsqueeze(e: Emitter, self: Pair, dim: int) -> Pair:
    return Pair(e.call(aten.unsqueeze.default, self.node, axis_in_front(dim, self.rank + 1)))


@rule(aten.roll.default)
def roll(e: Emitter, self: Pair, shifts: Sequence[Any], dims: Sequence[int]) -> Pair:
    if self.rank == 0:
        return self
    if not dims:  # rolls the flattened tensor, in which each number takes two places
        return Pair(e.call(aten.roll.default, self.node, [2 * shifts[0]]))
    return Pair(e.call(aten.roll.default, self.node, shifts, axis_in_front(dims, self.rank)))


@rule(aten.cat.default)
def cat(e: Emitter, tensors: Sequence[Any], dim: int = 0) -> Pair:
    pairs = [e.pair(t) for t in tensors]
    # An empty tensor of one axis may stand between tensors of any rank.
    rank = max(p.rank for p in pairs)
    pairs = [p for p in pairs if p.rank == rank]
    return Pair(e.call(aten.cat.default, [p.node for p in pairs], axis_in_front(dim, rank)))


@rule(aten.constant_pad_nd.default)
def constant_pad(e: Emitter, self: Pair, pad: Sequence[Any], value: Any = 0) -> Pair:
    real, imag = (value.real, value.imag) if isinstance(value, complex) else (value, 0)
    parts = zip(e.parts(self), (real, imag), strict=True)
    return e.join(*(e.call(aten.constant_pad_nd.default, x, list(pad), v) for x, v in parts))


@rule(aten.stack.default)
def stack(e: Emitter, tensors: Sequence[Any], dim: int = 0) -> Pair:
    pairs = [e.pair(t) for t in tensors]
    axis = axis_in_front(dim, pairs[0].rank + 1)
    return Pair(e.call(aten.stack.default, [p.node for p in pairs], axis))


@rule(aten.sym_size.int)
def size(e: Emitter, self: Pair, dim: int) -> fx.Node:
    return e.call(aten.sym_size.int, self.node, axis_in_front(dim, self.rank))


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
