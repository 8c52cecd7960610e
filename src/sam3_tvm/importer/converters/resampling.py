"""Interpolation: one function per call, with PyTorch's coordinate rules.

``relax.image.resize2d`` always derives the step from the two sizes, wants both static, and
doesn't filter, where PyTorch steps by ``1 / scale_factor`` if one was given and takes
``antialias=True``. So each call becomes one tensor expression named after its mode
(``interpolate_bilinear2d``): small tables with each output position's source indices and
weights per axis, then the interpolation itself. The exception is a picture that is doubled by
its nearest pixels, where no rule can differ: it stays an operator, which passes recognise.

The rules are those of ATen's ``native/UpSample.h`` (and, with antialias, of Pillow's
resampling, from which it derives): source positions are formed in float32, in float64 for
float64 tensors, as a nearest index may hang on the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from tvm import relax, te, tirx

from sam3_tvm.importer.converters._tensors import dtype_of, extents
from sam3_tvm.importer.registry import Context, converter

aten = torch.ops.aten

CUBIC = -0.75
"""The parameter ``a`` of the cubic convolution kernel (Keys 1981) in PyTorch."""

CUBIC_ANTIALIAS = -0.5
"""The same with antialias, where PyTorch follows Pillow."""

NAMES = {1: "linear1d", 2: "bilinear2d", 3: "trilinear3d"}


class Axis:
    """One resampled axis: how output positions map to source positions.

    Args:
        size: input extent.
        out: output extent.
        factor: the scale factor that was given for the axis, else None.
        align_corners: whether the first and last samples of both sides coincide.
        dtype: the float dtype of positions and weights.
    """

    def __init__(
        self, size: Any, out: Any, factor: float | None, align_corners: bool, dtype: str
    ) -> None:
        self.size, self.out, self.dtype = size, out, dtype
        self.align_corners = align_corners
        self.step = self._step(factor)

    def const(self, value: float) -> Any:
        return tirx.const(value, self.dtype)

    def _step(self, factor: float | None) -> Any:
        """Source positions per output position."""
        real = np.dtype(self.dtype).type
        if factor is not None and factor > 0 and not self.align_corners:
            return self.const(float(real(1.0 / factor)))
        one = 1 if self.align_corners else 0
        size, out = self.size - one, self.out - one
        if isinstance(size, int) and isinstance(out, int):
            return self.const(float(real(size) / real(out)) if out > 0 else 0.0)
        quotient = tirx.Cast(self.dtype, size) / tirx.Cast(self.dtype, tirx.max(out, 1))
        return tirx.Select(out > 0, quotient, self.const(0.0)) if one else quotient

    def position(self, i: Any) -> Any:
        """The source position of output position ``i``, which may be negative."""
        real = tirx.Cast(self.dtype, i)
        if self.align_corners:
            return real * self.step
        return self.step * (real + self.const(0.5)) - self.const(0.5)

    def clamped(self, index: Any) -> Any:
        return tirx.max(tirx.min(index, as_int64(self.size) - 1), as_int64(0))


def as_int64(value: Any) -> Any:
    """An integer or an expression in 64 bits; one that has them stays itself.

    A cast of a size would be another size to the compiler.
    """
    if isinstance(value, int):
        return tirx.const(value, "int64")
    return value.astype("int64")


def table(axis: Axis, name: str, entry: Callable[[Any], Any]) -> te.Tensor:
    """A value per output position."""
    return te.compute((axis.out,), entry, name=name)


Tap = tuple[te.Tensor, te.Tensor | None]
"""Source index and weight (None: 1) of every output position."""


def nearest_taps(axis: Axis, name: str, *, exact: bool) -> list[Tap]:
    """``floor(i step)``, or with ``exact`` the floor at the pixel's centre."""

    def index(i: Any) -> Any:
        real = tirx.Cast(axis.dtype, i)
        if exact:
            real = real + axis.const(0.5)
        return axis.clamped(tirx.Cast("int64", tirx.floor(real * axis.step)))

    return [(table(axis, f"{name}_index", index), None)]


def linear_taps(axis: Axis, name: str) -> list[Tap]:
    """The two neighbours of the position, which is clamped at 0 first."""

    def real(i: Any) -> Any:
        # A step that isn't the ratio of sizes is ignored where the sizes are equal.
        moved = tirx.max(axis.position(i), axis.const(0.0))
        same = tirx.EQ(as_int64(axis.size), as_int64(axis.out))
        return tirx.Select(same, tirx.Cast(axis.dtype, i), moved)

    def index(i: Any) -> Any:
        return tirx.min(tirx.Cast("int64", real(i)), as_int64(axis.size) - 1)

    low = table(axis, f"{name}_low", index)
    high = table(axis, f"{name}_high", lambda i: tirx.min(low[i] + 1, as_int64(axis.size) - 1))
    above = table(
        axis,
        f"{name}_weight_high",
        lambda i: tirx.min(
            tirx.max(real(i) - tirx.Cast(axis.dtype, low[i]), axis.const(0.0)), axis.const(1.0)
        ),
    )
    below = table(axis, f"{name}_weight_low", lambda i: axis.const(1.0) - above[i])
    return [(low, below), (high, above)]


def cubic_weights(t: Any, a: float, const: Callable[[float], Any]) -> list[Any]:
    """Keys' cubic convolution kernel at distances ``1 + t``, ``t``, ``1 - t``, ``2 - t``."""

    def near(x: Any) -> Any:
        return ((const(a + 2) * x - const(a + 3)) * x * x) + const(1.0)

    def far(x: Any) -> Any:
        return ((const(a) * x - const(5 * a)) * x + const(8 * a)) * x - const(4 * a)

    one = const(1.0)
    return [far(t + one), near(t), near(one - t), far(const(2.0) - t)]


def cubic_taps(axis: Axis, name: str) -> list[Tap]:
    """Four neighbours; those beyond the edge repeat it."""
    first = table(
        axis,
        f"{name}_first",
        lambda i: tirx.min(
            tirx.Cast("int64", tirx.floor(axis.position(i))), as_int64(axis.size) - 1
        ),
    )

    def fraction(i: Any) -> Any:
        t = axis.position(i) - tirx.Cast(axis.dtype, first[i])
        return tirx.min(tirx.max(t, axis.const(0.0)), axis.const(1.0))

    def weight(tap: int) -> te.Tensor:
        return table(
            axis,
            f"{name}_weight_{tap}",
            lambda i: cubic_weights(fraction(i), CUBIC, axis.const)[tap],
        )

    def index(tap: int) -> te.Tensor:
        return table(axis, f"{name}_index_{tap}", lambda i: axis.clamped(first[i] + (tap - 1)))

    return [(index(tap), weight(tap)) for tap in range(4)]


def gather(data: te.Tensor, taps: Sequence[Sequence[Tap]], dtype: str, name: str) -> te.Tensor:
    """Sum the weighted taps, the last axis innermost."""
    lead = len(data.shape) - len(taps)
    outs = [axis_taps[0][0].shape[0] for axis_taps in taps]

    def value(position: tuple[Any, ...], sources: list[Any]) -> Any:
        done = len(sources)
        if done == len(taps):
            return data(*position[:lead], *sources).astype(dtype)
        at = position[lead + done]
        total = None
        for index, weight in taps[done]:
            term = value(position, [*sources, index[at]])
            if weight is not None:
                term = term * weight[at]
            total = term if total is None else total + term
        return total

    return te.compute((*data.shape[:lead], *outs), lambda *p: value(p, []).astype(data.dtype), name)


# -- the converters ------------------------------------------------------------------------


def interpolate_axes(
    cx: Context,
    name: str,
    arguments: dict[str, Any],
    build: Callable[[te.Tensor, list[Axis], str], te.Tensor],
) -> relax.Expr:
    """One tensor expression for ``[batch, channels, *spatial]``; sizes may be symbolic.

    Args:
        arguments: those of any overload: ``.vec`` has ``output_size`` or ``scale_factors``,
            the default one ``output_size`` and a scale or None per axis.
    """
    x = arguments["input"] if "input" in arguments else arguments["self"]
    rank = len(extents(x)) - 2
    outs = [as_int64(size) for size in cx.shape[2:]]
    factors = arguments.get("scale_factors")
    if factors is None:
        named = ["scales"] if rank == 1 else ["scales_d", "scales_h", "scales_w"][-rank:]
        factors = [arguments.get(n) for n in named]
    align = bool(arguments.get("align_corners", False))
    positions = "float64" if dtype_of(x) == "float64" else "float32"

    def interpolate(data: te.Tensor, *sizes: Any) -> te.Tensor:
        axes = [
            Axis(_plain(size), _plain(out), factor, align, positions)
            for size, out, factor in zip(data.shape[2:], sizes, factors, strict=True)
        ]
        return build(data, axes, name)

    return cx.emit_te(interpolate, x, *outs, name=f"interpolate_{name}")


def _plain(extent: Any) -> Any:
    return int(extent) if isinstance(extent, int | tirx.IntImm) else extent


def _named(axes: list[Axis]) -> list[tuple[Axis, str]]:
    return list(zip(axes, "dhw"[-len(axes) :], strict=True))


@converter(
    aten.upsample_nearest1d.default,
    aten.upsample_nearest1d.vec,
    aten.upsample_nearest2d.default,
    aten.upsample_nearest2d.vec,
    aten.upsample_nearest3d.default,
    aten.upsample_nearest3d.vec,
)
def upsample_nearest(cx: Context, **arguments: Any) -> relax.Expr:
    """``mode="nearest"``: the source pixel under each output pixel's upper left corner."""
    if _doubles(cx, arguments):
        return cx.emit(
            relax.op.image.resize2d(
                arguments["input"] if "input" in arguments else arguments["self"],
                tuple(cx.shape[2:]),
                layout="NCHW",
                method="nearest_neighbor",
                coordinate_transformation_mode="asymmetric",
                rounding_method="floor",
            )
        )

    def build(data: te.Tensor, axes: list[Axis], name: str) -> te.Tensor:
        taps = [nearest_taps(a, n, exact=False) for a, n in _named(axes)]
        return gather(data, taps, data.dtype, name)

    return interpolate_axes(cx, f"nearest{len(cx.shape) - 2}d", arguments, build)


def _doubles(cx: Context, arguments: dict[str, Any]) -> bool:
    """Whether a float32 picture of known size gets twice that, in steps of exactly a half."""
    x = arguments["input"] if "input" in arguments else arguments["self"]
    before, after = map(_plain, extents(x)[2:]), cx.shape[2:]
    factors = arguments.get("scale_factors") or [arguments.get(n) for n in ("scales_h", "scales_w")]
    return (
        len(after) == 2
        and dtype_of(x) == "float32"
        and all(f in (None, 2.0) for f in factors)
        and all(
            isinstance(n, int) and isinstance(out, int) and out == 2 * n
            for n, out in zip(before, map(_plain, after), strict=True)
        )
    )


@converter(
    aten._upsample_nearest_exact1d.default,
    aten._upsample_nearest_exact1d.vec,
    aten._upsample_nearest_exact2d.default,
    aten._upsample_nearest_exact2d.vec,
    aten._upsample_nearest_exact3d.default,
    aten._upsample_nearest_exact3d.vec,
)
def upsample_nearest_exact(cx: Context, **arguments: Any) -> relax.Expr:
    """``mode="nearest-exact"``: the source pixel under each output pixel's centre."""

    def build(data: te.Tensor, axes: list[Axis], name: str) -> te.Tensor:
        taps = [nearest_taps(a, n, exact=True) for a, n in _named(axes)]
        return gather(data, taps, data.dtype, name)

    return interpolate_axes(cx, f"nearest_exact{len(cx.shape) - 2}d", arguments, build)


def refuse_integers(cx: Context, x: relax.Expr) -> None:
    if "float" not in dtype_of(x):
        raise NotImplementedError(
            f"{cx.node.target} of {dtype_of(x)}: PyTorch interpolates integers in fixed point; "
            "convert to float first"
        )


@converter(
    aten.upsample_linear1d.default,
    aten.upsample_linear1d.vec,
    aten.upsample_bilinear2d.default,
    aten.upsample_bilinear2d.vec,
    aten.upsample_trilinear3d.default,
    aten.upsample_trilinear3d.vec,
)
def upsample_linear(cx: Context, **arguments: Any) -> relax.Expr:
    """``mode="linear"``, ``"bilinear"`` and ``"trilinear"``.

    Raises:
        NotImplementedError: an integer tensor.
    """
    refuse_integers(cx, next(iter(arguments.values())))

    def build(data: te.Tensor, axes: list[Axis], name: str) -> te.Tensor:
        return gather(data, [linear_taps(a, n) for a, n in _named(axes)], axes[0].dtype, name)

    return interpolate_axes(cx, NAMES[len(cx.shape) - 2], arguments, build)


@converter(aten.upsample_bicubic2d.default, aten.upsample_bicubic2d.vec)
def upsample_bicubic(cx: Context, **arguments: Any) -> relax.Expr:
    """``mode="bicubic"``.

    Raises:
        NotImplementedError: an integer tensor.
    """
    refuse_integers(cx, next(iter(arguments.values())))

    def build(data: te.Tensor, axes: list[Axis], name: str) -> te.Tensor:
        return gather(data, [cubic_taps(a, n) for a, n in _named(axes)], axes[0].dtype, name)

    return interpolate_axes(cx, "bicubic2d", arguments, build)
