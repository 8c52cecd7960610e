"""One task of a blocked product by one level of Strassen's algorithm.

Seven products of quarters instead of eight (Strassen, "Gaussian elimination is not optimal",
1969), inside one task of :mod:`~sam3_tvm.compiler.kernels.product.task`'s blocking, so that no sum
of quarters ever goes to memory (Huang, Smith, Henry and van de Geijn, "Strassen's Algorithm
Reloaded", 2016):

    M0 = (A11 + A22) (B11 + B22)   M3 = A22 (B21 - B11)           C11 = M0 + M3 - M4 + M6
    M1 = (A21 + A22) B11           M4 = (A11 + A12) B22           C12 = M2 + M4
    M2 = A11 (B12 - B22)           M5 = (A21 - A11) (B11 + B12)   C21 = M1 + M3
                                   M6 = (A12 - A22) (B21 + B22)   C22 = M0 - M1 + M2 + M5

    for each block of ``depth`` steps of K, halved:
        for each of the seven products:
            its sum of A's quarters, to scratch
            for each panel of its half of the columns:
                for each tile of rows: the register tile, adding to M in scratch;
                the first one reads B's quarters and leaves their sum in scratch
    C's quarters from the M's, through the epilogue

The seven M's are kept, not C: the depth blocks then add to 7 quarters where C's would be added to
12 times, and the register tile is that of the ordinary product. They are combined once.

Operations, for quarters of 96 rows, 128 columns and 256 steps, in vectors of 16 lanes: seven
products are 7 x 196608 multiply-adds, 196608 less than eight. A's sums take 12 loads and 7 stores
of 1536 vectors, where a copy takes 4 and 4: 16896 more, 9 % of what is saved. B's take 12 loads
and 7 stores of 2048 vectors, but hide behind the multiply-adds of one tile in eight, and so do
their additions, which have pipes of their own. Tiles of M are loaded and stored 7 times per 512
steps, those of C in the ordinary product, whose blocks have 256, 8 times. Winograd's variant has
4 sums instead of 5 on either side, but of up to 4 quarters, unless they are kept: 11 loads and 4
stores against 10 and 5.

What sits where: the M's, 336 KiB, the sum of A, 102 KiB, and A's quarters, 384 KiB, share L2;
B's come from L3 three times per task. What comes next (a share of the next panel's quarters and
of the next sum's rows, and the next tile of M) is prefetched every 16 steps. Measured on one core
of a Zen 4 against the ordinary product, K x N = 1024 x 4736: 6 to 10 % faster without the
prefetches, 11 to 17 % with them, of which 3 % are had by prefetching in the ordinary product as
well; 14 % with 4736 x 1024 and 1024 x 1024, 6 % with 256 x 2048; 27 % with AVX2 and 1024 x 1024.

Accuracy: the ordinary product's error is bounded element by element, by K u |A| |B|; Strassen's
only by the largest values of A and B, and one level triples that bound for large K (Higham,
"Accuracy and Stability of Numerical Algorithms", theorem 23.2). Measured on normally distributed
values, K = 1024: the largest error is 1.2 times the ordinary product's, the root mean square 1.4
times. int8 weights are summed before they are scaled, as integers, hence exactly. An infinite
value or NaN spoils the row half a task away as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from sam3_tvm.compiler.kernels.emit import (
    Expr,
    as_index,
    bind,
    ceil_div,
    fill,
    load,
    loop,
    prefetch,
    scratch,
    store,
)
from sam3_tvm.compiler.kernels.product.dot import FMA, Dot
from sam3_tvm.compiler.kernels.product.strassen_sums import (
    PRODUCTS,
    RESULTS,
    SIGNS,
    SUMS_OF_A,
    SUMS_OF_B,
    quarters_of,
    signed,
    when_sign,
)
from sam3_tvm.compiler.kernels.product.task import GemmBlocks, copy_rows
from sam3_tvm.compiler.kernels.product.tile import STEPS_AHEAD, gemm_tile, update_tile
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["emit_strassen_task", "fewest_rows", "strassen_blocks"]

_FEWEST_COLUMNS, _LEAST_DEPTH = 512, 256
_MIB = 1 << 20


def strassen_blocks(
    target: CpuTarget, columns: int, depth: int, dot: Dot = FMA
) -> GemmBlocks | None:
    """Blocks for a product with N = ``columns`` and K = ``depth`` words; None where the ordinary
    product is to be used: a small one, or one that can't be halved into whole panels and vectors.

    With N below 512 a few hundred rows would be too few tasks: 200 rows of 2048 x 256 are one
    task of 192 rows and one of 8.
    """
    tile = gemm_tile(target)
    if columns < _FEWEST_COLUMNS or depth < _LEAST_DEPTH:
        return None
    if columns % (2 * tile.columns) or depth % (2 * tile.lanes):
        return None
    wide = 256 if target.l2_bytes >= _MIB else 128
    # As many values of K, whatever a word has: with vpmaddwd on a Zen 3 that is 3 % faster than as
    # many words.
    per_block = -(-depth // -(-depth // (target.tiles.strassen_depth // dot.pack)))
    per_block = -(-per_block // (2 * tile.lanes)) * 2 * tile.lanes
    rows = max(1, target.tiles.strassen_rows // (2 * tile.rows)) * 2 * tile.rows
    return GemmBlocks(tile, rows, wide // tile.columns, per_block)


def fewest_rows(blocks: GemmBlocks) -> int:
    """A task with fewer rows is faster as an ordinary one: half its tiles, rounded up, are
    computed seven times, against all of them four times."""
    return blocks.rows // 2


@dataclass(frozen=True)
class _Task:
    """What the parts of one task share; the arguments of :func:`emit_strassen_task` have their
    names."""

    blocks: GemmBlocks
    last_row: Expr
    first_column: Expr
    tiles: Expr
    half_rows: Expr
    panels: Expr
    a_block: Expr
    b_panel: Expr
    products: Expr
    load_a: Callable[[Expr, Expr, int], Expr]
    load_b: Callable[[Expr], Callable[[Expr, int], Expr]]
    prefetch_a: Callable[[Expr, Expr], None]
    prefetch_b: Callable[[Expr, Expr], None]
    dot: Dot

    @property
    def half_columns(self) -> Expr:
        return self.panels * as_index(self.blocks.tile.columns)

    @property
    def stride(self) -> int:
        """Distance of A's rows in scratch: one vector more than the depth (cache sets)."""
        return self.blocks.depth // 2 + self.blocks.tile.lanes

    def at(self, product: Expr | int, panel: Expr, row: Expr) -> Expr:
        """Where a row of a panel of a product lies in scratch: tiles are contiguous."""
        rows = self.blocks.rows // 2
        size = rows * (self.blocks.columns // 2)
        inside = (panel * as_index(rows) + row) * as_index(self.blocks.tile.columns)
        return as_index(product) * as_index(size) + inside

    def panel_at(self, k: Expr, j: int) -> Expr:
        """Where vector j of step k lies in the panel of B in scratch."""
        tile = self.blocks.tile
        return k * as_index(tile.columns) + as_index(j * tile.lanes)

    def sum_a(self, i: Expr, places: list[tuple[Expr, Expr]], steps: Expr) -> None:
        """Sum ``i`` of A's quarters to scratch; rows past the end repeat the last one."""
        (row1, k1), (row2, k2) = places
        for sign in SIGNS:

            def value(r: Expr, k: Expr, lanes: int, sign: int = sign) -> Expr:
                return signed(
                    self.dot,
                    self.load_a(tirx.min(row1 + r, self.last_row), k1 + k, lanes),
                    sign,
                    lambda: self.load_a(tirx.min(row2 + r, self.last_row), k2 + k, lanes),
                )

            with when_sign(SUMS_OF_A, i, sign):
                copy_rows(
                    self.a_block,
                    self.stride,
                    self.half_rows,
                    self.half_rows,
                    as_index(0),
                    steps,
                    self.blocks.tile.lanes,
                    value,
                )

    def sweep_panel(
        self,
        i: Expr,
        p: Expr,
        places: list[tuple[Expr, Expr]],
        steps: Expr,
        ahead: Callable[[Expr, Expr], None],
    ) -> None:
        """Product ``i``'s panel ``p``: all tiles of rows; ``ahead(t, k)`` prefetches."""
        tile = self.blocks.tile
        left = bind(self.first_column + p * as_index(tile.columns))
        (column1, k1), (column2, k2) = places

        def sweep(t: Expr, b: Callable[[Expr, int], Expr]) -> None:
            row0 = bind(t * as_index(tile.rows))
            here = bind(self.at(i, p, row0))
            vectors = -(-tile.rows * tile.vectors * STEPS_AHEAD // (self.blocks.depth // 2))

            def next_things(k: Expr) -> None:
                ahead(t, k)
                done = k // as_index(STEPS_AHEAD) * as_index(vectors * tile.lanes)
                for n in range(vectors):
                    after = as_index(tile.rows * tile.columns + n * tile.lanes)
                    prefetch(self.products, here + done + after, level=1)

            update_tile(
                tile,
                self.products,
                here,
                a=self.a_block,
                a_at=row0 * as_index(self.stride),
                a_stride=self.stride,
                steps=steps,
                b=b,
                ahead=next_things,
                dot=self.dot,
            )

        for sign in SIGNS:
            with when_sign(SUMS_OF_B, i, sign):
                b1, b2 = self.load_b(bind(left + column1)), self.load_b(bind(left + column2))

                def summed(k: Expr, j: int, sign: int = sign, b1: Expr = b1, b2: Expr = b2) -> Expr:
                    value = bind(signed(self.dot, b1(k1 + k, j), sign, lambda: b2(k2 + k, j)))
                    store(self.b_panel, value, self.panel_at(k, j), lanes=tile.lanes)
                    return value

                sweep(as_index(0), summed)
        with loop(self.tiles - as_index(1), 1) as t:
            sweep(t, lambda k, j: load(self.b_panel, self.panel_at(k, j), lanes=tile.lanes))

    def prefetcher(
        self,
        p: Expr,
        next_a: list[tuple[Expr, Expr]],
        here_b: list[tuple[Expr, Expr]],
        next_b: list[tuple[Expr, Expr]],
    ) -> Callable[[Expr, Expr], None]:
        """``ahead(t, k)`` for panel ``p``: a share of the next panel of B (this product's, or the
        next one's first) and of the next sum's rows of A."""
        tile = self.blocks.tile
        tiles = self.blocks.rows // 2 // tile.rows
        steps_each = -(-STEPS_AHEAD // tiles)
        rows_each = -(-self.blocks.rows // self.blocks.panels // tiles)
        more = p + as_index(1) < self.panels
        panels = [
            (
                bind(
                    self.first_column
                    + tirx.Select(more, column + (p + as_index(1)) * as_index(tile.columns), then)
                ),
                bind(tirx.Select(more, k, then_k)),
            )
            for (column, k), (then, then_k) in zip(here_b, next_b, strict=True)
        ]

        def ahead(t: Expr, k: Expr) -> None:
            for column, start in panels:
                for n in range(steps_each):
                    self.prefetch_b(column, start + k + t * as_index(steps_each) + as_index(n))
            row0 = (p * as_index(tiles) + t) * as_index(rows_each)
            for row, start in next_a:
                for n in range(rows_each):
                    self.prefetch_a(row + row0 + as_index(n), start + k)

        return ahead


def emit_strassen_task(
    blocks: GemmBlocks,
    *,
    rows: Expr,
    first_column: Expr,
    columns: int,
    depth: int,
    load_a: Callable[[Expr, Expr, int], Expr],
    load_b: Callable[[Expr], Callable[[Expr, int], Expr]],
    prefetch_a: Callable[[Expr, Expr], None],
    prefetch_b: Callable[[Expr, Expr], None],
    write: Callable[[Expr, Expr, Expr, int], None],
    dot: Dot = FMA,
) -> None:
    """Emit one task, as :func:`~sam3_tvm.compiler.kernels.product.task.emit_task` does.

    Args:
        blocks: from :func:`strassen_blocks`.
        rows: rows of C that exist in this block, at least 1.
        first_column: the task's first column, a multiple of ``blocks.columns``.
        columns: N of the whole product.
        depth: K.
        load_a: ``(row, k, lanes)``, a vector of A; the row is of this block and exists.
        load_b: given a column, the first of a panel, returns ``b(k, j)``, vector j of its step k.
        prefetch_a: ``(row, k)`` prefetches one line of A; either may lie past the end.
        prefetch_b: ``(column, k)`` prefetches step k of a panel; either may lie past the end.
        write: as for the ordinary task.
        dot: the instruction of a step, of words whose sums are exact; K and A are in its words.
    """
    tile = blocks.tile
    half, per_half = blocks.rows // 2, blocks.columns // 2
    tiles = bind(ceil_div(rows, 2 * tile.rows))
    left_over = as_index(columns) - first_column
    task = _Task(
        blocks,
        last_row=bind(rows - as_index(1)),
        first_column=first_column,
        tiles=tiles,
        half_rows=bind(tiles * as_index(tile.rows)),
        panels=bind(tirx.min(as_index(blocks.columns), left_over) // as_index(2 * tile.columns)),
        a_block=scratch(half * (blocks.depth // 2 + tile.lanes), dot.word),
        b_panel=scratch(blocks.depth // 2 * tile.columns, dot.word),
        products=scratch(PRODUCTS * half * per_half, dot.sum),
        load_a=load_a,
        load_b=load_b,
        prefetch_a=prefetch_a,
        prefetch_b=prefetch_b,
        dot=dot,
    )
    fill(task.products, 0, as_index(PRODUCTS * half * per_half), tile.lanes)
    with loop(ceil_div(depth, blocks.depth)) as block:
        k0 = bind(block * as_index(blocks.depth))
        k_after = k0 + as_index(blocks.depth)
        # After the last block: that of the next task, which mostly has the same rows.
        k_after = bind(tirx.Select(k_after < as_index(depth), k_after, as_index(0)))
        steps = bind(tirx.min(as_index(blocks.depth), as_index(depth) - k0) // as_index(2))
        with loop(PRODUCTS) as i:
            next_i = bind((i + as_index(1)) % as_index(PRODUCTS))
            next_k0 = bind(tirx.Select(next_i > as_index(0), k0, k_after))
            a = quarters_of(SUMS_OF_A, i, 0, task.half_rows, k0, steps)
            next_a = quarters_of(SUMS_OF_A, next_i, 0, task.half_rows, next_k0, steps)
            b = quarters_of(SUMS_OF_B, i, 1, task.half_columns, k0, steps)
            next_b = quarters_of(SUMS_OF_B, next_i, 1, task.half_columns, next_k0, steps)
            task.sum_a(i, a, steps)
            with loop(task.panels) as p:
                task.sweep_panel(i, p, b, steps, task.prefetcher(p, next_a, b, next_b))
    _write_results(task, rows, write)


def _write_results(task: _Task, rows: Expr, write: Callable[[Expr, Expr, Expr, int], None]) -> None:
    """C's quarters from the products."""
    tile = task.blocks.tile
    for (lower, right), terms in RESULTS:
        top = task.half_rows if lower else as_index(0)
        left = task.first_column + task.half_columns if right else task.first_column
        with loop(tirx.min(task.half_rows, rows - top)) as r, loop(task.panels) as p:
            for j in range(tile.vectors):
                at = as_index(j * tile.lanes)
                values = [
                    load(task.products, task.at(product, p, r) + at, lanes=tile.lanes)
                    for _, product in terms
                ]
                value = values[0]
                for (sign, _), term in zip(terms[1:], values[1:], strict=True):
                    value = value + term if sign > 0 else value - term
                column = bind(left + p * as_index(tile.columns) + at)
                write(bind(r + top), column, bind(value), tile.lanes)
