"""Order statistics, counts and searches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sam3_tvm.importer.decompositions import decomposition

aten = torch.ops.aten


def _kept(found: Tensor, dim: int, keepdim: bool) -> Tensor:
    return found if keepdim else found.squeeze(dim)


@decomposition(aten.kthvalue.default)
def kthvalue(self: Tensor, k: Any, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The ``k``-th smallest entry along an axis, counted from 1; NaN is the largest."""
    if self.ndim == 0:
        return self.clone(), torch.zeros_like(self, dtype=torch.int64)
    values, positions = torch.sort(self, dim=dim, stable=True)
    chosen = (part.narrow(dim, k - 1, 1) for part in (values, positions))
    value, position = (_kept(part, dim, keepdim) for part in chosen)
    return value, position


@decomposition(aten.nanmedian.dim)
def nanmedian(self: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The lower middle of the entries that are numbers; NaN where there is none."""
    if self.ndim == 0:
        return self.clone(), torch.zeros_like(self, dtype=torch.int64)
    values, positions = torch.sort(self, dim=dim, stable=True)
    numbers = torch.sum(~torch.isnan(self), dim, keepdim=True)
    middle = torch.div(numbers - 1, 2, rounding_mode="floor").clamp(min=0)
    chosen = (torch.gather(part, dim, middle) for part in (values, positions))
    value, position = (_kept(part, dim, keepdim) for part in chosen)
    return value, position


@decomposition(aten.nanmedian.default)
def nanmedian_of_all(self: Tensor) -> Tensor:
    return torch.nanmedian(self.reshape(-1), 0)[0]


@decomposition(aten.mode.default)
def mode(self: Tensor, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The most frequent entry along an axis, the smallest of several, at its last position."""
    if self.ndim == 0:
        return self.clone(), torch.zeros_like(self, dtype=torch.int64)
    last = self.movedim(dim, -1)
    values, positions = torch.sort(last, dim=-1, stable=True)
    place = torch.arange(last.shape[-1]).expand(values.shape)
    begins = torch.cat([torch.ones_like(values[..., :1], dtype=torch.bool), _changes(values)], -1)
    start = torch.cummax(torch.where(begins, place, 0), -1).values
    # The run that is the longest first ends at the place where this is largest.
    end = torch.argmax(place - start, -1, keepdim=True)
    chosen = (torch.gather(part, -1, end).movedim(-1, dim) for part in (values, positions))
    value, position = (_kept(part, dim, keepdim) for part in chosen)
    return value, position


def _changes(values: Tensor) -> Tensor:
    """Whether each entry but the first differs from the one before, along the last axis."""
    return values[..., 1:] != values[..., :-1]


@decomposition(aten._is_all_true.default)
def is_all_true(self: Tensor) -> Tensor:
    return self.all()


@decomposition(aten._is_any_true.default)
def is_any_true(self: Tensor) -> Tensor:
    return self.any()


@decomposition(aten.searchsorted.Scalar)
def searchsorted_scalar(
    sorted_sequence: Tensor,
    self: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    value = torch.full((), self, dtype=torch.result_type(sorted_sequence, self))
    return aten.searchsorted.Tensor(
        sorted_sequence, value, out_int32=out_int32, right=right, side=side, sorter=sorter
    )


@decomposition(aten.histc.default)
def histc(self: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many entries lie in each of ``bins`` equal parts of ``min..max`` (of the entries' own
    extent where the two are equal); the last part includes ``max``."""
    x = self.reshape(-1)
    low, high = torch.full((), min, dtype=x.dtype), torch.full((), max, dtype=x.dtype)
    if min == max:
        if x.numel():
            low, high = x.amin(), x.amax()
        flat = low == high
        low, high = torch.where(flat, low - 1, low), torch.where(flat, high + 1, high)
    inside = (x >= low) & (x <= high)
    steps = (torch.where(inside, x, low) - low) * bins
    place = torch.div(steps, high - low, rounding_mode="trunc").long().clamp(0, bins - 1)
    counts = torch.zeros(bins, dtype=torch.int64).scatter_add(0, place, inside.long())
    return counts.to(self.dtype)


@decomposition(aten._pdist_forward.default)
def pdist(self: Tensor, p: float = 2) -> Tensor:
    """The distances between rows ``i < j``, in the order of the pairs."""
    if not isinstance(self.shape[0], int):
        return NotImplemented  # type: ignore[no-any-return]  # the pairs depend on the size
    pairs = torch.triu_indices(self.shape[0], self.shape[0], 1)
    return torch.linalg.vector_norm(self[pairs[0]] - self[pairs[1]], p, -1)


@decomposition(aten.dist.default)
def dist(self: Tensor, other: Tensor, p: float = 2) -> Tensor:
    return torch.linalg.vector_norm(self - other, p)
