"""Convolution of every channel by itself: a task is a channel of a picture.

There is no sum over channels, so nothing to share between them: a channel of the picture is copied
once into scratch, within a border of zeros, and each vector of outputs adds up the taps from there.
A load and a multiply-add a tap: x86's multiply-add takes the load as its operand, and two of both a
cycle are what a core does. For SAM 3's memory fuser, 7 x 7 over 72 x 72:

- registers: 4 rows x 3 vectors of sums and the broadcast weight of 16; with 32 registers 4 x 5 (of
  16 lanes, 72 columns are that many vectors);
- L1: the bordered channel, 78 x 80 values = 24 KiB, and four rows of results, which lie as whole
  vectors until they are stored as what they are.

Text encoders convolve 11 x 1 along 77 tokens; a row is 10 vectors, all of them in registers.
"""

from __future__ import annotations

from dataclasses import dataclass

from sam3_tvm.compiler.kernels.conv.shape import ConvShape
from sam3_tvm.compiler.kernels.emit import (
    Expr,
    accumulators,
    as_index,
    bind,
    ceil_div,
    fill,
    kernel,
    load,
    loop,
    parallel,
    scratch,
    size_var,
    splat,
    store,
    tensor,
    vectors,
    when,
)
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["depthwise_fits", "depthwise_kernel", "depthwise_name"]

_ROWS = 4
"""Rows of outputs that are summed together: as many share a broadcast weight."""


@dataclass(frozen=True)
class _Plan:
    """How a channel is cut.

    Attributes:
        rows, vectors: of outputs whose sums are in registers together.
        down, across: such blocks.
        pitch: values from a row of the bordered channel to the next.
        height: rows of the bordered channel.
        out_pitch: values from a row of results to the next.
    """

    rows: int
    vectors: int
    down: int
    across: int
    pitch: int
    height: int
    out_pitch: int


def _plan(target: CpuTarget, shape: ConvShape) -> _Plan:
    lanes, (tall, wide) = target.lanes, shape.kernel
    # The broadcast and, where a load is no operand, what is loaded want registers, too.
    sums = target.registers * 3 // 4
    rows = min(_ROWS, shape.out_height)
    whole = ceil_div(shape.out_width, lanes)
    across = ceil_div(whole, sums // rows)
    columns = ceil_div(whole, across)
    down, out_pitch = ceil_div(shape.out_height, rows), across * columns * lanes
    pitch = ceil_div(out_pitch + wide - 1, lanes) * lanes
    return _Plan(rows, columns, down, across, pitch, down * rows + tall - 1, out_pitch)


def depthwise_fits(target: CpuTarget, shape: ConvShape) -> bool:
    """Whether the kernel is made for a convolution: of stride 1, with a channel in half of L2."""
    if not shape.dense or min(shape.out_height, shape.out_width) < 1:
        return False
    plan = _plan(target, shape)
    return 8 * plan.pitch * plan.height <= target.l2_bytes


def depthwise_name(shape: ConvShape, with_bias: bool) -> str:
    """What a kernel of :func:`depthwise_kernel` is called."""
    tall, wide = shape.kernel
    name = f"depthwise{tall}x{wide}_{shape.in_channels}_{shape.out_height}x{shape.out_width}"
    return name + ("_bias" if with_bias else "")


def depthwise_kernel(target: CpuTarget, shape: ConvShape, with_bias: bool) -> Expr:
    """The PrimFunc ``(x [B, C, H, W], weight [C, taps], (bias [C]), y [B, C, OH, OW])``, all
    float32, B symbolic: ``torch.nn.functional.conv2d`` with as many groups as channels."""
    lanes, plan = target.lanes, _plan(target, shape)
    channels, (tall, wide) = shape.in_channels, shape.kernel
    top, left, *_ = shape.padding
    with kernel(depthwise_name(shape, with_bias)) as made:
        batch = size_var("batch")
        x = tensor("x", (batch, channels, shape.height, shape.width))
        weight = tensor("weight", (channels, shape.taps))
        bias = tensor("bias", (channels,)) if with_bias else None
        y = tensor("y", (batch, channels, shape.out_height, shape.out_width))
        with parallel(batch * as_index(channels)) as task:
            image, channel = bind(task // as_index(channels)), bind(task % as_index(channels))
            bordered = scratch(plan.height * plan.pitch)
            results = scratch(plan.rows * plan.out_pitch)
            fill(bordered, 0.0, as_index(plan.height * plan.pitch), lanes)
            with loop(shape.height) as row:
                base = bind((row + as_index(top)) * as_index(plan.pitch) + as_index(left))
                for column, width in vectors(shape.width, lanes):
                    value = load(x, image, channel, row, column, lanes=width)
                    store(bordered, value, base + column, lanes=width)
            start = splat(0.0 if bias is None else bind(load(bias, channel)), lanes)
            with loop(plan.down) as block:
                first = bind(block * as_index(plan.rows))
                with loop(plan.across) as strip:
                    column = bind(strip * as_index(plan.vectors * lanes))
                    sums = accumulators(plan.rows, plan.vectors, lanes)
                    for held in sums:
                        for j in range(plan.vectors):
                            store(held, start, j)
                    with loop(tall) as i, loop(wide) as k:
                        tap = bind(splat(load(weight, channel, i * as_index(wide) + k), lanes))
                        for r, held in enumerate(sums):
                            line = first + as_index(r) + i
                            at = bind(line * as_index(plan.pitch) + column + k)
                            for j in range(plan.vectors):
                                value = load(bordered, at + as_index(j * lanes), lanes=lanes)
                                store(held, held[as_index(j)] + tap * value, j)
                    for r, held in enumerate(sums):
                        for j in range(plan.vectors):
                            at = column + as_index(r * plan.out_pitch + j * lanes)
                            store(results, held[as_index(j)], at, lanes=lanes)
                with loop(plan.rows) as r, when(first + r < as_index(shape.out_height)):
                    for column, width in vectors(shape.out_width, lanes):
                        value = load(results, r * as_index(plan.out_pitch) + column, lanes=width)
                        store(y, value, image, channel, first + r, column, lanes=width)
    return made.func
