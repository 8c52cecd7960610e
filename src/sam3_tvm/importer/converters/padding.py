"""Constant padding; torch decomposes the other modes into reads by position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tvm import relax, te, tirx

from sam3_tvm.importer.converters._tensors import dtype_of, extents
from sam3_tvm.importer.converters.arithmetic import is_float
from sam3_tvm.importer.converters.resampling import as_int64
from sam3_tvm.importer.converters.shapes import broadcast
from sam3_tvm.importer.registry import Context, converter
from sam3_tvm.importer.sizes import static_value

aten = torch.ops.aten


@converter(aten.constant_pad_nd.default)
def constant_pad(cx: Context, self: relax.Expr, pad: Sequence[Any], value: float = 0) -> relax.Expr:
    """``pad`` counts what to put before and after each axis, from the last axis on; a negative
    count cuts off. Numbers may be symbolic sizes."""
    rank, dtype = self.ty.ndim, dtype_of(self)
    pairs = list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    pairs = [(0, 0)] * (rank - len(pairs)) + pairs
    if any(static_value(s) == 0 for s in extents(self)):
        return broadcast(cx, cx.tensor(value, dtype), cx.shape)
    if is_float(dtype) and all(isinstance(n, int) and n >= 0 for pair in pairs for n in pair):
        widths = [n for pair in pairs for n in pair]
        return cx.emit(relax.op.nn.pad(self, widths, "constant", float(value)))
    # What a bool or an integer tensor is filled with, by PyTorch's conversion.
    number = torch.tensor(value).to(cx.result.dtype).item()

    def padded(data: te.Tensor, *sizes: Any) -> te.Tensor:
        outs, before = sizes[:rank], sizes[rank:]

        def entry(*at: Any) -> Any:
            source = [i - first for i, first in zip(at, before, strict=True)]
            inside = [
                tirx.all(i >= 0, i < as_int64(extent))
                for i, extent in zip(source, data.shape, strict=True)
            ]
            return tirx.if_then_else(tirx.all(*inside), data(*source), tirx.const(number, dtype))

        return te.compute(outs, entry, name="constant_pad")

    sizes = [*cx.shape, *(first for first, _ in pairs)]
    return cx.emit_te(padded, self, *map(as_int64, sizes), name="constant_pad")
