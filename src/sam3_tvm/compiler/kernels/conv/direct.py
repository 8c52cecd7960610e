"""Two-dimensional convolution on NCHW.

Layout. Vectors lie along pixels, which NCHW keeps contiguous, and the weights are the scalars
that are broadcast; so input and output keep the layout that they have, and no image is ever
transposed. Weights are packed offline to ``[ceil(O / r), I * taps, r]``, r being the rows of
the register tile: the r scalars of a step lie in one cache line, and the steps front to back.

No im2col where the stride is 1. A task copies the rows of x that it needs, channel by channel,
to scratch, with their padding: a strip of s output rows becomes one flat run of
s + kh - 1 rows of width w + pad, on which a tap is an offset. The kw - 1 columns between two
rows are computed too and never stored. The strip's height is the one that wastes least on them
and on the last tile: none at 288 columns with tiles of 48, 3.7 % at 72. Other strides and
dilations copy im2col rows instead, as many as there are (channel, tap) pairs, each then with
the one tap at offset 0.

Tiles, registers and the bytes moved are those of :mod:`~sam3_tvm.compiler.kernels.conv.strips`.

Where the CPU multiplies pairs of bfloat16, 1 x 1 and transposed convolutions do: a pair is two
input channels of one pixel, rounded and interleaved as their rows are copied. Larger filters keep
float32: most go by Winograd, which saves more, or over a picture of half the size
(:mod:`~sam3_tvm.compiler.kernels.conv.upsampled`), which is a product of channels as well.

Where it has a matrix unit for them, at 15 times the rate of float32, so do all filters whose
channels, or im2col rows, make whole tiles: cut as
:mod:`~sam3_tvm.compiler.kernels.conv.matrix_strips` says. The 588 rows of a patch of 14 x 14,
padded to 608, are copied by vectors whose values lie 14 apart; 1008 x 1008 pixels to 1024 channels
take 4.4 ms on two threads of a Xeon of family 6, model 167, and 31 in float32.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sam3_tvm.arithmetic import FLOAT32, Arithmetic
from sam3_tvm.compiler.kernels.conv.doubled import store_doubled
from sam3_tvm.compiler.kernels.conv.filling import fill_im2col, fill_rows
from sam3_tvm.compiler.kernels.conv.matrix_strips import (
    MatrixPlan,
    emit_by_matrix,
    longest_line,
    plan_by_matrix,
)
from sam3_tvm.compiler.kernels.conv.shape import ConvShape
from sam3_tvm.compiler.kernels.conv.strips import StripPlan, conv_layout, emit_strips, plan_strips
from sam3_tvm.compiler.kernels.emit import (
    Expr,
    as_index,
    bind,
    ceil_div,
    kernel,
    load,
    loop,
    size_var,
    splat,
    spread,
    store,
    tensor,
    vectors,
    when,
)
from sam3_tvm.compiler.kernels.product.dot import FMA, Dot, dot_for
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.kernels.product.stored_weights import name_suffix, scale_argument
from sam3_tvm.compiler.kernels.product.tile import wide_tile
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = [
    "conv_dot",
    "conv_kernel",
    "conv_name",
    "conv_transpose_kernel",
    "conv_transpose_name",
    "pointwise_shape",
]


_DEEP = 256
"""Im2col rows, at least, for which a matrix unit is worth it."""


def conv_name(
    shape: ConvShape, epilogue: Epilogue, arithmetic: Arithmetic = FLOAT32, dot: Dot = FMA
) -> str:
    """What a kernel of :func:`conv_kernel` is called, whose :func:`conv_dot` is ``dot``."""
    kh, kw = shape.kernel
    sizes = f"{shape.in_channels}x{shape.out_channels}_{shape.height}x{shape.width}"
    if dot.matrix is not None and shape.taps > 1:
        # Without a matrix unit those are made of float32, whatever their weights.
        sizes = f"matrix_{sizes}"
    return f"conv{kh}x{kw}_{sizes}{epilogue}{name_suffix(arithmetic.weights)}"


def conv_transpose_name(
    in_channels: int,
    out_channels: int,
    height: int,
    width: int,
    epilogue: Epilogue,
    arithmetic: Arithmetic = FLOAT32,
) -> str:
    """What a kernel of :func:`conv_transpose_kernel` is called."""
    sizes = f"{in_channels}x{out_channels}_{height}x{width}"
    return f"conv_transpose2x2_{sizes}{epilogue}{name_suffix(arithmetic.weights)}"


def pointwise_shape(
    target: CpuTarget, shape: ConvShape, arithmetic: Arithmetic = FLOAT32
) -> ConvShape:
    """The same 1 x 1 convolution on a picture of the same number of pixels, cut into other rows.

    Where no pixel meets its neighbours rows are a matter of taste: those returned waste least
    of a tile, and of those that do the longest up to 512 pixels, or up to as many as a matrix unit
    takes in one line. Other convolutions come back as they are.
    """
    if shape.kernel != (1, 1) or not shape.dense or any(shape.padding):
        return shape
    tile, most, dot = wide_tile(target).columns, 512, dot_for(target, arithmetic)
    if shape.in_channels % dot.pack == 0:
        depth = shape.in_channels // dot.pack
        if (matrix := dot.by_matrix(depth).matrix) is not None:
            tile, most = matrix.side, min(most, longest_line(target, depth))
    pixels = shape.height * shape.width
    widths = [shape.width, *(w for w in range(1, most + 1) if pixels % w == 0)]
    width = min(widths, key=lambda w: (-(-w // tile) * tile / w, -w))
    return replace(shape, height=pixels // width, width=width)


def conv_dot(target: CpuTarget, shape: ConvShape, arithmetic: Arithmetic) -> Dot:
    """The instruction that a kernel of :func:`conv_kernel` is made of: a matrix unit's where its
    tiles are whole, else pairs where input channels are pairs and no pixel meets its neighbours.

    Im2col rows are padded to whole tiles; short ones take longer to copy than to multiply.
    """
    dot = dot_for(target, arithmetic)
    depth = shape.in_channels if shape.dense else shape.in_channels * shape.taps
    if depth % dot.pack:
        return FMA
    worth = shape.dense or depth >= _DEEP
    if worth and plan_by_matrix(target, dot, *_product(shape, dot)) is not None:
        return dot
    return dot.by_vectors if shape.dense and shape.kernel == (1, 1) else FMA


def _product(shape: ConvShape, dot: Dot) -> tuple[int, int, tuple[int, int], int, int, int]:
    """A convolution as the product that plans cut: output channels, words of the reduction, taps,
    rows and columns of the result, and pixels from a row to the next."""
    rows, columns = shape.out_height, shape.out_width
    if shape.dense:
        pitch = shape.width + shape.padding[1] + shape.padding[3]
        depth = shape.in_channels // dot.pack
        return shape.out_channels, depth, shape.kernel, rows, columns, pitch
    depth = shape.in_channels * shape.taps // dot.pack
    if dot.matrix is not None:
        depth = int(ceil_div(depth, dot.matrix.side)) * dot.matrix.side
    return shape.out_channels, depth, (1, 1), rows, columns, columns


def conv_kernel(
    target: CpuTarget, shape: ConvShape, epilogue: Epilogue, arithmetic: Arithmetic = FLOAT32
) -> Expr:
    """The PrimFunc ``(x [B, I, H, W], packed, [scale], [bias [O]], [residual], y [B, O, H', W'])``.

    ``packed`` is as :func:`conv_layout` packs it for the shape's :func:`conv_dot`, for float32
    ``[ceil(O / r), I * kh * kw, r]``, zeros behind the last channel, as the arithmetic stores
    weights; int8 has ``scale``, a factor for each of ceil(O / r) * r channels. ``residual`` has the
    shape of y. All else is float32. B is symbolic. Groups are not supported.
    """
    dot = conv_dot(target, shape, arithmetic)
    plan = _plan(target, dot, shape)
    fill = fill_rows if shape.dense else fill_im2col
    layout = conv_layout(target, arithmetic, dot)
    with kernel(conv_name(shape, epilogue, arithmetic, dot), dot.features, dot.llvm) as made:
        batch = size_var("batch")
        x = tensor("x", (batch, shape.in_channels, shape.height, shape.width))
        weight = layout.argument("weight", shape.out_channels, shape.in_channels * shape.taps)
        scale = scale_argument(arithmetic.weights, layout.rows(shape.out_channels))
        out_shape = (batch, shape.out_channels, shape.out_height, shape.out_width)
        bias, residual = epilogue.arguments(shape.out_channels, out_shape)
        y = tensor("y", out_shape)

        def write(image: Expr, channel: Expr, row0: Expr, rows: Expr, sums: Expr, at: Expr) -> None:
            shift = None if bias is None else bind(load(bias, channel))
            factor = None if scale is None else bind(load(scale, channel))
            with loop(rows) as r:
                for column, lanes in vectors(plan.columns, plan.lanes):
                    where = (image, channel, row0 + r, column)
                    value = epilogue.apply(
                        load(sums, at + r * as_index(plan.pitch) + column, lanes=lanes),
                        lanes,
                        scale=spread(factor, lanes),
                        bias=spread(shift, lanes),
                        residual=None if residual is None else load(residual, *where, lanes=lanes),
                    )
                    store(y, value, *where, lanes=lanes)

        _emit(
            plan,
            batch,
            weight,
            fill=lambda *where: fill(shape, plan, x, *where),
            write=write,
        )
    return made.func


def conv_transpose_kernel(
    target: CpuTarget,
    in_channels: int,
    out_channels: int,
    height: int,
    width: int,
    epilogue: Epilogue,
    arithmetic: Arithmetic = FLOAT32,
) -> Expr:
    """A 2 x 2 transposed convolution of stride 2: every pixel becomes four, none overlap.

    The PrimFunc ``(x [B, I, H, W], packed, [scale], [bias [O]], y [B, O, 2 H, 2 W])``.
    ``packed`` is ``[ceil(4 O / r), I, r]``: to the product, (o, row parity, column parity) are
    4 O output channels, each with a ``scale``. Arithmetic is that of :func:`conv_kernel`. The
    two column parities of a row are interleaved as they are stored.
    """
    if epilogue.residual is not None:
        raise ValueError("a transposed convolution adds no residual")
    shape = ConvShape(in_channels, out_channels, height, width)
    dot = conv_dot(target, shape, arithmetic)
    layout = conv_layout(target, arithmetic, dot)
    plan = _plan(target, dot, replace(shape, out_channels=4 * out_channels))
    name = conv_transpose_name(in_channels, out_channels, height, width, epilogue, arithmetic)
    with kernel(name, dot.features, dot.llvm) as made:
        batch = size_var("batch")
        x = tensor("x", (batch, in_channels, height, width))
        weight = layout.argument("weight", 4 * out_channels, in_channels)
        scale = scale_argument(arithmetic.weights, layout.rows(4 * out_channels))
        out_shape = (batch, out_channels, 2 * height, 2 * width)
        bias, _ = epilogue.arguments(out_channels, out_shape)
        y = tensor("y", out_shape)

        def write(image: Expr, channel: Expr, row0: Expr, rows: Expr, sums: Expr, at: Expr) -> None:
            def emit() -> None:
                out = bind(channel // as_index(4))
                down = bind(channel % as_index(4) // as_index(2))
                shift = None if bias is None else bind(load(bias, out))
                sides = [
                    (
                        at + as_index(side * plan.sums_stride),
                        None if scale is None else bind(load(scale, channel + as_index(side))),
                    )
                    for side in (0, 1)
                ]
                with loop(rows) as r:
                    row = bind((row0 + r) * as_index(2) + down)
                    for column, lanes in vectors(plan.columns, plan.lanes):
                        offset = bind(r * as_index(plan.pitch) + column)
                        pair = []
                        for first, factor in sides:
                            value = load(sums, first + offset, lanes=lanes)
                            if factor is not None:
                                value = value * splat(factor, lanes)
                            pair.append(bind(value))
                        here = (image, out, row, column)
                        store_doubled(y, pair, lanes, here, epilogue, shift, None)

            # Even channels write their odd neighbour too; a panel holds both.
            with when(channel % as_index(2) == as_index(0)):
                emit()

        _emit(
            plan,
            batch,
            weight,
            fill=lambda *where: fill_rows(shape, plan, x, *where),
            write=write,
        )
    return made.func


def _plan(target: CpuTarget, dot: Dot, shape: ConvShape) -> StripPlan | MatrixPlan:
    """The cut of a convolution's product for its :func:`conv_dot`."""
    product = _product(shape, dot)
    by_matrix = plan_by_matrix(target, dot, *product)
    return plan_strips(target, *product, dot) if by_matrix is None else by_matrix


def _emit(plan: StripPlan | MatrixPlan, *operands: Expr, fill: Any, write: Any) -> None:
    """Emit the parallel loop over a plan's tasks."""
    if isinstance(plan, MatrixPlan):
        emit_by_matrix(plan, *operands, fill=fill, write=write)
    else:
        emit_strips(plan, *operands, fill=fill, write=write)
