"""Tiles of pictures to and from Winograd's domain.

A run of tiles is transformed channel by channel. Its rows of pixels are transformed down the
columns first, as they lie: every pixel once, although neighbouring tiles share two columns. Then
four vectors of pixels become the four columns of a vector of tiles, by shuffles; columns five and
six are the first two, moved by a tile. The way back is the same in reverse: across the columns
last, then four vectors of tiles are woven into a row of pixels, and what lies outside of the
picture isn't stored.

A run goes over the ends of rows of tiles, so that blocks are full whatever the picture's width.
Each row's part is transformed in whole vectors. What is too much lies where the next row's part
will be; that of the last row lies in the next channel, or behind the end.

Per input channel and vector of 16 tiles that is some 200 instructions beside the 9216
multiply-adds for 256 output channels, per output channel 150; more time goes into waiting for
L3, where the 36 lines stored live. Rows of x are short, and a channel away from each other, so
hardware sees no stream in them: they are prefetched two channels ahead (3 % of the whole).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tvm import tirx

from sam3_tvm.compiler.kernels.conv.winograd_matrices import (
    INPUTS,
    OUTPUTS,
    transform_input,
    transform_output,
)
from sam3_tvm.compiler.kernels.conv.winograd_plan import WinogradPlan
from sam3_tvm.compiler.kernels.emit import (
    Expr,
    as_index,
    bind,
    ceil_div,
    load,
    loop,
    prefetch,
    splat,
    store,
    when,
)

__all__ = ["Run", "transform_inputs", "transform_outputs"]

_HALO = INPUTS - OUTPUTS
_AHEAD = 2


class Run:
    """The tiles of a task: those of a picture from ``first`` on, up to ``plan.block``.

    Attributes:
        count: how many.
    """

    def __init__(self, plan: WinogradPlan, image: Expr, first: Expr) -> None:
        self.plan = plan
        self.image = image
        self.count = bind(tirx.min(as_index(plan.block), as_index(plan.tiles) - first))
        self._first = first
        self._row0 = bind(first // as_index(plan.across))
        last = first + self.count - as_index(1)
        self._rows = bind(last // as_index(plan.across) - self._row0 + as_index(1))

    def parts(self) -> Iterator[tuple[Expr, Expr, Expr, Expr]]:
        """A loop over rows of tiles: ``(row, first column, columns, place in the run)``."""
        across = as_index(self.plan.across)
        with loop(self._rows) as r:
            row = bind(self._row0 + r)
            start = bind(tirx.max(self._first, row * across))
            end = tirx.min(self._first + self.count, (row + as_index(1)) * across)
            yield row, bind(start - row * across), bind(end - start), bind(start - self._first)


def transform_inputs(plan: WinogradPlan, run: Run, x: Expr, inputs: Expr, lines: Expr) -> None:
    """Emit ``inputs[point, channel, tile]`` of a run; ``lines`` is scratch of 6 ``plan.line``."""
    shape, lanes = plan.shape, plan.tile.lanes
    with loop(shape.in_channels) as k:
        for row, column, count, place in run.parts():
            _prefetch_rows(plan, run.image, k + as_index(_AHEAD), row, column, count, x)
            _copy_rows(plan, run.image, k, row, column, count, x, lines)
            with loop(ceil_div(count * as_index(OUTPUTS) + as_index(_HALO), lanes)) as v:
                at = bind(v * as_index(lanes))
                down = [at + as_index(i * plan.line) for i in range(INPUTS)]
                d = [bind(load(lines, place_, lanes=lanes)) for place_ in down]
                for place_, value in zip(down, transform_input(d, lanes), strict=True):
                    store(lines, value, place_, lanes=lanes)
            with loop(ceil_div(count, lanes)) as v:
                to = bind(k * as_index(plan.block) + place + v * as_index(lanes))
                for i in range(INPUTS):
                    at = bind(v * as_index(OUTPUTS * lanes) + as_index(i * plan.line))
                    for j, value in enumerate(transform_input(_columns(lines, at, lanes), lanes)):
                        point = as_index((i * INPUTS + j) * plan.input_stride)
                        store(inputs, value, to + point, lanes=lanes)


def transform_outputs(
    plan: WinogradPlan,
    run: Run,
    channel0: Expr,
    channels: Expr,
    products: Expr,
    lines: Expr,
    write: Callable[[Expr, Expr, Expr, Expr, int], None],
) -> None:
    """Emit the 4 x 4 results of every tile of a run, for some channels.

    Args:
        plan: the cut.
        run: the tiles.
        channel0: the first channel.
        channels: how many.
        products: ``products[point, channel - channel0, tile]``.
        lines: scratch of 4 ``plan.line``.
        write: ``(channel, row, column, sums, lanes)`` stores ``lanes`` neighbouring results.
    """
    shape, lanes = plan.shape, plan.tile.lanes
    with loop(channels) as c:
        for row, column, count, place in run.parts():
            with loop(ceil_div(count, lanes)) as v:
                at = bind(c * as_index(plan.block) + place + v * as_index(lanes))
                down = [
                    transform_output(_point_column(plan, products, at, j), lanes)
                    for j in range(INPUTS)
                ]
                for i in range(OUTPUTS):
                    values = transform_output([values[i] for values in down], lanes)
                    to = bind(v * as_index(OUTPUTS * lanes) + as_index(i * plan.line))
                    for q, value in enumerate(_woven(values, lanes)):
                        store(lines, value, to + as_index(q * lanes), lanes=lanes)
            column0, row0 = bind(column * as_index(OUTPUTS)), bind(row * as_index(OUTPUTS))
            width = bind(tirx.min(count * as_index(OUTPUTS), as_index(shape.out_width) - column0))
            with loop(tirx.min(as_index(OUTPUTS), as_index(shape.out_height) - row0)) as i:
                for q, some in _vectors(width, lanes):
                    sums = load(lines, i * as_index(plan.line) + q, lanes=some)
                    write(channel0 + c, row0 + i, column0 + q, sums, some)


def _point_column(plan: WinogradPlan, products: Expr, at: Expr, j: int) -> list[Expr]:
    places = [as_index((i * INPUTS + j) * plan.product_stride) for i in range(INPUTS)]
    return [bind(load(products, at + place, lanes=plan.tile.lanes)) for place in places]


def _prefetch_rows(
    plan: WinogradPlan, image: Expr, k: Expr, row: Expr, column: Expr, count: Expr, x: Expr
) -> None:
    """Those that :func:`_copy_rows` will copy, as far as they are inside the picture."""
    shape = plan.shape
    channel = bind(tirx.min(k, as_index(shape.in_channels - 1)))
    tiles = max(1, 16 // OUTPUTS)  # in a cache line
    with loop(INPUTS) as i:
        y = row * as_index(OUTPUTS) + i - as_index(shape.padding[0])
        y = bind(tirx.max(as_index(0), tirx.min(y, as_index(shape.height - 1))))
        with loop(ceil_div(count, tiles)) as q:
            right = (column + q * as_index(tiles)) * as_index(OUTPUTS)
            prefetch(x, image, channel, y, tirx.min(right, as_index(shape.width - 1)))


def _copy_rows(
    plan: WinogradPlan,
    image: Expr,
    k: Expr,
    row: Expr,
    column: Expr,
    count: Expr,
    x: Expr,
    lines: Expr,
) -> None:
    """The six rows of a channel that a row of tiles sees, with zeros outside the picture."""
    shape, lanes = plan.shape, plan.tile.lanes
    top, left = shape.padding[:2]
    width = bind(count * as_index(OUTPUTS) + as_index(_HALO))
    start = bind(column * as_index(OUTPUTS) - as_index(left))
    low = bind(tirx.min(tirx.max(as_index(0), -start), width))
    high = bind(tirx.max(tirx.min(width, as_index(shape.width) - start), low))
    with loop(INPUTS) as i:
        at = bind(i * as_index(plan.line))
        y = bind(row * as_index(OUTPUTS) + i - as_index(top))
        inside = tirx.all(y >= as_index(0), y < as_index(shape.height))
        with when(inside):
            with loop(low) as q:
                store(lines, splat(0.0, 1), at + q)
            for q, some in _vectors(high - low, lanes):
                value = load(x, image, k, y, start + low + q, lanes=some)
                store(lines, value, at + low + q, lanes=some)
            with loop(width - high) as q:
                store(lines, splat(0.0, 1), at + high + q)
        with when(tirx.Not(inside)), loop(ceil_div(width, lanes)) as v:
            store(lines, splat(0.0, lanes), at + v * as_index(lanes), lanes=lanes)


def _vectors(extent: Expr, lanes: int) -> Iterator[tuple[Expr, int]]:
    """Loops over ``extent`` values: ``(first, lanes)``, in vectors, by fours, then one by one."""
    start = as_index(0)
    for width in dict.fromkeys((lanes, 4, 1)):
        whole = bind((extent - start) // as_index(width))
        with loop(whole) as v:
            yield bind(start + v * as_index(width)), width
        start = bind(start + whole * as_index(width))


def _shuffle(a: Expr, b: Expr, order: list[int]) -> Expr:
    """The lanes of a, then b, in an order."""
    return bind(tirx.Shuffle([a, b], [tirx.const(i, "int32") for i in order]))


def _columns(lines: Expr, at: Expr, lanes: int) -> list[Expr]:
    """The six columns of ``lanes`` tiles whose first pixel is ``lines[at]``."""
    even, odd = list(range(0, 2 * lanes, 2)), list(range(1, 2 * lanes, 2))
    a, b, c, d = (bind(load(lines, at + as_index(q * lanes), lanes=lanes)) for q in range(OUTPUTS))
    evens = _shuffle(a, b, even), _shuffle(c, d, even)
    odds = _shuffle(a, b, odd), _shuffle(c, d, odd)
    columns = [
        _shuffle(*evens, even),
        _shuffle(*odds, even),
        _shuffle(*evens, odd),
        _shuffle(*odds, odd),
    ]
    for j in range(_HALO):
        after = splat(load(lines, at + as_index(OUTPUTS * lanes + j)), lanes)
        columns.append(_shuffle(columns[j], after, list(range(1, lanes + 1))))
    return columns


def _woven(columns: list[Expr], lanes: int) -> list[Expr]:
    """Four columns of ``lanes`` tiles as vectors of neighbouring pixels."""
    low = [i + side for i in range(lanes // 2) for side in (0, lanes)]
    high = [i + lanes // 2 for i in low]
    a, b, c, d = columns
    pixels = []
    for order in (low, high):
        even, odd = _shuffle(a, c, order), _shuffle(b, d, order)
        pixels += [_shuffle(even, odd, low), _shuffle(even, odd, high)]
    return pixels
