"""Windows, writes by position, and operators that copy what others view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sam3_tvm.importer.decompositions import decomposition

aten = torch.ops.aten


@decomposition(aten.unfold.default, aten.unfold_copy.default)
def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of ``size`` entries every ``step`` along an axis, as a new last axis."""
    if self.ndim == 0:
        return self.expand(size).clone()
    axis = dimension % self.ndim
    count = (self.shape[axis] - size) // step + 1
    index = torch.arange(count).unsqueeze(1) * step + torch.arange(size)
    taken = torch.index_select(self, axis, index.reshape(-1))
    return taken.unflatten(axis, (count, size)).movedim(axis + 1, -1)


@decomposition(aten.diagonal_scatter.default)
def diagonal_scatter(
    self: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    """A copy with ``src`` on a diagonal of two axes."""
    moved = self.movedim((dim1, dim2), (0, 1))
    place = torch.arange(src.shape[-1])
    index = [place + max(-offset, 0), place + max(offset, 0)]
    written = aten.index_put(moved, index, src.movedim(-1, 0))
    return written.movedim((0, 1), (dim1, dim2))


@decomposition(aten.as_strided_scatter.default)
def as_strided_scatter(
    self: Tensor,
    src: Tensor,
    size: Sequence[Any],
    stride: Sequence[Any],
    storage_offset: Any = None,
) -> Tensor:
    """A copy of a contiguous tensor with ``src`` at ``storage_offset + sum(i * stride)``."""
    if not self.is_contiguous():
        return NotImplemented  # type: ignore[no-any-return]  # its memory isn't its entries
    index = torch.full((), storage_offset or 0, dtype=torch.int64)
    for extent, step in zip(size, stride, strict=True):
        index = index.unsqueeze(-1) + torch.arange(extent) * step
    flat = aten.index_put(self.reshape(-1), [index.reshape(-1)], src.reshape(-1))
    return flat.reshape(self.shape)


@decomposition(aten.put.default)
def put(self: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with ``source`` at flat positions."""
    flat = self.reshape(-1)
    written = aten.index_put(flat, [index.reshape(-1)], source.reshape(-1), accumulate)
    return written.reshape(self.shape)


@decomposition(aten.index_reduce.default)
def index_reduce(
    self: Tensor,
    dim: int,
    index: Tensor,
    source: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """Slices of ``source`` reduced into those of ``self`` that an index along one axis names."""
    if self.ndim == 0:
        found = index_reduce(
            self.reshape(1),
            0,
            index.reshape(1),
            source.reshape(1),
            reduce,
            include_self=include_self,
        )
        return found.reshape(())
    axis = dim % self.ndim
    shape = [-1 if i == axis else 1 for i in range(self.ndim)]
    spread = index.long().reshape(shape).expand(source.shape)
    return torch.scatter_reduce(self, axis, spread, source, reduce, include_self=include_self)


@decomposition(aten.view_copy.default)
def view_copy(self: Tensor, size: Sequence[Any]) -> Tensor:
    return self.reshape(list(size))


@decomposition(aten.unbind_copy.int)
def unbind_copy(self: Tensor, dim: int = 0) -> list[Tensor]:
    return [part.clone() for part in torch.unbind(self, dim)]


_SUM, _MEAN, _MAX = range(3)


@decomposition(aten._embedding_bag.default, aten._embedding_bag_forward_only.default)
def embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = _SUM,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The sum, mean or largest of the rows that each bag of indices names.

    Bag ``b`` begins at ``offsets[b]``. ``padding_idx`` is left out; an empty bag gives zeros.
    Of the further results, which are for the gradient, the sizes of the bags are right.
    """
    starts = offsets[:-1] if include_last_offset else offsets
    place = torch.arange(indices.shape[0], dtype=starts.dtype)
    bag = torch.searchsorted(starts.contiguous(), place, right=True) - 1
    rows = torch.index_select(weight, 0, indices)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(1)
    kept = indices != (padding_idx % weight.shape[0] if padding_idx >= 0 else -1)
    bags, width = starts.shape[0], weight.shape[1]
    sizes = starts.new_zeros(bags, dtype=torch.int64).scatter_add(0, bag, kept.long())
    to = bag.unsqueeze(1).expand(rows.shape)
    if mode == _MAX:
        # What is left out goes to a slot that is cut off.
        to = torch.where(kept.unsqueeze(1), to, bags)
        base = rows.new_zeros((bags + 1, width))
        found = base.scatter_reduce(0, to, rows, "amax", include_self=False)[:-1]
    else:
        base = rows.new_zeros((bags, width))
        found = base.scatter_add(0, to, torch.where(kept.unsqueeze(1), rows, 0))
        if mode == _MEAN:
            found = found / sizes.clamp(min=1).unsqueeze(1)
    found = found.to(weight.dtype)
    return found, bag.to(indices.dtype), sizes.to(indices.dtype), sizes.to(indices.dtype)
