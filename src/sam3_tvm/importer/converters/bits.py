"""Tensors read as another dtype of the same width."""

from __future__ import annotations

from typing import Any

import torch
from tvm import relax, te, tirx

from sam3_tvm.importer.errors import ConversionError
from sam3_tvm.importer.registry import Context, converter

aten = torch.ops.aten


@converter(aten.view.dtype)
def view_dtype(cx: Context, self: relax.Expr, dtype: Any) -> relax.Expr:
    """The same bits as another dtype.

    Raises:
        ConversionError: dtypes of different widths, and bool, which TVM holds otherwise.
    """
    before = cx.fake(0).dtype
    if before == dtype:
        return self
    if before.itemsize != dtype.itemsize or torch.bool in (before, dtype):
        raise ConversionError(cx.node, f"reads {before} as {dtype}: their widths must be equal")
    target = cx.dtype

    def reinterpret(data: te.Tensor) -> te.Tensor:
        def entry(*at: Any) -> Any:
            return tirx.reinterpret(target, data(*at))

        return te.compute(data.shape, entry, name="reinterpret")

    return cx.emit_te(reinterpret, self, name="reinterpret")
