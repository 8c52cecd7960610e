"""grid_sample and affine_grid, as PyTorch defines them.

``relax.image.grid_sample`` takes the grid as ``[N, 2, H, W]``, where PyTorch has
``[N, H, W, 2]``; transposed so, its lowering still gives other numbers for reflected points
far outside and NaN for bicubic ones. So a call becomes one tensor expression,
``grid_sample_bilinear_zeros``, after the rules of ATen's ``native/GridSampler.h``. All
loads are of clamped indices and padding is a selection, so that it can be vectorised.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import product
from operator import mul
from typing import Any

import torch
from tvm import relax, te, tirx

from sam3_tvm.importer.converters._tensors import accumulator, dtype_of
from sam3_tvm.importer.converters.resampling import CUBIC, as_int64, cubic_weights
from sam3_tvm.importer.registry import Context, converter

aten = torch.ops.aten

MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")
TAPS = {"nearest": 1, "bilinear": 2, "bicubic": 4}
"""Source pixels per axis."""


class Sampler:
    """The coordinate rules of one axis.

    Args:
        size: extent of the sampled axis.
        padding: what lies outside, one of ``PADDINGS``.
        align_corners: whether -1 and 1 are the centres of the outermost pixels, or their
            outer edges.
        dtype: the float dtype of coordinates.
    """

    def __init__(self, size: Any, padding: str, align_corners: bool, dtype: str) -> None:
        self.size, self.padding, self.align_corners = size, padding, align_corners
        self.dtype = dtype
        self.extent = tirx.Cast(dtype, size)

    def const(self, value: float) -> Any:
        return tirx.const(value, self.dtype)

    def pixels(self, x: Any) -> Any:
        """From [-1, 1] to pixels."""
        if self.align_corners:
            return (x + self.const(1)) / self.const(2) * (self.extent - self.const(1))
        return ((x + self.const(1)) * self.extent - self.const(1)) / self.const(2)

    def padded(self, x: Any) -> Any:
        """A coordinate in pixels moved inside as the padding says; zeros leaves it."""
        if self.padding == "zeros":
            return x
        return self._clipped(self._reflected(x) if self.padding == "reflection" else x)

    def _clipped(self, x: Any) -> Any:
        return tirx.min(self.extent - self.const(1), tirx.max(x, self.const(0)))

    def _reflected(self, x: Any) -> Any:
        low = self.const(0 if self.align_corners else -0.5)
        span = self.extent - self.const(1) if self.align_corners else self.extent
        # A single pixel with aligned corners has no span: everything is that pixel.
        safe = tirx.max(span, self.const(1))
        away = tirx.abs(x - low)
        flips = tirx.floor(away / safe)
        rest = away - flips * safe
        half = flips / self.const(2)
        odd = half > tirx.floor(half)
        return tirx.Select(
            span > self.const(0), tirx.Select(odd, span - rest + low, rest + low), self.const(0)
        )

    def index(self, x: Any) -> tuple[Any, Any]:
        """The index that an integral coordinate names, clamped, and whether it was inside."""
        inside = tirx.all(x >= self.const(0), x <= self.extent - self.const(1))
        return tirx.Cast("int64", self._clipped(x)), inside

    def taps(self, x: Any, mode: str) -> list[tuple[Any, Any, Any]]:
        """Each source pixel of a point ``x`` in [-1, 1]: index, weight, whether it is inside."""
        x = self.pixels(x)
        if mode == "nearest":
            index, inside = self.index(tirx.nearbyint(self.padded(x)))
            return [(index, self.const(1), inside)]
        if mode == "bilinear":
            x = self.padded(x)
        low = tirx.floor(x)
        if mode == "bilinear":
            weights, first = [low + self.const(1) - x, x - low], 0
        else:
            weights, first = cubic_weights(x - low, CUBIC, self.const), -1
        found = []
        for offset, weight in enumerate(weights, first):
            at = low + self.const(offset)
            # In bicubic mode the padding applies to each pixel of the neighbourhood.
            index, inside = self.index(self.padded(at) if mode == "bicubic" else at)
            found.append((index, weight, inside))
        return found


def _tables(axis: Sampler, grid: te.Tensor, entry: int, mode: str, name: str) -> list[list[Any]]:
    """The taps of every point, as tensors ``[N, *points]``: they serve all channels."""

    flat = te.compute(
        grid.shape[:-1],
        lambda *at: [
            part for tap in axis.taps(grid(*at, entry).astype(axis.dtype), mode) for part in tap
        ],
        name=f"{name}_taps",
    )
    return [flat[i : i + 3] for i in range(0, 3 * TAPS[mode], 3)]


def _grid_sample(
    data: te.Tensor, grid: te.Tensor, mode: str, padding: str, align_corners: bool
) -> te.Tensor:
    dtype = accumulator(str(data.dtype))
    names = "dhw"[-(len(data.shape) - 2) :]
    # A point lists its coordinates innermost axis first.
    tables = [
        _tables(Sampler(size, padding, align_corners, dtype), grid, len(names) - 1 - i, mode, name)
        for i, (size, name) in enumerate(zip(data.shape[2:], names, strict=True))
    ]

    def value(n: Any, c: Any, *point: Any) -> Any:
        total: Any = None
        for taps in product(*tables):
            index, weight, inside = (
                [part(n, *point) for part in parts] for parts in zip(*taps, strict=True)
            )
            term = data(n, c, *index).astype(dtype)
            if mode != "nearest":
                term = term * reduce(mul, weight)
            if padding == "zeros":
                term = tirx.Select(tirx.all(*inside), term, tirx.const(0, dtype))
            total = term if total is None else total + term
        return total.astype(data.dtype)

    shape = (*data.shape[:2], *grid.shape[1:-1])
    return te.compute(shape, value, name=f"grid_sample_{mode}_{padding}")


@converter(aten.grid_sampler.default, aten.grid_sampler_2d.default, aten.grid_sampler_3d.default)
def grid_sampler(
    cx: Context,
    input: relax.Expr,
    grid: relax.Expr,
    interpolation_mode: int,
    padding_mode: int,
    align_corners: bool,
) -> relax.Expr:
    """``input [N, C, H, W]`` at the points ``grid [N, *, *, 2]`` of x, y in [-1, 1], or the same
    with a depth; the number of points may be symbolic."""
    mode, padding = MODES[interpolation_mode], PADDINGS[padding_mode]
    return cx.emit_te(
        _grid_sample,
        input,
        grid,
        mode,
        padding,
        align_corners,
        name=f"grid_sample_{mode}_{padding}",
    )


@converter(aten.affine_grid_generator.default)
def affine_grid_generator(
    cx: Context, theta: relax.Expr, size: Sequence[Any], align_corners: bool
) -> relax.Expr:
    """Where ``theta [N, 2, 3]`` (or ``[N, 3, 4]``) puts each pixel of a picture of ``size``:
    ``[N, *size[2:], 2 or 3]``, x first."""
    dtype = dtype_of(theta)

    def coordinate(index: Any, extent: Any) -> Any:
        """A pixel's centre in [-1, 1]; with aligned corners a single pixel is at 0."""
        extent = as_int64(extent)
        steps = extent - 1 if align_corners else extent
        twice = index * 2 - steps if align_corners else index * 2 + 1 - steps
        return tirx.Cast(dtype, twice) / tirx.Cast(dtype, tirx.max(steps, as_int64(1)))

    def affine_grid(matrix: te.Tensor, *sizes: Any) -> te.Tensor:
        def value(n: Any, *rest: Any) -> Any:
            *pixel, row = rest
            total = matrix[n, row, len(pixel)]
            for column, (index, extent) in enumerate(
                zip(reversed(pixel), reversed(sizes), strict=True)
            ):
                total = total + matrix[n, row, column] * coordinate(index, extent)
            return total

        shape = (matrix.shape[0], *sizes, len(sizes))
        return te.compute(shape, value, name="affine_grid")

    sizes = [as_int64(s) for s in cx.shape[1:-1]]
    return cx.emit_te(affine_grid, theta, *sizes, name="affine_grid")
