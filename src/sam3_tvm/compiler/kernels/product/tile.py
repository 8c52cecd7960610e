"""The innermost loop of every product: a tile of the result held in registers.

The tile has ``rows`` x ``vectors`` accumulators. A step along the reduction loads ``vectors``
vectors of B, broadcasts ``rows`` scalars of A and does ``rows * vectors`` fused multiply-adds.
Two limits shape it:

- registers: rows * vectors accumulators + vectors of B + one broadcast. One too many and
  LLVM spills inside the loop: on 16 registers a 6 x 2 tile reached 84 % of peak, 4 x 3 by the
  same count fits exactly, and 3 x 4 fell to half;
- loads: (rows + vectors) per rows * vectors FMAs. Cores do as many loads as FMAs a cycle, so
  anything with rows + vectors <= rows * vectors is bound by FMAs; a squarer tile leaves more
  room for address arithmetic and cache misses.

FMAs have a latency of 4 cycles on two pipes: 8 independent accumulators or more hide it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sam3_tvm.compiler.kernels.emit import (
    Expr,
    accumulators,
    as_index,
    bind,
    load,
    loop,
    splat,
    store,
)
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = [
    "STEPS_AHEAD",
    "RegisterTile",
    "gemm_tile",
    "multiply_accumulate",
    "short_tile",
    "update_tile",
    "wide_tile",
]


@dataclass(frozen=True)
class RegisterTile:
    """The shape of a tile: ``rows`` x (``vectors`` * ``lanes``) float32 values."""

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        """Values in one row."""
        return self.vectors * self.lanes


def gemm_tile(target: CpuTarget) -> RegisterTile:
    """The tile of long products: 12 x 2 vectors on 32 registers (27 used), 6 x 2 on 16 (15)."""
    return RegisterTile(12 if target.registers >= 32 else 6, 2, target.lanes)


def wide_tile(target: CpuTarget) -> RegisterTile:
    """A tile with fewer rows, for products whose row count is a multiple of 4 or 8 rather than
    of 12, such as a head size: 8 x 3 on 32 registers (28 used), 4 x 3 on 16 (all)."""
    return RegisterTile(8 if target.registers >= 32 else 4, 3, target.lanes)


def short_tile(tile: RegisterTile) -> RegisterTile:
    """Two thirds of the rows, 8 x 2 vectors or 4 x 2, for what whole tiles leave of a product's:
    32 rows are 12 + 12 + 8.

    One is enough: with half of that the accumulators would be too few for an FMA's latency, and
    so few rows are bound by reading weights.
    """
    return replace(tile, rows=-(-2 * tile.rows // 3))


STEPS_AHEAD = 16
"""Steps between two calls of ``ahead``: the values in a cache line."""


def multiply_accumulate(
    tile: Sequence[Expr],
    extent: Expr | int,
    *,
    vectors: int,
    lanes: int,
    a: Callable[[int, Expr], Expr],
    b: Callable[[Expr, int], Expr],
    ahead: Callable[[Expr], None] | None = None,
) -> None:
    """Emit ``tile[r][j] += a(r, k) * b(k, j)`` for k in ``0 .. extent - 1``.

    Args:
        tile: one accumulator buffer per row.
        extent: length of the reduction; may be symbolic or zero.
        vectors: vectors per row.
        lanes: float32 values per vector.
        a: the scalar of row r at step k.
        b: the vector j at step k.
        ahead: emits prefetches, given k, before every 16th step of those that are followed by
            15 more.
    """

    def step(k: Expr) -> None:
        right = [bind(b(k, j)) for j in range(vectors)]
        for r, row in enumerate(tile):
            left = bind(splat(a(r, k), lanes))
            for j in range(vectors):
                store(row, row[as_index(j)] + left * right[j], j)

    if ahead is None:
        with loop(extent) as k:
            step(k)
        return
    extent = as_index(extent)
    whole = bind(extent // as_index(STEPS_AHEAD) * as_index(STEPS_AHEAD))
    with loop(whole // as_index(STEPS_AHEAD)) as i:
        start = bind(i * as_index(STEPS_AHEAD))
        ahead(start)
        with loop(STEPS_AHEAD) as k:
            step(start + k)
    with loop(extent - whole, whole) as k:
        step(k)


def update_tile(
    tile: RegisterTile,
    c: Expr,
    c_at: Expr,
    *,
    a: Expr,
    a_at: Expr,
    a_stride: int,
    steps: Expr,
    b: Callable[[Expr, int], Expr],
    ahead: Callable[[Expr], None] | None = None,
) -> None:
    """Emit ``C += A B`` for one tile.

    Args:
        tile: its shape.
        c: flat scratch; the rows of the tile lie in it one after the other, from ``c_at``.
        c_at: where.
        a: flat scratch, rows of A ``a_stride`` apart, from ``a_at``.
        a_at: where.
        a_stride: distance of rows.
        steps: length of the reduction.
        b: as in :func:`multiply_accumulate`.
        ahead: as in :func:`multiply_accumulate`.
    """
    lanes = tile.lanes
    # Named starts: the vectors of the tile are then constant distances from one address, and
    # LLVM doesn't compute, and spill, an address for each.
    c_at, a_at = bind(c_at), bind(a_at)
    sums = accumulators(tile.rows, tile.vectors, lanes)
    places = [
        (row, j, c_at + as_index(r * tile.columns + j * lanes))
        for r, row in enumerate(sums)
        for j in range(tile.vectors)
    ]
    for row, j, at in places:
        store(row, load(c, at, lanes=lanes), j)
    multiply_accumulate(
        sums,
        steps,
        vectors=tile.vectors,
        lanes=lanes,
        a=lambda r, k: load(a, a_at + as_index(r * a_stride) + k),
        b=b,
        ahead=ahead,
    )
    for row, j, at in places:
        store(c, row[as_index(j)], at, lanes=lanes)
