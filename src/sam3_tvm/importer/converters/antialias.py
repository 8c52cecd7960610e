"""Interpolation with ``antialias=True``: the filter widens with the step when shrinking.

Each axis gets a table of weights, one row of few taps per output position, so an axis is
a product with a banded matrix: first the rows, then the columns, as in PyTorch and Pillow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tvm import relax, te, tirx

from sam3_tvm.importer.converters.resampling import (
    CUBIC_ANTIALIAS,
    Axis,
    as_int64,
    interpolate_axes,
    refuse_integers,
    table,
)
from sam3_tvm.importer.registry import Context, converter

aten = torch.ops.aten

Filter = Callable[[Any, Callable[[float], Any]], Any]
"""The weight at a distance from the centre, in output pixels; 0 beyond its support."""


def triangle(x: Any, const: Callable[[float], Any]) -> Any:
    return tirx.max(const(1.0) - tirx.abs(x), const(0.0))


def keys_cubic(x: Any, const: Callable[[float], Any]) -> Any:
    """Keys' cubic convolution kernel, of support 2."""
    a, x = CUBIC_ANTIALIAS, tirx.abs(x)
    near = (const(a + 2) * x - const(a + 3)) * x * x + const(1.0)
    far = (((x - const(5.0)) * x + const(8.0)) * x - const(4.0)) * const(a)
    beyond = tirx.Select(x < const(2.0), far, const(0.0))
    return tirx.Select(x < const(1.0), near, beyond)


class Band:
    """The weights of one axis.

    Attributes:
        taps: the most taps that an output position has; symbolic if the step is.
        first: source index of each position's first tap, int64 ``[out]``.
        weights: ``[out, taps]``, each row summing to 1, zero beyond the last tap.
    """

    def __init__(self, axis: Axis, name: str, weight: Filter, radius: int) -> None:
        self.axis = axis
        half = axis.const(0.5)
        one = axis.const(1.0)
        wide = tirx.max(axis.step, one)
        support = wide * axis.const(float(radius))
        self.taps = self._most_taps(radius)

        def centre(i: Any) -> Any:
            return axis.step * (tirx.Cast(axis.dtype, i) + half)

        def bound(position: Any) -> Any:
            return tirx.Cast("int64", position + half)

        self.first = table(
            axis, f"{name}_first", lambda i: tirx.max(bound(centre(i) - support), as_int64(0))
        )
        past = table(
            axis,
            f"{name}_past",
            lambda i: tirx.min(bound(centre(i) + support), as_int64(axis.size)),
        )

        def raw(i: Any, tap: Any) -> Any:
            at = tirx.Cast(axis.dtype, self.first[i] + tap)
            distance = (at - centre(i) + half) * (one / wide)
            inside = self.first[i] + tap < past[i]
            return tirx.Select(inside, weight(distance, axis.const), axis.const(0.0))

        unscaled = te.compute((axis.out, self.taps), raw, name=f"{name}_unscaled")
        k = te.reduce_axis((0, self.taps), name="k")
        total = te.compute((axis.out,), lambda i: te.sum(unscaled[i, k], axis=k), f"{name}_total")
        self.weights = te.compute(
            (axis.out, self.taps), lambda i, t: unscaled[i, t] / total[i], name=f"{name}_weights"
        )

    def _most_taps(self, radius: int) -> Any:
        """``2 ceil(support) + 1``, in integers where the step is a ratio of sizes."""
        axis = self.axis
        if isinstance(axis.step, tirx.FloatImm):
            return 2 * int(-(-max(float(axis.step.value), 1.0) * radius // 1)) + 1
        one = 1 if axis.align_corners else 0
        size, out = as_int64(axis.size) - one, tirx.max(as_int64(axis.out) - one, as_int64(1))
        return as_int64(2 * radius) * tirx.max(tirx.floordiv(size + out - 1, out), as_int64(1)) + 1

    def source(self, i: Any, tap: Any) -> Any:
        """The source index of a tap, kept inside for the taps of weight 0."""
        return tirx.min(self.first[i] + tap, as_int64(self.axis.size) - 1)


def _resample(cx: Context, name: str, weight: Filter, radius: int, arguments: Any) -> relax.Expr:
    refuse_integers(cx, next(iter(arguments.values())))

    def build(data: te.Tensor, axes: list[Axis], name: str) -> te.Tensor:
        height, width = axes
        rows, columns = Band(height, "h", weight, radius), Band(width, "w", weight, radius)
        kw = te.reduce_axis((0, columns.taps), name="kw")
        across = te.compute(
            (*data.shape[:3], width.out),
            lambda n, c, y, x: te.sum(
                data[n, c, y, columns.source(x, kw)].astype(width.dtype) * columns.weights[x, kw],
                axis=kw,
            ),
            name=f"{name}_rows",
        )
        kh = te.reduce_axis((0, rows.taps), name="kh")
        down = te.compute(
            (*data.shape[:2], height.out, width.out),
            lambda n, c, y, x: te.sum(
                across[n, c, rows.source(y, kh), x] * rows.weights[y, kh], axis=kh
            ),
            name=name,
        )
        if data.dtype == height.dtype:
            return down
        return te.compute(down.shape, lambda *i: down(*i).astype(data.dtype), f"{name}_rounded")

    return interpolate_axes(cx, name, arguments, build)


@converter(aten._upsample_bilinear2d_aa.default, aten._upsample_bilinear2d_aa.vec)
def upsample_bilinear_antialias(cx: Context, **arguments: Any) -> relax.Expr:
    """``mode="bilinear", antialias=True``.

    Raises:
        NotImplementedError: an integer tensor.
    """
    return _resample(cx, "bilinear2d_antialias", triangle, 1, arguments)


@converter(aten._upsample_bicubic2d_aa.default, aten._upsample_bicubic2d_aa.vec)
def upsample_bicubic_antialias(cx: Context, **arguments: Any) -> relax.Expr:
    """``mode="bicubic", antialias=True``.

    Raises:
        NotImplementedError: an integer tensor.
    """
    return _resample(cx, "bicubic2d_antialias", keys_cubic, 2, arguments)
