"""A product of weights and pixels, cut into strips of a picture: the engine of convolutions.

sums[o, q] = sum over (k, tap) of weight[o, k, tap] * input[k, q + offset(tap)]

with vectors along the pixels q and the weights as the scalars that are broadcast. A task is a
strip of rows of one picture times a chunk of channels o. It copies the input rows k that it
needs to scratch, a block of them at a time, each as one flat run of rows ``pitch`` pixels apart,
and there a tap is a constant offset, whatever row a vector is in or crosses.

Registers. 8 channels x 3 vectors of pixels on 32 registers (28 used), 4 x 3 on 16: channel
counts are multiples of 8, so no row is wasted, which 12 x 2 would do (256 = 21.3 * 12). A step
does 24 multiply-adds for 3 vector loads and 8 broadcasts.

Bytes. Per block of channels (288 steps of the reduction: ``tiles.strip_steps`` of the target,
so that loading and storing a sum is one part in a hundred) and tile of pixels, scratch
holds 32 channels x 3 rows x 48 pixels around a 3 x 3 tile: 24 KiB, read from L2 once and from L1
by each of the panels of weights, 9 KiB each, which stream from L2. A strip of sums (channels
of a task x pixels of a strip) stays in L2 and is loaded and stored once per block of channels,
48 vectors for 6912 multiply-adds.

Weights stored in fewer bits (:mod:`~sam3_tvm.compiler.kernels.product.stored_weights`) are widened
once per task and block of channels, for all panels of the task, and swept over the strip's tiles of
pixels from there: from L2, as float32 weights are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tvm import tirx

from sam3_tvm.arithmetic import FLOAT32, Arithmetic
from sam3_tvm.compiler.kernels.emit import (
    Expr,
    as_index,
    bind,
    ceil_div,
    load,
    loop,
    parallel,
    scratch,
    store,
    when,
)
from sam3_tvm.compiler.kernels.product.dot import FMA, Dot
from sam3_tvm.compiler.kernels.product.layout import PackedLayout
from sam3_tvm.compiler.kernels.product.stored_weights import widen_panel
from sam3_tvm.compiler.kernels.product.tile import HeldTile, RegisterTile, wide_tile
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["StripPlan", "conv_layout", "emit_strips", "plan_strips", "skewed"]


@dataclass(frozen=True)
class StripPlan:
    """How a product of ``channels`` x pixels is cut into tasks: a strip of a picture's rows times a
    chunk of panels of output channels.

    Attributes:
        tile: the register tile; its rows are the output channels of a panel.
        channels: of the output.
        depth: channels of the input, each with all taps: what is summed over.
        block: of these, how many are in scratch at once.
        taps: rows and columns of the filter.
        rows: of the picture, in a strip; the last strip may have fewer.
        all_rows: of the picture.
        columns: pixels of a row that are wanted.
        pitch: pixels from a row to the next in scratch, at least ``columns``.
        chunk: panels of a task.
        dot: the instruction of a step. Where it multiplies pairs, two input channels are one of
            words, and all of the above count these.
        maps: runs of pixels that scratch holds of each input channel, ``map_stride`` apart.
        reach: how far behind its own pixels a panel reads, at most, besides what its taps do; see
            ``shift`` of :func:`emit_strips`.
        spare: values of scratch behind all that, for ``fill`` to use.
    """

    tile: RegisterTile
    channels: int
    depth: int
    block: int
    taps: tuple[int, int]
    rows: int
    all_rows: int
    columns: int
    pitch: int
    chunk: int
    dot: Dot = FMA
    maps: int = 1
    reach: int = 0
    spare: int = 0

    @property
    def strips(self) -> int:
        """Strips of a picture."""
        return -(-self.all_rows // self.rows)

    @property
    def panels(self) -> int:
        """Panels of output channels."""
        return -(-self.channels // self.tile.rows)

    @property
    def chunks(self) -> int:
        """Tasks that share a strip."""
        return -(-self.panels // self.chunk)

    @property
    def lanes(self) -> int:
        """Values of a vector."""
        return self.tile.lanes

    def place(self, k: Expr, row: Expr) -> Expr:
        """Where the row of scratch starts that is row ``row`` of input channel ``k``."""
        return k * as_index(self.input_stride) + row * as_index(self.pitch)

    def pixels(self, rows: Expr | int) -> Expr | int:
        """The run of pixels from the first to the last wanted one of some rows."""
        return (rows - 1) * self.pitch + self.columns

    @property
    def panel_block(self) -> int:
        """Weights of one panel in one block of the reduction."""
        return self.block * math.prod(self.taps) * self.tile.rows

    @property
    def tiles(self) -> int:
        """Register tiles along the pixels of a strip."""
        return int(ceil_div(self.pixels(self.rows), self.tile.columns))

    @property
    def sums_stride(self) -> int:
        """From the sums of an output channel to those of the next."""
        return skewed(self.tiles * self.tile.columns, self.tile.lanes)

    @property
    def map_stride(self) -> int:
        """From a run of pixels in scratch to the next."""
        reach = (self.taps[0] - 1) * self.pitch + self.taps[1] - 1 + self.reach
        return skewed(self.tiles * self.tile.columns + reach, self.tile.lanes)

    @property
    def input_stride(self) -> int:
        """From an input channel in scratch to the next."""
        return self.maps * self.map_stride


def skewed(extent: int, lanes: int) -> int:
    """At least ``extent``, whole vectors, and an odd number of them: rows that lie a power of
    two apart would fight for the same cache sets."""
    vectors = -(-extent // lanes)
    return (vectors | 1) * lanes


def plan_strips(
    target: CpuTarget,
    channels: int,
    depth: int,
    taps: tuple[int, int],
    rows: int,
    columns: int,
    pitch: int,
    dot: Dot = FMA,
) -> StripPlan:
    """The cut of a product for a CPU; arguments are fields of :class:`StripPlan`, ``rows`` being
    those of the picture."""
    tile = wide_tile(target)
    per_block = max(1, target.tiles.strip_steps // math.prod(taps))
    block = -(-depth // -(-depth // per_block))

    def waste(strip: int) -> float:
        pixels = (strip - 1) * pitch + columns
        return -(-pixels // tile.columns) * tile.columns / (strip * columns)

    # Strips of up to about 1024 pixels: their rows of 32 channels, and their sums, fit in L2.
    tallest = max(1, min(rows, 1024 // pitch))
    strip = min(range(tallest, 0, -1), key=waste)
    panels = -(-channels // tile.rows)
    # Every core should find several tasks, and the sums of one fit in half of L2.
    fits = target.l2_bytes // 2 // (4 * tile.rows * (strip * pitch + tile.columns))
    wanted = -(-4 * target.cores // -(-rows // strip))
    chunks = max(wanted, -(-panels // max(1, fits)))
    return StripPlan(
        tile=tile,
        channels=channels,
        depth=depth,
        block=block,
        taps=taps,
        rows=strip,
        all_rows=rows,
        columns=columns,
        pitch=pitch,
        chunk=max(1, -(-panels // chunks)),
        dot=dot,
    )


def conv_layout(
    target: CpuTarget, arithmetic: Arithmetic = FLOAT32, dot: Dot = FMA
) -> PackedLayout:
    """How a convolution's weights [O, I * taps] are packed: the output channels of a panel are the
    rows of the register tile, so that the scalars of a step lie in one cache line.

    For a matrix unit they are [O, taps * I], and a step of a panel is its 32 channels' next 16
    words: two whole tiles.
    """
    if dot.matrix is not None:
        side = dot.matrix.side
        return PackedLayout(2 * side, side * dot.pack, arithmetic.weights)
    return PackedLayout(wide_tile(target).rows, dot.pack, arithmetic.weights)


def emit_strips(
    plan: StripPlan,
    batch: Expr,
    weight: Expr,
    *,
    fill: Callable[[Expr, Expr, Expr, Expr, Expr, Expr], None],
    write: Callable[[Expr, Expr, Expr, Expr, Expr, Expr], None],
    group: int = 1,
    shift: Callable[[Expr], Expr] | None = None,
) -> None:
    """Emit the parallel loop over tasks.

    Args:
        plan: the cut.
        batch: the symbolic batch.
        weight: packed weights.
        fill: ``(image, first k, count, first row, rows, scratch)`` copies ``count`` rows of the
            reduction to scratch, ``plan.input_stride`` apart.
        write: ``(image, channel, first row, rows, sums, at)`` stores one channel of a strip,
            whose sums start at ``sums[at]``, rows ``plan.pitch`` apart.
        group: panels come in groups of this many, and chunks in whole groups.
        shift: how far behind the first pixel of scratch the i-th panel of a group finds its own;
            by default 0.
    """
    tile = plan.tile
    per_image = plan.strips * plan.chunks
    with parallel(batch * as_index(per_image)) as task:
        image = bind(task // as_index(per_image))
        row0 = bind(task % as_index(per_image) // as_index(plan.chunks) * as_index(plan.rows))
        panel0 = bind(task % as_index(plan.chunks) * as_index(plan.chunk))
        rows = bind(tirx.min(as_index(plan.rows), as_index(plan.all_rows) - row0))
        panels = bind(tirx.min(as_index(plan.chunk), as_index(plan.panels) - panel0))
        pixels = (rows - as_index(1)) * as_index(plan.pitch) + as_index(plan.columns)
        tiles = bind(ceil_div(pixels, tile.columns))
        inputs = scratch(plan.block * plan.input_stride + plan.spare, plan.dot.word)
        sums = scratch(plan.chunk * tile.rows * plan.sums_stride)
        in_place = plan.dot.pairs is not None or str(weight.dtype) == "float32"
        wide = None if in_place else scratch(plan.chunk * plan.panel_block)
        with loop(ceil_div(plan.depth, plan.block)) as block:
            k0 = bind(block * as_index(plan.block))
            count = bind(tirx.min(as_index(plan.block), as_index(plan.depth) - k0))
            fill(image, k0, count, row0, rows, inputs)
            taps = as_index(math.prod(plan.taps))
            if wide is not None:
                with loop(panels) as p:
                    widen_panel(
                        wide,
                        weight,
                        panel0 + p,
                        k0 * taps,
                        bind(count * taps),
                        width=tile.rows,
                        lanes=tile.rows,
                        at=p * as_index(plan.panel_block),
                    )
            # Panels that read the same pixels follow each other: those stay in L1.
            with (
                loop(tiles) as t,
                loop(group) as member,
                loop(panels // as_index(group) if group > 1 else panels) as g,
            ):
                p = g if group == 1 else bind(g * as_index(group) + member)
                first = t * as_index(tile.columns)
                at = bind(p * as_index(tile.rows * plan.sums_stride) + first)

                def factor(step: Expr, r: int, p: Expr = p) -> Expr:
                    where = (panel0 + p, k0 * taps + step)
                    if plan.dot.pairs is not None:
                        pair = load(weight, *where, r * plan.dot.pack, lanes=plan.dot.pack)
                        return tirx.reinterpret(plan.dot.word, pair)
                    if wide is None:
                        return load(weight, *where, r)
                    first = p * as_index(plan.panel_block) + step * as_index(tile.rows)
                    return load(wide, first + as_index(r))

                first = bind(first if shift is None else first + shift(member))
                _emit_tile(plan, factor, inputs, sums, block, count, first, at)
        with loop(panels * as_index(tile.rows)) as c:
            channel = bind(panel0 * as_index(tile.rows) + c)
            at = c * as_index(plan.sums_stride)
            if plan.channels % tile.rows == 0:
                write(image, channel, row0, rows, sums, at)
            else:
                with when(channel < as_index(plan.channels)):
                    write(image, channel, row0, rows, sums, at)


def _emit_tile(
    plan: StripPlan,
    factor: Callable[[Expr, int], Expr],
    inputs: Expr,
    sums: Expr,
    block: Expr,
    count: Expr,
    first: Expr,
    at: Expr,
) -> None:
    """One register tile over one block of the reduction, of the pixels from ``first`` on of
    each k; ``factor(step, row)`` is a weight."""
    tile, lanes = plan.tile, plan.tile.lanes
    held = HeldTile(tile, plan.dot)

    def where(r: int, j: int) -> Expr:
        return at + as_index(r * plan.sums_stride + j * lanes)

    def pixels(base: Expr, tap: int, j: int) -> Expr:
        return load(inputs, base + as_index(tap + j * lanes), lanes=lanes)

    with when(block == as_index(0)):
        held.clear()
    with when(block > as_index(0)):
        held.load(lambda r, j: load(sums, where(r, j), lanes=lanes))
    kh, kw = plan.taps
    with loop(count) as k, loop(kh) as row_tap:
        base = bind(first + k * as_index(plan.input_stride) + row_tap * as_index(plan.pitch))
        step = bind((k * as_index(kh) + row_tap) * as_index(kw))
        for tap in range(kw):
            held.step(partial(factor, step + as_index(tap)), partial(pixels, base, tap))
    held.store(lambda r, j, value: store(sums, value, where(r, j), lanes=lanes))
