"""One task of a blocked matrix product, shared by the linear and the matmul kernel.

C[rows, columns] of a task is built block by block along K (Goto and van de Geijn, "Anatomy of
High-Performance Matrix Multiplication", 2008):

    for each block of ``depth`` steps of K:
        copy A[rows, depth] to scratch
        for each panel of B[depth, tile columns]:
            for each tile of rows: the register tile, adding to C in scratch

What sits where, for 32 registers of 16 lanes and K, N of at least 256 (16 of 8 in brackets):

- registers: the 12 x 32 tile of C (6 x 16);
- L1: a panel of B, 256 x 32 values = 32 KiB (16 KiB), swept once per tile of rows, and a tile
  of A, 12 KiB (6); panels that do not quite fit stream from L2 at 5 (11) bytes a cycle, which
  its 32 bytes a cycle and the prefetchers serve;
- L2: the block of A and the chunk of C, 96 KiB each;
- L3 or memory: B, read once per 96 rows, which is 48 FLOP a byte: 2 GB/s per core at full
  speed.

Why A is copied although its rows are read as they are: rows of 1024 values lie 4096 bytes
apart, the way size of a 32 KiB 8-way L1, so all 12 rows of a tile would fight for the same
set. In scratch a row is ``depth`` + one vector apart. The copy also serves the rows past the
end of M. It costs one load and store per vector and 256 columns of work, 1 %.

What is lost, measured on one core of a Zen 4: with A's block and B's panels in L2 the tiles
reach 99 % of the FMA peak, in a layer 6 to 9 % less. 2 to 3 % of that is B's way from L3, which
prefetching the next panel, a share per tile of rows, hides.

Few rows: a phrase is 32, where B is read for 32 multiply-adds a value, 16 FLOP a byte: 7 GB/s per
core at full speed, from memory. Two things decide how near one gets. The rows that whole tiles
leave are a short tile, 12 + 12 + 8, where a third one of 12 would take 12 % longer. And
what tiles prefetch are runs, one after the other, that cover the panel however few the tiles
are: the CPU's own prefetchers follow them. Each tile taking some steps of every 16 left them no
stream to follow, and was slower than no prefetch at all. On one core of a Zen 4, B in memory,
K x N of 1024 x 3072 and 4096 x 1024: 102 to 106 GFLOP/s, 1.26 to 1.31 times as fast as with tiles
of 12 rows and steps of every 16.

Where a matrix unit multiplies (:mod:`~sam3_tvm.compiler.kernels.product.matrix`) the order is the
same, with tiles of 32 x 32 and blocks of its own sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tvm import tirx

from sam3_tvm.compiler.kernels.emit import (
    Expr,
    as_index,
    bind,
    ceil_div,
    fill,
    load,
    loop,
    scratch,
    store,
    when,
)
from sam3_tvm.compiler.kernels.product.dot import FMA, Dot
from sam3_tvm.compiler.kernels.product.matrix import Matrix, Place
from sam3_tvm.compiler.kernels.product.tile import (
    STEPS_AHEAD,
    RegisterTile,
    gemm_tile,
    short_tile,
    update_tile,
)
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["GemmBlocks", "copy_rows", "deep_blocks", "emit_task", "gemm_blocks", "task_rows"]


@dataclass(frozen=True)
class GemmBlocks:
    """How a product is cut: see the module's docstring.

    Attributes:
        tile: the register tile.
        rows: rows of C per task, a multiple of the tile's, at most.
        panels: panels of B (tile.columns wide) per task.
        depth: steps of K, a word each, per block, a multiple of the lanes.
        matrix: what makes a tile of 32 x 32 sums, instead of registers of vectors.
    """

    tile: RegisterTile
    rows: int
    panels: int
    depth: int
    matrix: Matrix | None = None

    @property
    def stride(self) -> int:
        """Distance of A's rows in scratch: one vector more than the depth (cache sets)."""
        return self.depth + self.tile.lanes

    @property
    def columns(self) -> int:
        """Columns of C per task."""
        return self.panels * self.tile.columns


def gemm_blocks(
    target: CpuTarget, columns: int | None, depth: int | None, dot: Dot = FMA
) -> GemmBlocks:
    """Blocks for a product with N = ``columns`` and K = ``depth`` words (None: symbolic).

    K is cut into equal blocks of at most 256 words, of pairs of bfloat16 at most 512: what a visit
    of C costs is felt more beside products of half the time (2 % of the ViT's layers on a Zen 4;
    nothing with float32, half a percent with bytes). A narrow N gets narrow tasks, so that a few
    hundred rows still make work for every core.
    """
    tile, tiles, matrix = gemm_tile(target), target.tiles, dot.by_matrix(depth).matrix
    most, wide = tiles.gemm_rows, tiles.gemm_columns
    deepest = tiles.gemm_depth * (1 if dot.pairs is None else 2)
    if matrix is not None:
        tile = replace(tile, rows=2 * matrix.side)
        most, wide, deepest = tiles.matrix_rows, tiles.matrix_columns, tiles.matrix_depth
    depth = deepest if depth is None else max(1, depth)
    per_block = _equal(depth, deepest, tile.lanes)
    if columns is not None and columns < 4 * wide:
        wide //= 2
    panels = max(1, wide // tile.columns)
    if columns is not None:
        panels = min(panels, -(-columns // tile.columns))
    rows = max(1, most // tile.rows) * tile.rows
    return GemmBlocks(tile, rows, panels, per_block, matrix)


def deep_blocks(blocks: GemmBlocks, depth: int) -> GemmBlocks:
    """The same blocks for tasks of one or two tiles of a matrix unit, four times as deep.

    Such tasks wait for B, and memory gives it fastest in long runs. On two cores of a Xeon with AMX
    a layer 1024 x 4096 of 32 rows reads its weights with 19.6 GB/s, of the 20 that there are; in
    blocks of 128 words 16.7.
    """
    deep = _equal(depth, 4 * blocks.depth, blocks.tile.lanes)
    return replace(blocks, rows=2 * blocks.tile.rows, depth=deep)


def _equal(depth: int, most: int, unit: int) -> int:
    """Steps of equal blocks of at most ``most``, in whole units."""
    each = -(-depth // -(-depth // most))
    return -(-each // unit) * unit


def task_rows(m: Expr, most: int, unit: int) -> Expr:
    """Rows of each task but the last: as few blocks of rows as can be, and all nearly as tall.

    201 rows are 72 + 72 + 57 rather than 96 + 96 + 9, which two threads can't share.

    Args:
        m: rows of the product, an index expression, maybe 0.
        most: that a task takes, a multiple of ``unit``.
        unit: what the rows of a task are a multiple of.
    """
    blocks = tirx.max(ceil_div(m, most), as_index(1))
    each = (m + blocks - as_index(1)) // blocks
    return tirx.max(ceil_div(each, unit), as_index(1)) * as_index(unit)


def emit_task(
    blocks: GemmBlocks,
    *,
    rows: Expr,
    columns: Expr | int,
    first_column: Expr,
    depth: Expr | int,
    load_a: Callable[[Expr, Expr, int], Expr],
    panel: Callable[[Expr, Expr, Expr], Callable[[Expr, int], Expr]],
    write: Callable[[Expr, Expr, Expr, int], None],
    first_panel: Callable[[Expr, Expr, Expr], Callable[[Expr, int], Expr]] | None = None,
    prefetch_b: Callable[[Expr, Expr], None] | None = None,
    place_b: Callable[[Expr, Expr], Place] | None = None,
    dot: Dot = FMA,
) -> None:
    """Emit one task: C rows ``0 .. rows - 1`` of its block of at most ``blocks.rows``.

    Args:
        blocks: how the product is cut.
        rows: rows of C that exist in this block, at least 1.
        columns: N of the whole product.
        first_column: the task's first column, a multiple of ``blocks.columns``.
        depth: K.
        load_a: ``(row, k, lanes)``, a vector of A; the row is of this block and exists.
        panel: ``(column, k0, steps)`` makes the panel of B that starts at a column and a step
            readable (packing it if need be) and returns ``b(k, j)``, with k from k0 on.
        write: ``(row, column, value, lanes)`` stores what is made of one finished vector of C
            (past the last whole vector of a row: of one value).
        first_panel: as ``panel``, for the first tile of rows alone. Its ``b`` may emit stores to
            scratch that the ``b`` of ``panel`` reads: work on B that hides behind the
            multiply-adds of one tile instead of preceding all of them.
        prefetch_b: ``(column, k)`` prefetches step k of the panel that starts at a column;
            either may lie past the end.
        place_b: ``(column, k)``, where step k of the panel that starts at a column lies: what a
            matrix unit reads instead of ``panel``.
        dot: the instruction of a step; K and A are in its words.
    """
    tile, matrix = blocks.tile, blocks.matrix
    lanes, stride, width = tile.lanes, blocks.stride, tile.columns
    a_block = scratch(blocks.rows * stride, dot.word)
    c_block = scratch(blocks.rows * blocks.columns, dot.sum)
    tiles = bind(ceil_div(rows, tile.rows))
    # What whole tiles leave of the rows is a short one, where that is enough.
    short = short_tile(tile) if matrix is None else replace(tile, rows=matrix.side)
    whole = bind((tiles - as_index(1)) * as_index(tile.rows))
    is_short = bind(rows - whole <= as_index(short.rows))
    last_rows = tirx.Select(is_short, as_index(short.rows), as_index(tile.rows))
    # The tile that is swept first, alone: the short one, and any where the first widens.
    alone = [short] if first_panel is None else [short, tile]
    apart = bind(as_index(1) if first_panel else is_short.astype("int64"))
    panels = bind(
        tirx.min(as_index(blocks.panels), ceil_div(as_index(columns) - first_column, width))
    )

    def c_at(panel_index: Expr, row: Expr, vector: int) -> Expr:
        # Panel by panel, each row's vectors together: tiles are contiguous.
        return (panel_index * as_index(blocks.rows) + row) * as_index(width) + as_index(
            vector * lanes
        )

    # Tiles share the prefetching of the next panel, each a run of its steps.
    share = bind(ceil_div(as_index(STEPS_AHEAD), tiles))
    run = bind(as_index(ceil_div(blocks.depth, STEPS_AHEAD)) * share)
    if matrix is None:
        fill(c_block, 0, panels * as_index(blocks.rows * width), lanes)
    else:
        matrix.begin()
    with loop(ceil_div(depth, blocks.depth)) as block:
        k0 = bind(block * as_index(blocks.depth))
        k_after = bind(k0 + as_index(blocks.depth))
        steps = bind(tirx.min(as_index(blocks.depth), as_index(depth) - k0))
        copy_rows(a_block, stride, rows, whole + last_rows, k0, steps, lanes, load_a)
        # After the last panel: the next block's first, or the first of the next task's, which
        # mostly has the columns to the right.
        done = k_after >= as_index(depth)
        after = (
            bind(first_column + tirx.Select(done, as_index(blocks.columns), as_index(0))),
            bind(tirx.Select(done, as_index(0), k_after)),
        )
        with loop(panels) as p:
            column = bind(first_column + p * as_index(width))
            more = p + as_index(1) < panels
            next_column = bind(tirx.Select(more, column + as_index(width), after[0]))
            next_k = bind(tirx.Select(more, k0, after[1]))

            def sweep(
                shape: RegisterTile,
                t: Expr,
                row0: Expr,
                b: Callable[[Expr, int], Expr],
                p: Expr = p,
            ) -> None:
                if matrix is not None:
                    assert prefetch_b is not None
                    assert place_b is not None
                    with loop(run) as n:
                        prefetch_b(next_column, next_k + t * run + n)
                    c = Place(c_block, (c_at(p, row0, 0),), 4 * width)
                    a = Place(a_block, (row0 * as_index(stride),), 4 * stride)
                    b_at, fresh = place_b(column, k0), tirx.EQ(block, as_index(0))
                    matrix.multiply_add((shape.rows, width), c, a, b_at, steps, fresh)
                    return

                def ahead(k: Expr) -> None:
                    assert prefetch_b is not None
                    here = next_k + t * run + k // as_index(STEPS_AHEAD) * share
                    with loop(share) as n:
                        prefetch_b(next_column, here + n)

                update_tile(
                    shape,
                    c_block,
                    c_at(p, row0, 0),
                    a=a_block,
                    a_at=row0 * as_index(stride),
                    a_stride=stride,
                    steps=steps,
                    b=b,
                    ahead=None if prefetch_b is None else ahead,
                    dot=dot,
                )

            # A panel that is packed is made once, for all tiles.
            made = panel(column, k0, steps) if first_panel is None else None
            for last in alone:
                with when(is_short if last is short else tirx.Not(is_short)):
                    first = made or (first_panel or panel)(column, k0, steps)
                    sweep(last, as_index(0), whole, first)
            with loop(tiles - apart) as t:
                row0 = bind(t * as_index(tile.rows))
                sweep(tile, t + apart, row0, made or panel(column, k0, steps))

    if matrix is not None:
        matrix.end()
    with loop(rows) as r, loop(panels) as p:
        for j in range(tile.vectors):
            column = bind(first_column + p * as_index(width) + as_index(j * lanes))
            at = c_at(p, r, j)
            _write_vector(c_block, at, r, column, columns, width, lanes, write)


def copy_rows(
    a_block: Expr,
    stride: int,
    rows: Expr,
    padded_rows: Expr,
    k0: Expr,
    steps: Expr,
    lanes: int,
    load_a: Callable[[Expr, Expr, int], Expr],
) -> None:
    """A[rows, k0 .. k0 + steps] to scratch; rows past the end repeat the last one.

    Args:
        a_block: flat scratch.
        stride: distance of rows in it.
        rows: rows that exist, at least 1.
        padded_rows: rows to write.
        k0: the first step.
        steps: how many.
        lanes: values copied at once.
        load_a: ``(row, k, lanes)``, a vector of A.
    """
    with loop(padded_rows) as r:
        row = bind(tirx.min(r, rows - as_index(1)))
        full = bind(steps // as_index(lanes))
        with loop(full) as v:
            at = v * as_index(lanes)
            store(a_block, load_a(row, k0 + at, lanes), r * as_index(stride) + at, lanes=lanes)
        with loop(steps - full * as_index(lanes), full * as_index(lanes)) as k:
            store(a_block, load_a(row, k0 + k, 1), r * as_index(stride) + k)


def _write_vector(
    c_block: Expr,
    at: Expr,
    row: Expr,
    column: Expr,
    columns: Expr | int,
    width: int,
    lanes: int,
    write: Callable[[Expr, Expr, Expr, int], None],
) -> None:
    """Hand a vector of C to ``write``, value by value where it crosses the last column."""

    def whole() -> None:
        write(row, column, bind(load(c_block, at, lanes=lanes)), lanes)

    if isinstance(columns, int) and columns % width == 0:
        whole()
        return
    end = as_index(columns)
    with when(column + as_index(lanes) <= end):
        whole()
    if isinstance(columns, int) and columns % lanes == 0:
        return
    with (
        when(tirx.all(column < end, column + as_index(lanes) > end)),
        loop(end - column) as lane,
    ):
        write(row, column + lane, bind(load(c_block, at + lane)), 1)
