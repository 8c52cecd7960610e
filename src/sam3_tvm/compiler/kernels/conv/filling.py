"""How a strip of a picture comes to scratch: rows within their border, or im2col rows."""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx

from sam3_tvm.compiler.kernels.conv.matrix_strips import MatrixPlan
from sam3_tvm.compiler.kernels.conv.shape import ConvShape
from sam3_tvm.compiler.kernels.conv.strips import StripPlan
from sam3_tvm.compiler.kernels.emit import (
    Expr,
    as_index,
    bind,
    load,
    loop,
    splat,
    store,
    vectors,
    when,
)

__all__ = ["fill_im2col", "fill_rows"]


def fill_rows(
    shape: ConvShape,
    plan: StripPlan | MatrixPlan,
    x: Expr,
    image: Expr,
    k0: Expr,
    count: Expr,
    row0: Expr,
    rows: Expr,
    inputs: Expr,
) -> None:
    """Rows of channels k0 and on, each with its padding, one after the other; of pairs of channels,
    words."""
    top, left, _, right = shape.padding
    lanes, dot = plan.lanes, plan.dot
    zero = tirx.const(0, dot.word)

    def value(image: Expr, k: Expr, row: Expr, column: Expr, lanes: int) -> Expr:
        if dot.pairs is None:
            return load(x, image, k, row, column, lanes=lanes)
        first = bind(k * as_index(dot.pack))
        low, high = (load(x, image, first + as_index(i), row, column, lanes=lanes) for i in (0, 1))
        return dot.pairs.two(low, high, lanes)

    with loop(count) as k, loop(rows + as_index(shape.kernel[0] - 1)) as r:
        at = bind(plan.place(k, r))
        row = bind(row0 + r - as_index(top))

        def zeros(first: int, extent: int, at: Expr = at) -> None:
            for column, width in vectors(extent, lanes):
                store(inputs, splat(zero, width), at + as_index(first) + column, lanes=width)

        def copy(at: Expr = at, row: Expr = row, k: Expr = k) -> None:
            zeros(0, left, at)
            for column, width in vectors(shape.width, lanes):
                copied = value(image, k0 + k, row, column, width)
                store(inputs, copied, at + as_index(left) + column, lanes=width)
            zeros(left + shape.width, right, at)

        inside = tirx.all(row >= as_index(0), row < as_index(shape.height))
        if shape.padding[0] == shape.padding[2] == 0:
            copy()
        else:
            with when(inside):
                copy()
            with when(tirx.Not(inside)):
                zeros(0, plan.pitch)


def fill_im2col(
    shape: ConvShape,
    plan: StripPlan | MatrixPlan,
    x: Expr,
    image: Expr,
    k0: Expr,
    count: Expr,
    row0: Expr,
    rows: Expr,
    inputs: Expr,
) -> None:
    """For each (channel, tap) from k0 on, what it reads for every output pixel of the strip; of
    pairs of them, words, and zeros behind the last."""
    padded, dot = any(shape.padding), plan.dot
    all_words = shape.in_channels * shape.taps // dot.pack

    def copy(k: Expr) -> None:
        first = k * as_index(dot.pack)
        reads = [_tap_reader(shape, x, image, bind(first + as_index(i))) for i in range(dot.pack)]
        with loop(rows) as r:
            at = bind(plan.place(k - k0, r))
            # Where a tap can leave the picture, a pixel after the other.
            for column, lanes in vectors(plan.columns, 1 if padded else plan.lanes):
                values = [bind(read(row0 + r, column, lanes)) for read in reads]
                value = values[0]
                if dot.pairs is not None:
                    value = dot.pairs.two(values[0], values[1], lanes)
                store(inputs, value, at + column, lanes=lanes)

    def clear(k: Expr) -> None:
        with loop(rows) as r:
            at = bind(plan.place(k - k0, r))
            for column, lanes in vectors(plan.columns, plan.lanes):
                store(inputs, splat(tirx.const(0, dot.word), lanes), at + column, lanes=lanes)

    with loop(count) as step:
        k = bind(k0 + step)
        if plan.depth == all_words:
            copy(k)
        else:
            with when(k < as_index(all_words)):
                copy(k)
            with when(k >= as_index(all_words)):
                clear(k)


def _tap_reader(
    shape: ConvShape, x: Expr, image: Expr, k: Expr
) -> Callable[[Expr, Expr, int], Expr]:
    """``(row, column, lanes)`` of outputs, what the k-th (channel, tap) of them reads."""
    (top, left, _, _), kw = shape.padding, shape.kernel[1]
    channel, tap = bind(k // as_index(shape.taps)), bind(k % as_index(shape.taps))
    down = bind(tap // as_index(kw) * as_index(shape.dilation[0]) - as_index(top))
    across = bind(tap % as_index(kw) * as_index(shape.dilation[1]) - as_index(left))

    def read(out_row: Expr, out_column: Expr, lanes: int) -> Expr:
        row = bind(out_row * as_index(shape.stride[0]) + down)
        column = bind(out_column * as_index(shape.stride[1]) + across)
        if lanes > 1:
            return x[image, channel, row, tirx.Ramp(column, as_index(shape.stride[1]), lanes)]
        value = load(x, image, channel, row, column)
        if not any(shape.padding):
            return value
        inside = tirx.all(
            row >= as_index(0),
            row < as_index(shape.height),
            column >= as_index(0),
            column < as_index(shape.width),
        )
        return tirx.if_then_else(inside, value, tirx.const(0.0, "float32"))

    return read
