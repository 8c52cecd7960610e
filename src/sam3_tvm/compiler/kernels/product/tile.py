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

from collections.abc import Callable
from dataclasses import dataclass, replace

from tvm import tirx

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
from sam3_tvm.compiler.kernels.product.dot import FMA, Dot
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = [
    "STEPS_AHEAD",
    "HeldTile",
    "RegisterTile",
    "gemm_tile",
    "short_tile",
    "update_tile",
    "wide_tile",
]


@dataclass(frozen=True)
class RegisterTile:
    """The shape of a tile: ``rows`` x (``vectors`` * ``lanes``) sums of 32 bits."""

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        """Sums in one row."""
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


class HeldTile:
    """The sums of a register tile while they are in registers: cleared or loaded, then stepped
    through a reduction, then stored.

    Args:
        tile: its shape.
        dot: the instruction of a step.
    """

    def __init__(self, tile: RegisterTile, dot: Dot = FMA) -> None:
        self.tile = tile
        self.dot = dot
        self._rows = accumulators(tile.rows, tile.vectors, tile.lanes, dot.sum)

    def clear(self) -> None:
        """Start at zero."""
        zero = splat(tirx.const(0, self.dot.sum), self.tile.lanes)
        self.load(lambda r, j: zero)

    def load(self, vector: Callable[[int, int], Expr]) -> None:
        """Start at ``vector(r, j)``, the sums of row r and vector j."""
        for r, row in enumerate(self._rows):
            for j in range(self.tile.vectors):
                store(row, vector(r, j), j)

    def store(self, write: Callable[[int, int, Expr], None]) -> None:
        """Hand the sums out: ``write(r, j, vector)``."""
        for r, row in enumerate(self._rows):
            for j in range(self.tile.vectors):
                write(r, j, row[as_index(j)])

    def step(self, a: Callable[[int], Expr], b: Callable[[int], Expr]) -> None:
        """``sums[r, j] += a(r) * b(j)``, of a scalar word of A and a vector of words of B."""
        right = [bind(b(j)) for j in range(self.tile.vectors)]
        for r, row in enumerate(self._rows):
            left = bind(splat(a(r), self.tile.lanes))
            for j in range(self.tile.vectors):
                store(row, self.dot.multiply_add(row[as_index(j)], left, right[j]), j)

    def accumulate(
        self,
        extent: Expr | int,
        *,
        a: Callable[[int, Expr], Expr],
        b: Callable[[Expr, int], Expr],
        ahead: Callable[[Expr], None] | None = None,
    ) -> None:
        """Steps for k in ``0 .. extent - 1``.

        Args:
            extent: words of the reduction; may be symbolic or zero.
            a: ``(r, k)``, the scalar of row r.
            b: ``(k, j)``, the vector j.
            ahead: emits prefetches, given k, before every 16th step of those that are followed by
                15 more.
        """

        def step(k: Expr) -> None:
            self.step(lambda r: a(r, k), lambda j: b(k, j))

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
    dot: Dot = FMA,
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
        b, ahead: as in :meth:`HeldTile.accumulate`.
        dot: the instruction of a step.
    """
    # Named starts: the vectors of the tile are then constant distances from one address, and
    # LLVM doesn't compute, and spill, an address for each.
    c_at, a_at = bind(c_at), bind(a_at)
    held = HeldTile(tile, dot)

    def place(r: int, j: int) -> Expr:
        return c_at + as_index(r * tile.columns + j * tile.lanes)

    held.load(lambda r, j: load(c, place(r, j), lanes=tile.lanes))
    held.accumulate(
        steps, a=lambda r, k: load(a, a_at + as_index(r * a_stride) + k), b=b, ahead=ahead
    )
    held.store(lambda r, j, sums: store(c, sums, place(r, j), lanes=tile.lanes))
