"""Convolutions, each one Relax operator followed by the addition of its bias.

Products of half-precision values are summed in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tvm import relax, te, tirx, topi

from sam3_tvm.importer.converters._tensors import accumulator, cast, dtype_of, extents
from sam3_tvm.importer.errors import ConversionError
from sam3_tvm.importer.registry import Context, converter, is_symbolic

aten = torch.ops.aten

_FORWARD = (relax.op.nn.conv1d, relax.op.nn.conv2d, relax.op.nn.conv3d)
_TRANSPOSED = (
    relax.op.nn.conv1d_transpose,
    relax.op.nn.conv2d_transpose,
    relax.op.nn.conv3d_transpose,
)
_SPATIAL = ("W", "HW", "DHW")


def _each(value: Sequence[int], rank: int) -> list[int]:
    """One number per spatial axis; a single one holds for all."""
    values = [int(v) for v in value]
    return values * rank if len(values) == 1 else values


def _both_sides(
    padding: Sequence[int] | str, weight: relax.Expr, dilation: list[int], rank: int
) -> list[int]:
    """Relax's padding: all axes before, then all axes after.

    ``"same"`` puts the odd one of ``dilation (kernel - 1)`` after.
    """
    if padding == "valid":
        return [0] * (2 * rank)
    if padding == "same":
        kernel = extents(weight)[2:]
        total = [d * (int(k) - 1) for d, k in zip(dilation, kernel, strict=True)]
        return [t // 2 for t in total] + [t - t // 2 for t in total]
    return _each([int(p) for p in padding], rank) * 2


def _convolve(
    cx: Context,
    x: relax.Expr,
    weight: relax.Expr,
    bias: relax.Expr | None,
    *,
    stride: Sequence[int],
    padding: Sequence[int] | str,
    dilation: Sequence[int],
    groups: Any,
    output_padding: Sequence[int] | None = None,
) -> relax.Expr:
    """``x [B, C, *spatial]`` or without the batch; transposed if there is an output padding."""
    rank = len(extents(weight)) - 2
    batched = len(extents(x)) == rank + 2
    if not batched:
        x = cx.emit(relax.op.expand_dims(x, 0))
    dtype = dtype_of(x)
    steps = _each(dilation, rank)
    if is_symbolic(groups):
        if output_padding is not None:
            raise ConversionError(cx.node, "transposed, in as many groups as a symbolic size")
        before_after = _both_sides(padding, weight, steps, rank)
        out = _in_symbolic_groups(cx, x, weight, groups, _each(stride, rank), before_after, steps)
        return _with_bias(cx, out, bias, dtype, batched)
    spatial = _SPATIAL[rank - 1]
    named: dict[str, Any] = {
        "strides": _each(stride, rank),
        "padding": _both_sides(padding, weight, steps, rank),
        "dilation": steps,
        "groups": int(groups),
        "data_layout": f"NC{spatial}",
        "kernel_layout": f"OI{spatial}",
        "out_dtype": accumulator(dtype),
    }
    operators = _FORWARD
    if output_padding is not None:
        operators = _TRANSPOSED
        named["kernel_layout"] = f"IO{spatial}"
        named["output_padding"] = _each(output_padding, rank)
    out = cx.emit(operators[rank - 1](x, weight, **named))
    return _with_bias(cx, out, bias, dtype, batched)


def _with_bias(
    cx: Context, out: relax.Expr, bias: relax.Expr | None, dtype: str, batched: bool
) -> relax.Expr:
    """The sums of a convolution in the dtype of its input, with or without the batch."""
    if bias is not None:
        ones = [1] * (len(extents(out)) - 2)
        column = cx.emit(relax.op.reshape(bias, (1, extents(bias)[0], *ones)))
        out = cx.emit(relax.op.add(out, cast(cx, column, dtype_of(out))))
    out = cast(cx, out, dtype)
    return out if batched else cx.emit(relax.op.squeeze(out, [0]))


def _in_symbolic_groups(
    cx: Context,
    x: relax.Expr,
    weight: relax.Expr,
    groups: Any,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
) -> relax.Expr:
    """``x [B, groups * in, *spatial]`` with ``weight [groups * out, in, *kernel]``.

    Weights that depend on the picture (StyleGAN's) make a batch one picture in as many groups.
    Relax's operator has a fixed number of them.
    """
    rank, wide = len(stride), accumulator(dtype_of(x))
    per_group = cx.sizes.simplify(tirx.floordiv(extents(weight)[0], groups))
    padded_sizes = [
        size + padding[axis] + padding[rank + axis] for axis, size in enumerate(extents(x)[2:])
    ]

    def convolve(data: te.Tensor, kernel: te.Tensor) -> te.Tensor:
        taps = [te.reduce_axis((0, size), name=f"k{i}") for i, size in enumerate(kernel.shape[1:])]
        padded = topi.nn.pad(data, [0, 0, *padding[:rank]], [0, 0, *padding[rank:]])
        out = [
            (size - d * (k - 1) - 1) // s + 1
            for size, d, k, s in zip(padded_sizes, dilation, kernel.shape[2:], stride, strict=True)
        ]

        def value(n: Any, o: Any, *at: Any) -> Any:
            channel = tirx.floordiv(o, per_group) * kernel.shape[1] + taps[0]
            places = [
                a * s + k * d for a, s, k, d in zip(at, stride, taps[1:], dilation, strict=True)
            ]
            return te.sum(
                padded(n, channel, *places).astype(wide) * kernel(o, *taps).astype(wide), axis=taps
            )

        return te.compute((data.shape[0], kernel.shape[0], *out), value, name="grouped")

    return cx.emit_te(convolve, x, weight, name="convolution_in_symbolic_groups")


@converter(
    aten.conv1d.default,
    aten.conv2d.default,
    aten.conv3d.default,
    aten.conv1d.padding,
    aten.conv2d.padding,
    aten.conv3d.padding,
)
def conv(
    cx: Context,
    input: relax.Expr,
    weight: relax.Expr,
    bias: relax.Expr | None,
    stride: Sequence[int],
    padding: Sequence[int] | str,
    dilation: Sequence[int],
    groups: Any,
) -> relax.Expr:
    """``weight [out, in / groups, *kernel]``; padding is a number, one per axis, ``"same"`` or
    ``"valid"``."""
    return _convolve(
        cx,
        input,
        weight,
        bias,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


@converter(aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input)
def conv_transpose(
    cx: Context,
    input: relax.Expr,
    weight: relax.Expr,
    bias: relax.Expr | None,
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    groups: Any,
    dilation: Sequence[int],
) -> relax.Expr:
    """``weight [in, out / groups, *kernel]``."""
    return _convolve(
        cx,
        input,
        weight,
        bias,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        output_padding=output_padding,
    )


@converter(aten.convolution.default)
def convolution(
    cx: Context,
    input: relax.Expr,
    weight: relax.Expr,
    bias: relax.Expr | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: Any,
) -> relax.Expr:
    return _convolve(
        cx,
        input,
        weight,
        bias,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        output_padding=output_padding if transposed else None,
    )
