"""Views that address a tensor's memory: diagonals and ``as_strided``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tvm import relax

from sam3_tvm.importer.converters._tensors import extents
from sam3_tvm.importer.converters.indexing import count_of, iota, take
from sam3_tvm.importer.converters.shapes import axis_of, permute
from sam3_tvm.importer.errors import ConversionError
from sam3_tvm.importer.registry import Context, converter
from sam3_tvm.importer.sizes import static_value

aten = torch.ops.aten


def _positions(cx: Context, sizes: Sequence[Any], strides: Sequence[Any], start: Any) -> relax.Expr:
    """``start + sum(i * stride)`` for every index ``i`` of a grid of ``sizes``: int64."""
    rank = len(sizes)
    found = cx.tensor(start, "int64")
    for axis, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        steps = cx.emit(relax.op.multiply(iota(cx, size), cx.tensor(stride, "int64")))
        along = cx.reshape(steps, [size if i == axis else 1 for i in range(rank)])
        found = cx.emit(relax.op.add(found, along))
    return found


@converter(aten.diagonal.default)
def diagonal(
    cx: Context, self: relax.Expr, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> relax.Expr:
    """The entries ``[i, i + offset]`` of two axes, along a new last axis."""
    rank = self.ty.ndim
    if any(static_value(s) == 0 for s in cx.shape):
        return cx.emit(relax.op.zeros(cx.shape, cx.dtype))
    row, column = axis_of(dim1, rank), axis_of(dim2, rank)
    rest = [a for a in range(rank) if a not in (row, column)]
    shape = extents(self)
    flat = cx.reshape(
        permute(cx, self, [*rest, row, column]),
        [*(shape[a] for a in rest), shape[row] * shape[column]],
    )
    first = offset if offset >= 0 else -offset * shape[column]
    index = _positions(cx, cx.shape[-1:], [shape[column] + 1], first)
    return take(cx, flat, index, rank - 2)


@converter(aten.as_strided.default, aten.as_strided_copy.default)
def as_strided(
    cx: Context,
    self: relax.Expr,
    size: Sequence[Any],
    stride: Sequence[Any],
    storage_offset: Any = None,
) -> relax.Expr:
    """The entries at ``storage_offset + sum(i * stride)`` of the memory behind a tensor.

    Raises:
        ConversionError: a tensor whose memory holds more than its entries, as a slice's does.
    """
    if any(static_value(s) == 0 for s in cx.shape):
        return cx.emit(relax.op.zeros(cx.shape, cx.dtype))
    flat = _memory(cx, self)
    index = _positions(cx, cx.shape, stride, 0 if storage_offset is None else storage_offset)
    return take(cx, flat, index, 0)


def _memory(cx: Context, x: relax.Expr) -> relax.Expr:
    """The entries in the order in which PyTorch has them in memory, 1-d."""
    fake = cx.fake(0)
    order = sorted(range(fake.ndim), key=lambda a: (-fake.stride(a), a))
    dense, running = fake.storage_offset() == 0, 1
    for axis in reversed(order):
        dense = dense and (fake.shape[axis] == 1 or fake.stride(axis) == running)
        running = running * fake.shape[axis]
    if not dense:
        raise ConversionError(
            cx.node, "reads memory beyond its tensor's own entries; call contiguous() before"
        )
    return cx.reshape(permute(cx, x, order), (count_of(extents(x)),))
