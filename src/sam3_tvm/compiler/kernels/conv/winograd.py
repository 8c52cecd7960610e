"""3 x 3 convolution by Winograd's F(4 x 4, 3 x 3): a quarter of the multiplications.

``Y = A^T [sum over channels of (G g G^T) * (B^T d B)] A`` for every 4 x 4 tile of the result
(:mod:`~sam3_tvm.compiler.kernels.conv.winograd_matrices` has the matrices, their source and their
accuracy: that of the direct sum). The sums are 36 matrix products, one per point, of [O, I] weights
with [I, tiles] inputs.

Lanes. Vectors lie along tiles and weights are broadcast, as in the direct kernel: NCHW keeps
pixels contiguous, so that tiles come from and go to rows of pixels by shuffles alone
(:mod:`~sam3_tvm.compiler.kernels.conv.winograd_tiles`). Lanes along output channels would ask for a
transposition of the result.

Tasks. Nothing of the 36 points is stored as a whole: a task transforms the inputs of 48 tiles
(36 * 256 * 48 values, 1.8 MB), and multiplies and transforms back 64 output channels at a time,
whose products (0.4 MB) stay in L2. The 36 products read 9.4 MB of weights a task, 24 FLOP a byte:
5 GB/s a core, from L3, front to back. 96 tiles would halve that, and double the inputs; they
were slower by 2 %. A product is [8, 256] x [256, 48] a register tile: per step 3 vectors of
inputs from L2 (49 KB a point) and 8 weights. Cutting the 256 channels in two, so that inputs fit
L1, costs more in loads and stores of products: 96 % of peak without, 92 % with.
Blocks of tiles run over the ends of rows, so they are full but for the last. Where blocks are
few for the cores, a block is several tasks, each for a part of the output channels.

Weights are stored as the direct kernel has them, in any precision, and transformed by every call
to scratch: 9 values in and 36 out per pair of channels, some 300 FLOP beside the 72 of every
tile (5184 of them at 288 x 288). Storing them transformed would cost 7 MB more each, whatever
the precision, for 2 % of a convolution at 144 x 144. Rounding to float16 or int8 is that of the
direct kernel: of the weights themselves. The scale of int8 multiplies them as they are widened.

Counted: 98 GFLOP become 24.5 at 288 x 288, with 256 channels in and out. Measured beside the
direct kernel on a busy machine (AVX-512): 3.4 times as fast at 288 x 288 and 3.1 at 72 x 72 on two
threads, 3.5 at 144 x 144 on one. The products alone ran at 97 % of the FMA peak, all together at
three quarters: the rest is transforms, which wait for L3.
"""

from __future__ import annotations

from tvm import tirx

from sam3_tvm.arithmetic import FLOAT32, Arithmetic
from sam3_tvm.compiler.kernels.conv.direct import conv_name
from sam3_tvm.compiler.kernels.conv.shape import ConvShape
from sam3_tvm.compiler.kernels.conv.strips import conv_layout
from sam3_tvm.compiler.kernels.conv.winograd_matrices import INPUTS, TAPS, transform_taps
from sam3_tvm.compiler.kernels.conv.winograd_plan import POINTS, WinogradPlan, plan_winograd
from sam3_tvm.compiler.kernels.conv.winograd_tiles import Run, transform_inputs, transform_outputs
from sam3_tvm.compiler.kernels.emit import (
    Expr,
    as_index,
    bind,
    ceil_div,
    kernel,
    load,
    loop,
    parallel,
    scratch,
    size_var,
    spread,
    store,
    tensor,
)
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.kernels.product.stored_weights import load_wide, scale_argument
from sam3_tvm.compiler.kernels.product.tile import HeldTile
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["conv_winograd_kernel", "conv_winograd_name"]


def conv_winograd_name(
    shape: ConvShape, epilogue: Epilogue, arithmetic: Arithmetic = FLOAT32
) -> str:
    """What a kernel of :func:`conv_winograd_kernel` is called."""
    return conv_name(shape, epilogue, arithmetic).replace("_", "_winograd_", 1)


def conv_winograd_kernel(
    target: CpuTarget, shape: ConvShape, epilogue: Epilogue, arithmetic: Arithmetic = FLOAT32
) -> Expr:
    """The PrimFunc ``(x [B, I, H, W], packed, [scale], [bias [O]], [residual], y [B, O, H', W'])``.

    The arguments are those of :func:`~sam3_tvm.compiler.kernels.conv.direct.conv_kernel`,
    ``packed`` included: ``[ceil(O / r), I * 9, r]``. B is symbolic.

    Raises:
        ValueError: a kernel that isn't 3 x 3, or a stride or dilation that isn't 1.
    """
    if shape.kernel != (TAPS, TAPS) or not shape.dense:
        raise ValueError(f"not a 3 x 3 convolution of stride and dilation 1: {shape}")
    plan = plan_winograd(target, shape)
    rows, layout = plan.tile.rows, conv_layout(target, arithmetic)
    with kernel(conv_winograd_name(shape, epilogue, arithmetic)) as made:
        batch = size_var("batch")
        x = tensor("x", (batch, shape.in_channels, shape.height, shape.width))
        weight = layout.argument("weight", shape.out_channels, shape.in_channels * shape.taps)
        scale = scale_argument(arithmetic.weights, layout.rows(shape.out_channels))
        out_shape = (batch, shape.out_channels, shape.out_height, shape.out_width)
        bias, residual = epilogue.arguments(shape.out_channels, out_shape)
        y = tensor("y", out_shape)

        filters = scratch(POINTS * plan.weight_stride)
        _transform_weights(plan, weight, scale, filters)
        per_image = plan.blocks * plan.splits
        with parallel(batch * as_index(per_image)) as task:
            image = bind(task // as_index(per_image))
            block = task % as_index(per_image) // as_index(plan.splits)
            panel0 = bind(task % as_index(plan.splits) * as_index(plan.task_panels))
            panels = bind(tirx.min(as_index(plan.task_panels), as_index(plan.panels) - panel0))
            run = Run(plan, image, bind(block * as_index(plan.block)))
            inputs = scratch(POINTS * plan.input_stride)
            products = scratch(POINTS * plan.product_stride)
            lines = scratch(INPUTS * plan.line)

            def write(channel: Expr, row: Expr, column: Expr, sums: Expr, lanes: int) -> None:
                where = (image, channel, row, column)
                shift = None if bias is None else load(bias, channel)
                other = None if residual is None else load(residual, *where, lanes=lanes)
                value = epilogue.apply(sums, lanes, bias=spread(shift, lanes), residual=other)
                store(y, value, *where, lanes=lanes)

            transform_inputs(plan, run, x, inputs, lines)
            with loop(ceil_div(panels, plan.chunk)) as c:
                start = bind(panel0 + c * as_index(plan.chunk))
                count = bind(tirx.min(as_index(plan.chunk), panel0 + panels - start))
                _multiply(plan, run, start, count, filters, inputs, products)
                channel = bind(start * as_index(rows))
                real = as_index(shape.out_channels) - channel
                channels = bind(tirx.min(count * as_index(rows), real))
                transform_outputs(plan, run, channel, channels, products, lines, write)
    return made.func


def _transform_weights(plan: WinogradPlan, weight: Expr, scale: Expr | None, filters: Expr) -> None:
    """``filters[point, panel, channel, r] = (G g G^T)[point]``, lanes along r."""
    rows, channels = plan.tile.rows, plan.shape.in_channels
    with parallel(plan.panels) as panel, loop(channels) as k:
        taps = []
        for tap in range(TAPS * TAPS):
            step = k * as_index(TAPS * TAPS) + as_index(tap)
            value = load_wide(weight, panel, step, 0, lanes=rows)
            if scale is not None:
                value = value * load(scale, panel * as_index(rows), lanes=rows)
            taps.append(bind(value))
        across = [transform_taps(taps[TAPS * i : TAPS * (i + 1)], rows) for i in range(TAPS)]
        at = bind((panel * as_index(channels) + k) * as_index(rows))
        for j in range(INPUTS):
            for i, value in enumerate(transform_taps([row[j] for row in across], rows)):
                point = as_index((i * INPUTS + j) * plan.weight_stride)
                store(filters, value, at + point, lanes=rows)


def _multiply(
    plan: WinogradPlan,
    run: Run,
    panel0: Expr,
    panels: Expr,
    filters: Expr,
    inputs: Expr,
    products: Expr,
) -> None:
    """``products[point, c, tile] = sum over k of filters[point, c, k] * inputs[point, k, tile]``
    for the channels c of some panels."""
    tile, channels = plan.tile, plan.shape.in_channels
    with (
        loop(POINTS) as point,
        loop(panels) as p,
        loop(ceil_div(run.count, tile.columns)) as t,
    ):
        panel = (panel0 + p) * as_index(channels * tile.rows)
        left = bind(point * as_index(plan.weight_stride) + panel)
        column = bind(t * as_index(tile.columns))
        right = bind(point * as_index(plan.input_stride) + column)
        held = HeldTile(tile)
        held.clear()

        def scalar(r: int, k: Expr, left: Expr = left) -> Expr:
            return load(filters, left + k * as_index(tile.rows) + as_index(r))

        def vector(k: Expr, j: int, right: Expr = right) -> Expr:
            at = right + k * as_index(plan.block) + as_index(j * tile.lanes)
            return load(inputs, at, lanes=tile.lanes)

        held.accumulate(channels, a=scalar, b=vector)
        first = p * as_index(tile.rows * plan.block) + column
        to = bind(point * as_index(plan.product_stride) + first)

        def place(r: int, j: int, to: Expr = to) -> Expr:
            return to + as_index(r * plan.block + j * tile.lanes)

        held.store(lambda r, j, value: store(products, value, place(r, j), lanes=tile.lanes))
