"""Tensors of Meta's made into transformers', and back, as :class:`~.keys.Change` says."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sam3_tvm.sources.base import SourceError
from sam3_tvm.sources.meta.keys import Change, Entry

__all__ = ["meta_tensors", "transformers_tensors"]


def transformers_tensors(entry: Entry, tensors: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """transformers' tensors by their names; views of Meta's where they can be.

    Args:
        entry: the names on both sides.
        tensors: Meta's, in the order of ``entry.meta``.

    Raises:
        SourceError: tensors that can't be what the names say.
    """
    first, change = tensors[0], entry.change
    parts: tuple[torch.Tensor, ...] = (first,)
    if change is Change.THREE:
        if first.shape[0] % 3:
            raise SourceError(
                f"{entry.meta[0]} has {first.shape[0]} rows, not as many for query, key and value"
            )
        parts = first.chunk(3)
    elif change is Change.TRANSPOSED:
        parts = (first.t().contiguous(),)
    elif change is Change.WITHOUT_CLASS:
        parts = (first[:, 1:],)
    elif change is Change.TWICE:
        # Of its own: safetensors refuses two names for one memory.
        parts = (first, first.clone())
    elif change is Change.ROWS:
        if any(tensor.shape != (1, *first.shape[1:]) for tensor in tensors):
            raise SourceError(f"{entry.meta[0]} and its like aren't one row each, of one width")
        parts = (torch.cat(list(tensors)),)
    return dict(zip(entry.transformers, parts, strict=True))


def meta_tensors(entry: Entry, parts: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inverse of :func:`transformers_tensors`: Meta's tensors by their names, copies.

    Args:
        entry: the names on both sides.
        parts: transformers', in the order of ``entry.transformers``.

    Raises:
        SourceError: two tensors that are one in Meta's format differ.
    """
    first, change = parts[0], entry.change
    tensors: list[torch.Tensor]
    if change is Change.THREE:
        tensors = [torch.cat(list(parts))]
    elif change is Change.TRANSPOSED:
        tensors = [first.t().contiguous()]
    elif change is Change.WITHOUT_CLASS:
        tensors = [torch.cat([torch.zeros_like(first[:, :1]), first], dim=1)]
    elif change is Change.ROWS:
        tensors = [row.clone() for row in first.split(1)]
    elif change is Change.TWICE and not torch.equal(*parts):
        raise SourceError(
            f"{' and '.join(entry.transformers)} differ, and are one tensor in Meta's format"
        )
    else:
        # Of its own: torch.save writes the whole storage that a tensor is a part of.
        tensors = [first.clone()]
    return dict(zip(entry.meta, tensors, strict=True))
