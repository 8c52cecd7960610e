"""Running extremes and the running log of a sum, entry by entry along an axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from tvm import relax, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from sam3_tvm.importer.converters._tensors import accumulator, dtype_of, extents, product
from sam3_tvm.importer.converters.arithmetic import is_float
from sam3_tvm.importer.converters.shapes import axis_of
from sam3_tvm.importer.registry import Context, converter
from sam3_tvm.importer.sizes import static_value

aten = torch.ops.aten


def _lanes(x: relax.Expr, axis: int) -> list[Any]:
    """The shape as [before, along, after] the axis."""
    shape = extents(x)
    return [product(shape[:axis]), shape[axis], product(shape[axis + 1 :])]


def _is_empty(x: relax.Expr) -> bool:
    return any(static_value(s) == 0 for s in extents(x))


def _running_extreme(least: bool) -> Callable[..., list[relax.Expr]]:
    def convert(cx: Context, self: relax.Expr, dim: int) -> list[relax.Expr]:
        """The extreme so far and its last position; NaN from the first NaN on."""
        shape, dtype = cx.shape_of(cx.result[0]), dtype_of(self)
        if self.ty.ndim == 0 or _is_empty(self):
            return [self, cx.emit(relax.op.zeros(shape, "int64"))]
        work = "uint8" if dtype == "bool" else accumulator(dtype)
        lanes = _lanes(self, axis_of(dim, self.ty.ndim))
        x = cx.reshape(cx.cast(self, work), lanes)
        found = cx.emit_te(_extremes(least), x, name="running_extreme")
        values, positions = (cx.emit(relax.TupleGetItem(found, i)) for i in range(2))
        return [cx.cast(cx.reshape(values, shape), dtype), cx.reshape(positions, shape)]

    return convert


def _extremes(least: bool) -> Callable[[te.Tensor], Any]:
    def scan(data: te.Tensor) -> Any:
        before, along, after = data.shape
        nan = is_float(str(data.dtype))

        def body(ins: Any, outs: Any) -> Any:
            with IRBuilder() as builder:
                x, values, positions = map(T.buffer_proxy, (ins[0], *outs))
                with T.parallel(0, before * after) as lane:
                    i, j = tirx.floordiv(lane, after), tirx.floormod(lane, after)
                    values[i, 0, j] = x[i, 0, j]
                    positions[i, 0, j] = tirx.const(0, "int64")
                    with T.serial(0, along - 1) as step:
                        k = step + 1
                        new, old = x[i, k, j], values[i, k - 1, j]
                        better = new <= old if least else new >= old
                        if nan:
                            better = tirx.Or(tirx.isnan(new), better)
                        values[i, k, j] = tirx.Select(better, new, old)
                        positions[i, k, j] = tirx.Select(
                            better, tirx.Cast("int64", k), positions[i, k - 1, j]
                        )
                return builder.get()

        return te.extern(
            [data.shape, data.shape], [data], body, name="extreme", dtype=[str(data.dtype), "int64"]
        )

    return scan


converter(aten.cummax.default)(_running_extreme(least=False))
converter(aten.cummin.default)(_running_extreme(least=True))


def _log_of_sums(data: te.Tensor) -> te.Tensor:
    """``log(exp(a) + exp(b))`` as ``max + log(1 + exp(min - max))``, equal infinities aside."""
    before, along, after = data.shape

    def body(ins: Any, outs: Any) -> Any:
        with IRBuilder() as builder:
            x, out = map(T.buffer_proxy, (ins[0], outs[0]))
            with T.parallel(0, before * after) as lane:
                i, j = tirx.floordiv(lane, after), tirx.floormod(lane, after)
                out[i, 0, j] = x[i, 0, j]
                with T.serial(0, along - 1) as step:
                    new, old = x[i, step + 1, j], out[i, step, j]
                    infinite = tirx.const(math.inf, data.dtype)
                    high = tirx.Select(new > old, new, old)
                    low = tirx.Select(new > old, old, new)
                    one = tirx.const(1.0, data.dtype)
                    total = high + tirx.log(one + tirx.exp(low - high))
                    settled = tirx.Or(high == infinite, high == -infinite)
                    total = tirx.Select(settled, high, total)
                    either = tirx.Or(tirx.isnan(new), tirx.isnan(old))
                    out[i, step + 1, j] = tirx.Select(either, new + old, total)
            return builder.get()

    return te.extern([data.shape], [data], body, name="log_of_sums", dtype=[str(data.dtype)])


@converter(aten.logcumsumexp.default)
def logcumsumexp(cx: Context, self: relax.Expr, dim: int) -> relax.Expr:
    """The running log of a sum of exponentials, in float64."""
    if self.ty.ndim == 0 or _is_empty(self):
        return self
    x = cx.reshape(cx.cast(self, "float64"), _lanes(self, axis_of(dim, self.ty.ndim)))
    found = cx.emit_te(_log_of_sums, x, name="log_of_sums")
    return cx.cast(cx.reshape(found, cx.shape), cx.dtype)
