"""Pooling, with PyTorch's rules for what lies at the edges.

A call becomes one tensor expression. Relax's own operators let a window of
``ceil_mode`` start in the padding on the right, pad a maximum with the lowest finite
number, drop NaN, and divide by one count for all windows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import mul
from typing import Any

import torch
from tvm import relax, te, tirx

from sam3_tvm.importer.converters._tensors import accumulator, cast, dtype_of
from sam3_tvm.importer.converters.resampling import as_int64
from sam3_tvm.importer.registry import Context, converter

aten = torch.ops.aten


@dataclass(frozen=True)
class Window:
    """The windows of one axis.

    Attributes:
        size: input extent.
        taps: entries of the largest window.
        start: an output position's first input index, which may lie in the padding.
        end: one past its last, likewise.
        step: distance between entries.
        pad: width of the padding on either side.
    """

    size: Any
    taps: Any
    start: Callable[[Any], Any]
    end: Callable[[Any], Any]
    step: int = 1
    pad: int = 0

    def index(self, o: Any, tap: Any) -> Any:
        return self.start(o) + tap * self.step

    def holds(self, o: Any, tap: Any) -> Any:
        """Whether a tap is in its window and in the input."""
        at = self.index(o, tap)
        return tirx.all(at >= 0, at < as_int64(self.size), at < self.end(o))

    def inside(self, index: Any) -> Any:
        """An index made safe to load, for taps that aren't there."""
        return tirx.max(tirx.min(index, as_int64(self.size) - 1), as_int64(0))

    def length(self, o: Any, *, padded: bool) -> Any:
        """Entries of a window, counting those in the padding or not."""
        size = as_int64(self.size)
        if padded:
            return tirx.min(self.end(o), size + self.pad) - self.start(o)
        return tirx.max(tirx.min(self.end(o), size) - tirx.max(self.start(o), as_int64(0)), 0)


def _strided(size: Any, kernel: int, stride: int, padding: int, dilation: int) -> Window:
    return Window(
        size,
        kernel,
        lambda o: o * stride - padding,
        lambda o: o * stride - padding + dilation * (kernel - 1) + 1,
        dilation,
        padding,
    )


def _adaptive(size: Any, out: Any) -> Window:
    """Window o spans ``floor(o size / out)`` to ``ceil((o + 1) size / out)``."""
    big, small = as_int64(size), as_int64(out)
    return Window(
        size,
        tirx.floordiv(big + small - 1, small) + 1,
        lambda o: tirx.floordiv(o * big, small),
        lambda o: tirx.floordiv((o + 1) * big + small - 1, small),
    )


Windows = Callable[[Sequence[Any], Sequence[Any]], list[Window]]
"""The windows of all axes, from input and output extents."""


def _strided_windows(
    rank: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Windows:
    def each(values: Sequence[int]) -> list[int]:
        return [int(v) for v in values] * (rank if len(values) == 1 else 1)

    settings = [each(v) for v in (kernel_size, stride or kernel_size, padding, dilation)]
    return lambda sizes, _outs: [
        _strided(size, *of_axis) for size, *of_axis in zip(sizes, *settings, strict=True)
    ]


def _adaptive_windows(sizes: Sequence[Any], outs: Sequence[Any]) -> list[Window]:
    return [_adaptive(size, out) for size, out in zip(sizes, outs, strict=True)]


def _pool(
    cx: Context,
    x: relax.Expr,
    rank: int,
    windows: Windows,
    reduction: Callable[[te.Tensor, list[Window], tuple[Any, ...], str], te.Tensor],
    name: str,
    fake: Any = None,
) -> relax.Expr:
    """Emit a pooling over the last ``rank`` axes, whatever precedes them."""
    shape = cx.shape if fake is None else cx.shape_of(fake)
    outs = [as_int64(o) for o in shape[-rank:]]

    def pool(data: te.Tensor, *outs: Any) -> te.Tensor:
        at = windows(data.shape[-rank:], outs)
        return reduction(data, at, (*data.shape[:-rank], *outs), name)

    return cx.emit_te(pool, x, *outs, name=name)


def _average(divisor: Callable[[list[Window], Sequence[Any]], Any]) -> Any:
    def reduction(
        data: te.Tensor, windows: list[Window], shape: tuple[Any, ...], name: str
    ) -> te.Tensor:
        rank, dtype = len(windows), str(data.dtype)
        taps = [te.reduce_axis((0, w.taps), name=f"k{i}") for i, w in enumerate(windows)]

        def total(*at: Any) -> Any:
            lead, out = at[:-rank], at[-rank:]
            entries = list(zip(windows, out, taps, strict=True))
            value = data(*lead, *(w.inside(w.index(o, k)) for w, o, k in entries))
            there = tirx.all(*(w.holds(o, k) for w, o, k in entries))
            return te.sum(tirx.Select(there, value, tirx.const(0, dtype)), axis=taps)

        summed = te.compute(shape, total, name=f"{name}_sum")

        def mean(*at: Any) -> Any:
            return summed(*at) / tirx.Cast(dtype, divisor(windows, at[-rank:]))

        return te.compute(shape, mean, name=name)

    return reduction


def _product_of_lengths(*, padded: bool) -> Callable[[list[Window], Sequence[Any]], Any]:
    def count(windows: list[Window], out: Sequence[Any]) -> Any:
        lengths = (w.length(o, padded=padded) for w, o in zip(windows, out, strict=True))
        # A window wholly in the padding holds nothing; its mean is 0, not 0 / 0.
        return tirx.max(reduce(mul, lengths), as_int64(1))

    return count


def _maximum(part: int) -> Any:
    """The maximum (part 0) or its index in the flattened spatial axes (part 1), the first one
    among equals; NaN is larger than everything, and of several the last counts."""

    def reduction(
        data: te.Tensor, windows: list[Window], shape: tuple[Any, ...], name: str
    ) -> te.Tensor:
        rank, dtype = len(windows), str(data.dtype)
        real = "float" in dtype
        lowest = tirx.const(-math.inf, dtype) if real else tirx.min_value(dtype)
        taps = [te.reduce_axis((0, w.taps), name=f"k{i}") for i, w in enumerate(windows)]

        def larger(a: Any, b: Any) -> Any:
            """Whether ``b`` takes the place of ``a``, which came earlier."""
            if not real:
                return b > a
            return tirx.any(b > a, tirx.isnan(b))

        def flat(indices: Sequence[Any]) -> Any:
            position = as_int64(0)
            for window, index in zip(windows, indices, strict=True):
                position = position * as_int64(window.size) + index
            return position

        def combine(x: Any, y: Any) -> Any:
            # -1 is the identity's index: anything takes its place, -inf too.
            takes = tirx.all(y[0] >= 0, tirx.any(x[0] < 0, larger(x[1], y[1])))
            return tirx.Select(takes, y[0], x[0]), tirx.Select(takes, y[1], x[1])

        largest = te.comm_reducer(combine, lambda i, v: (tirx.const(-1, i), lowest), name="largest")

        def value(*at: Any) -> Any:
            lead, out = at[:-rank], at[-rank:]
            entries = list(zip(windows, out, taps, strict=True))
            index = [w.inside(w.index(o, k)) for w, o, k in entries]
            there = tirx.all(*(w.holds(o, k) for w, o, k in entries))
            position = tirx.Select(there, flat(index), as_int64(-1))
            return largest((position, data(*lead, *index)), axis=taps)

        index, found = te.compute(shape, value, name=f"{name}_pair")
        chosen = found if part == 0 else index
        return te.compute(shape, lambda *at: chosen(*at), name=name)

    return reduction


@converter(aten.max_pool1d.default, aten.max_pool2d.default, aten.max_pool3d.default)
def max_pool(
    cx: Context,
    self: relax.Expr,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> relax.Expr:
    """Over ``[..., *spatial]``; ``ceil_mode`` shows in the result's size alone."""
    rank = _rank(cx)
    windows = _strided_windows(rank, kernel_size, stride, padding, dilation)
    return _largest(cx, self, rank, windows, 0, f"max_pool{rank}d")


def _largest(
    cx: Context, x: relax.Expr, rank: int, windows: Windows, part: int, name: str, fake: Any = None
) -> relax.Expr:
    # Half-precision values compare the same in float32, in which TVM lowers every reduction.
    wide = cast(cx, x, accumulator(dtype_of(x)))
    out = _pool(cx, wide, rank, windows, _maximum(part), name, fake)
    return cast(cx, out, dtype_of(x)) if part == 0 else out


def _rank(cx: Context) -> int:
    """The number of spatial axes that an operator's name tells."""
    digits = [c for c in cx.node.target.__name__.partition(".")[0] if c.isdigit()]
    return int(digits[-1])


def _with_indices(
    cx: Context, x: relax.Expr, rank: int, windows: Windows, name: str
) -> list[relax.Expr | None]:
    used = {user.args[1] for user in cx.node.users}
    return [
        _largest(cx, x, rank, windows, part, f"{name}{suffix}", cx.result[part])
        if part in used
        else None
        for part, suffix in enumerate(("", "_indices"))
    ]


@converter(
    aten.max_pool1d_with_indices.default,
    aten.max_pool2d_with_indices.default,
    aten.max_pool3d_with_indices.default,
)
def max_pool_with_indices(
    cx: Context,
    self: relax.Expr,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> list[relax.Expr | None]:
    """The maxima and their int64 positions in the flattened spatial axes."""
    rank = _rank(cx)
    windows = _strided_windows(rank, kernel_size, stride, padding, dilation)
    return _with_indices(cx, self, rank, windows, f"max_pool{rank}d")


@converter(
    aten.adaptive_max_pool1d.default,
    aten.adaptive_max_pool2d.default,
    aten.adaptive_max_pool3d.default,
)
def adaptive_max_pool(cx: Context, self: relax.Expr, output_size: Any) -> list[relax.Expr | None]:
    rank = _rank(cx)
    return _with_indices(cx, self, rank, _adaptive_windows, f"adaptive_max_pool{rank}d")


@converter(aten.avg_pool1d.default, aten.avg_pool2d.default, aten.avg_pool3d.default)
def avg_pool(
    cx: Context,
    self: relax.Expr,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None = None,
) -> relax.Expr:
    """The mean over each window; what a ceiling adds beyond the padding never counts."""
    rank = _rank(cx)
    windows = _strided_windows(rank, kernel_size, stride, padding, [1])
    divisor = _product_of_lengths(padded=count_include_pad)
    if divisor_override is not None:
        override = as_int64(divisor_override)

        def divisor(_windows: list[Window], _out: Sequence[Any]) -> Any:
            return override

    return _mean(cx, self, rank, windows, divisor, f"avg_pool{rank}d")


@converter(
    aten.adaptive_avg_pool1d.default,
    aten.adaptive_avg_pool2d.default,
    aten.adaptive_avg_pool3d.default,
    aten._adaptive_avg_pool2d.default,
    aten._adaptive_avg_pool3d.default,
)
def adaptive_avg_pool(cx: Context, self: relax.Expr, output_size: Any) -> relax.Expr:
    rank = _rank(cx)
    divisor = _product_of_lengths(padded=False)
    return _mean(cx, self, rank, _adaptive_windows, divisor, f"adaptive_avg_pool{rank}d")


def _mean(
    cx: Context, x: relax.Expr, rank: int, windows: Windows, divisor: Any, name: str
) -> relax.Expr:
    wide = cast(cx, x, accumulator(dtype_of(x)))
    return cast(cx, _pool(cx, wide, rank, windows, _average(divisor), name), dtype_of(x))
