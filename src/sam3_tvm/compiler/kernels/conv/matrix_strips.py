"""The same product of weights and pixels as in :mod:`~sam3_tvm.compiler.kernels.conv.strips`, by a
matrix unit.

sums[o, q] = sum over (tap, k) of weight[o, tap, k] * input[k, q + offset(tap)]

C is [output channels, pixels], A the weights, B the pixels: words of two channels, as vectors take
them. Pixels need no place that a tile begins at, so a tap is an offset here, too, and a 3 x 3
filter nine products that add to the same sums.

Scratch. A task copies all words of its strip of rows, once, in half of L2. Words of a *line* of
pixels follow each other, then come those of the next line: a line is a row with its border, or
without borders as many rows as make whole tiles. Were lines within words, as vectors have them, the
128 rows of a panel of B would lie on as many pages, more than a CPU's first table of them holds.

Order. For each line, a chunk of output channels whose sums stay in a quarter of L2. For these the
reduction in blocks of 128 words (``tiles.matrix_depth``), a panel of B of 16 KiB. Three taps of a
row are summed in one visit, over 64 words: shifted by a pixel or two, tile rows cross into a third
and a fourth cache line, so that is 16 KiB again, and it stays in L1 for all channels of the chunk.
Weights stream from L2, and come from L3 once a line. Sums are written as soon as a chunk is done.

On a Xeon of family 6, model 167, two threads, bfloat16, with a bias:

    3 x 3, 256 to 256 channels, 288 x 288       47.8 ms  2050 GFLOP/s  (Winograd, float32: 103 ms)
    the same at 144 x 144, and at 72 x 72       11.3 and 3.0 ms        (128 words a visit: 13.8)
    transposed, 1024 to 512, 72 x 72            11.6 ms  1880 GFLOP/s  (vectors of pairs: 146)
    transposed, 512 to 256, 144 x 144           14.8 ms  1470 GFLOP/s  (123), writing 85 MB
    1 x 1, 1024 to 256, 72 x 72                  2.2 ms  1260 GFLOP/s  (15)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from sam3_tvm.compiler.kernels.conv.strips import skewed
from sam3_tvm.compiler.kernels.emit import (
    Expr,
    as_index,
    bind,
    ceil_div,
    loop,
    parallel,
    scratch,
    when,
)
from sam3_tvm.compiler.kernels.product.dot import Dot
from sam3_tvm.compiler.kernels.product.matrix import Matrix, Place
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["MatrixPlan", "emit_by_matrix", "longest_line", "plan_by_matrix"]

_PIXELS = 512
"""Pixels of a line that is several rows, at most."""


@dataclass(frozen=True)
class MatrixPlan:
    """How a product of ``channels`` x pixels is cut into tasks, where a matrix unit multiplies.

    Attributes:
        matrix: the unit.
        dot: its instruction.
        lanes: values of a vector.
        channels: of the output.
        depth: words of input channels, each with all taps: a whole number of the unit's steps.
        block: of these, how many are summed between two visits of the sums.
        taps: rows and columns of the filter.
        lines: rows of the picture in a line; 1 where taps have several rows.
        rows: of the picture, in a strip, whole lines; the last strip may have fewer.
        all_rows: of the picture.
        columns: pixels of a row that are wanted.
        pitch: pixels from a row to the next within a line, at least ``columns``.
        chunk: panels of output channels whose sums are held, whole groups.
        task_panels: panels of a task, whole groups.
        group: panels come in groups of this many, for which ``shift`` of :func:`emit_by_matrix`
            says where they read.
        reach: rows and pixels that this is further than a filter reads, at most.
    """

    matrix: Matrix
    dot: Dot
    lanes: int
    channels: int
    depth: int
    block: int
    taps: tuple[int, int]
    lines: int
    rows: int
    all_rows: int
    columns: int
    pitch: int
    chunk: int
    task_panels: int
    group: int = 1
    reach: tuple[int, int] = (0, 0)

    @property
    def strips(self) -> int:
        """Strips of a picture."""
        return -(-self.all_rows // self.rows)

    @property
    def panel(self) -> int:
        """Output channels of a panel, and pixels of a tile."""
        return 2 * self.matrix.side

    @property
    def panels(self) -> int:
        """Panels of output channels."""
        return -(-self.channels // self.panel)

    @property
    def splits(self) -> int:
        """Tasks that share a strip."""
        return -(-self.panels // self.task_panels)

    @property
    def line_pixels(self) -> int:
        """From the first to the last wanted pixel of a line, in whole tile registers."""
        pixels = (self.lines - 1) * self.pitch + self.columns
        return int(ceil_div(pixels, self.matrix.side)) * self.matrix.side

    @property
    def sums_stride(self) -> int:
        """From the sums of an output channel to those of the next."""
        return skewed(self.line_pixels, self.lanes)

    @property
    def word_stride(self) -> int:
        """From the pixels of a word to those of the next in a line of scratch."""
        reach = self.line_pixels + self.taps[1] - 1 + self.reach[1]
        return skewed(max(reach, self.lines * self.pitch), self.lanes)

    @property
    def line_stride(self) -> int:
        """From a line of scratch to the next."""
        return self.depth * self.word_stride

    @property
    def scratch_lines(self) -> int:
        """Lines of scratch of a strip."""
        return -(-self.rows // self.lines) + self.taps[0] - 1 + self.reach[0]

    def place(self, k: Expr, row: Expr) -> Expr:
        """Where the row of scratch starts that is row ``row`` of word ``k``."""
        line, rest = row // as_index(self.lines), row % as_index(self.lines)
        at = line * as_index(self.line_stride) + k * as_index(self.word_stride)
        return at + rest * as_index(self.pitch)


def longest_line(target: CpuTarget, depth: int) -> int:
    """Pixels of a line without a border of which ``depth`` words fit in half of L2, whole vectors
    (see :func:`~sam3_tvm.compiler.kernels.conv.strips.skewed`)."""
    vectors = target.l2_bytes // 2 // (4 * depth) // target.lanes
    return (vectors - (vectors % 2 == 0)) * target.lanes


def plan_by_matrix(
    target: CpuTarget,
    dot: Dot,
    channels: int,
    depth: int,
    taps: tuple[int, int],
    rows: int,
    columns: int,
    pitch: int,
    group: int = 1,
    reach: tuple[int, int] = (0, 0),
) -> MatrixPlan | None:
    """The cut of a product for a CPU; arguments are fields of :class:`MatrixPlan`, ``rows`` being
    those of the picture.

    Returns:
        None where ``dot`` has no matrix unit or ``depth`` are no whole steps of it, or where L2
        doesn't hold what a line of pixels needs.
    """
    matrix = dot.by_matrix(depth).matrix
    if matrix is None or min(rows, columns) < 1:
        return None
    groups = int(ceil_div(channels, 2 * matrix.side * group))
    # Shifted, a row of a tile is in twice as many cache lines.
    deepest = target.tiles.matrix_depth // (1 if taps[1] == 1 else 2)
    steps = max(1, min(depth, deepest) // matrix.side)

    def waste(lines: int) -> float:
        pixels = (lines - 1) * pitch + columns
        return -(-pixels // matrix.side) * matrix.side / (lines * columns)

    long = min(_PIXELS, longest_line(target, depth))
    tallest = 1 if taps[0] + reach[0] > 1 else max(1, min(rows, long // pitch))
    lines = min(range(tallest, 0, -1), key=waste)
    wanted = 4 * target.cores

    def plan(strip: int, chunk: int, task_groups: int) -> MatrixPlan:
        return MatrixPlan(
            matrix=matrix,
            dot=dot,
            lanes=target.lanes,
            channels=channels,
            depth=depth,
            block=steps * matrix.side,
            taps=taps,
            lines=lines,
            rows=strip * lines,
            all_rows=rows,
            columns=columns,
            pitch=pitch,
            chunk=chunk * group,
            task_panels=task_groups * group,
            group=group,
            reach=reach,
        )

    one = plan(1, 1, 1)
    # Pixels in half of L2, sums in a quarter of it.
    most = target.l2_bytes // 2 // (4 * one.line_stride) - (one.scratch_lines - 1)
    if most < 1:
        return None
    all_lines = int(ceil_div(rows, lines))
    # Every core should find several tasks.
    strip = min(most, max(1, all_lines // wanted))
    strips = int(ceil_div(all_lines, strip))
    held = 4 * one.panel * group * one.sums_stride
    chunks = int(ceil_div(groups, max(1, target.l2_bytes // 4 // held)))
    splits = min(groups, max(1, wanted // strips))
    task_groups = int(ceil_div(groups, splits))
    chunk = int(ceil_div(task_groups, int(ceil_div(chunks, splits))))
    return plan(int(ceil_div(all_lines, strips)), chunk, task_groups)


def emit_by_matrix(
    plan: MatrixPlan,
    batch: Expr,
    weight: Expr,
    *,
    fill: Callable[[Expr, Expr, Expr, Expr, Expr, Expr], None],
    write: Callable[[Expr, Expr, Expr, Expr, Expr, Expr], None],
    shift: Callable[[Expr], tuple[Expr, Expr]] | None = None,
) -> None:
    """Emit the parallel loop over tasks.

    Args:
        plan: the cut.
        batch: the symbolic batch.
        weight: packed weights.
        fill: ``(image, first k, count, first row, rows, scratch)`` copies ``count`` words of the
            reduction to scratch, where ``plan.place`` says.
        write: ``(image, channel, first row, rows, sums, at)`` stores one channel of a line,
            whose sums start at ``sums[at]``, rows ``plan.pitch`` apart.
        shift: how many rows and pixels behind the first of scratch the i-th panel of a group finds
            its own; by default none.
    """
    matrix, width = plan.matrix, plan.panel
    per_image = plan.strips * plan.splits
    with parallel(batch * as_index(per_image)) as task:
        image = bind(task // as_index(per_image))
        row0 = bind(task % as_index(per_image) // as_index(plan.splits) * as_index(plan.rows))
        first = bind(task % as_index(plan.splits) * as_index(plan.task_panels))
        rows = bind(tirx.min(as_index(plan.rows), as_index(plan.all_rows) - row0))
        end = bind(tirx.min(first + as_index(plan.task_panels), as_index(plan.panels)))
        inputs = scratch(plan.scratch_lines * plan.line_stride, plan.dot.word)
        sums = scratch(plan.chunk * width * plan.sums_stride)
        fill(image, as_index(0), as_index(plan.depth), row0, rows, inputs)
        matrix.begin()
        with loop(ceil_div(rows, plan.lines)) as line:
            done = bind(line * as_index(plan.lines))
            here = bind(tirx.min(as_index(plan.lines), rows - done))
            with loop(ceil_div(end - first, plan.chunk)) as c:
                panel0 = bind(first + c * as_index(plan.chunk))
                panels = bind(tirx.min(as_index(plan.chunk), end - panel0))
                _multiply(plan, weight, inputs, sums, line, here, panel0, panels, shift)
                with loop(panels * as_index(width)) as r:
                    channel = bind(panel0 * as_index(width) + r)
                    with when(channel < as_index(plan.channels)):
                        at = r * as_index(plan.sums_stride)
                        write(image, channel, row0 + done, here, sums, at)
        matrix.end()


def _multiply(
    plan: MatrixPlan,
    weight: Expr,
    inputs: Expr,
    sums: Expr,
    line: Expr,
    rows: Expr,
    panel0: Expr,
    panels: Expr,
    shift: Callable[[Expr], tuple[Expr, Expr]] | None,
) -> None:
    """The sums of a line's ``rows`` rows for some panels of output channels."""
    matrix, side, width = plan.matrix, plan.matrix.side, plan.panel
    down, across = plan.taps
    pixels = bind((rows - as_index(1)) * as_index(plan.pitch) + as_index(plan.columns))
    # What whole tiles leave is half a tile, where that is enough.
    whole = bind((pixels + as_index(side - 1)) // as_index(width))
    tile_bytes = 4 * width * side
    with loop(down) as tap, loop(ceil_div(plan.depth, plan.block)) as block:
        k0 = bind(block * as_index(plan.block))
        steps = bind(tirx.min(as_index(plan.block), as_index(plan.depth) - k0))
        step0 = bind((tap * as_index(across * plan.depth) + k0) // as_index(side))
        fresh = bind(tirx.all(tirx.EQ(tap, as_index(0)), tirx.EQ(block, as_index(0))))
        read = bind((line + tap) * as_index(plan.line_stride) + k0 * as_index(plan.word_stride))

        def sweep(first: Expr, columns: int) -> None:
            with loop(plan.group) as member, loop(panels // as_index(plan.group)) as g:
                p = bind(g * as_index(plan.group) + member)
                at = read + first
                if shift is not None:
                    lower, further = shift(member)
                    at = at + lower * as_index(plan.line_stride) + further
                row = p * as_index(width * plan.sums_stride)
                runs = (across, plan.depth // side * tile_bytes, 4)
                matrix.multiply_add(
                    (width, columns),
                    Place(sums, (row + first,), 4 * plan.sums_stride),
                    Place(weight, (panel0 + p, step0, as_index(0)), 4 * side, tile_bytes),
                    Place(inputs, (bind(at),), 4 * plan.word_stride),
                    steps,
                    fresh,
                    runs,
                )

        with loop(whole) as t:
            sweep(bind(t * as_index(width)), width)
        with when(pixels > whole * as_index(width)):
            sweep(bind(whole * as_index(width)), side)
