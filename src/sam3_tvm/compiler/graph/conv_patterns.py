"""What the passes over convolutions ask: which there are, and what stands around them."""

from __future__ import annotations

from typing import Any

from sam3_tvm.compiler.graph.dataflow import (
    Dataflow,
    call_of,
    float32_shape_of,
    same_shape,
    static_int,
)
from sam3_tvm.compiler.kernels.conv.shape import ConvShape

__all__ = [
    "bias_of",
    "is_convolution",
    "is_depthwise",
    "is_doubling",
    "is_pointwise",
    "is_same_3x3",
    "is_transposed",
    "residual_of",
    "shape_of_conv",
    "sizes",
    "upsampled_source",
]


def bias_of(value: Any, conv: Any) -> Any | None:
    """The other operand, if ``value`` adds something of shape [1, C, 1, 1] to ``conv``."""
    if call_of(value, "relax.add") is None:
        return None
    left, right = value.args
    bias = right if left.same_as(conv) else left
    channels = sizes(conv)[1]
    fits = sizes(bias) in ([1, channels, 1, 1], [channels, 1, 1])
    return bias if fits and not bias.same_as(conv) else None


def sizes(expr: Any) -> list[int]:
    """The extents of a float32 tensor, -1 for a symbolic one; empty for anything else."""
    known = [static_int(d) for d in float32_shape_of(expr) or []]
    return [-1 if d is None else d for d in known]


def _is_plain(call: Any, kernel_layout: str, groups: int = 1) -> bool:
    """Whether layouts, types, groups and shapes are those that the kernels are made for."""
    attrs = call.attrs
    x, weight = call.args
    return (
        attrs.data_layout == attrs.out_layout == "NCHW"
        and attrs.kernel_layout == kernel_layout
        and attrs.groups == groups
        and len(sizes(x)) == len(sizes(weight)) == 4
        and -1 not in sizes(x)[1:]
        and -1 not in sizes(weight)
    )


def is_convolution(value: Any) -> bool:
    """Whether a value is a ``relax.nn.conv2d`` that we have a kernel for."""
    return call_of(value, "relax.nn.conv2d") is not None and _is_plain(value, "OIHW")


def is_depthwise(value: Any) -> bool:
    """Whether a value is a ``relax.nn.conv2d`` of every channel by itself."""
    call = call_of(value, "relax.nn.conv2d")
    if call is None:
        return False
    channels = int(call.attrs.groups)
    if channels < 2 or not _is_plain(value, "OIHW", channels):
        return False
    x, weight = (sizes(arg) for arg in call.args)
    return x[1] == weight[0] == channels and weight[1] == 1


def is_transposed(value: Any) -> bool:
    """Whether a value is a ``relax.nn.conv2d_transpose``, 2 x 2 with stride 2."""
    return (
        call_of(value, "relax.nn.conv2d_transpose") is not None
        and _is_plain(value, "IOHW")
        and sizes(value.args[1])[2:] == [2, 2]
        and list(value.attrs.strides) == [2, 2]
        and list(value.attrs.dilation) == [1, 1]
        and not any(value.attrs.padding)
        and not any(value.attrs.output_padding)
    )


def shape_of_conv(call: Any) -> ConvShape:
    """The static part of a convolution for which :func:`is_convolution` holds, or
    :func:`is_depthwise`."""
    x, weight = (sizes(arg) for arg in call.args)
    attrs = call.attrs
    top, left, bottom, right = map(int, attrs.padding)
    down, across = map(int, attrs.strides)
    return ConvShape(
        in_channels=x[1],
        out_channels=weight[0],
        height=x[2],
        width=x[3],
        kernel=(weight[2], weight[3]),
        stride=(down, across),
        padding=(top, left, bottom, right),
        dilation=(int(attrs.dilation[0]), int(attrs.dilation[1])),
    )


def upsampled_source(flow: Dataflow, conv: Any) -> Any | None:
    """What a 3 x 3 convolution reads twice enlarged, if nobody else reads the larger picture."""
    if not is_convolution(conv):
        return None
    shape, x = shape_of_conv(conv), conv.args[0]
    resize = call_of(flow.definition(x), "relax.image.resize2d")
    if resize is None or flow.only_user(x) is None or not is_doubling(resize):
        return None
    return resize.args[0] if is_same_3x3(shape) else None


def is_same_3x3(shape: ConvShape) -> bool:
    """Whether a convolution is 3 x 3 with a border of 1: its result has the picture's size."""
    return shape.kernel == (3, 3) and shape.padding == (1, 1, 1, 1) and shape.dense


def is_pointwise(shape: ConvShape) -> bool:
    """Whether a convolution is 1 x 1: the same product for every pixel."""
    return shape.kernel == (1, 1) and shape.dense and not any(shape.padding)


def is_doubling(resize: Any) -> bool:
    """Whether a ``relax.image.resize2d`` makes four equal pixels of each, on NCHW in float32."""
    attrs, before, after = resize.attrs, sizes(resize.args[0]), sizes(resize)
    return (
        attrs.method == "nearest_neighbor"
        and attrs.coordinate_transformation_mode == "asymmetric"
        and attrs.rounding_method == "floor"
        and attrs.layout == "NCHW"
        and -1 not in before[2:] + after[2:]
        and len(before) == len(after) == 4
        and [2 * n for n in before[2:]] == after[2:]
    )


def residual_of(value: Any, conv: Any) -> Any | None:
    """The other operand, if ``value`` adds something of the shape of ``conv`` to it."""
    if call_of(value, "relax.add") is None:
        return None
    left, right = value.args
    other = right if left.same_as(conv) else left
    shape = float32_shape_of(other)
    fits = shape is not None and same_shape(shape, float32_shape_of(conv) or [])
    return other if fits and not other.same_as(conv) else None
