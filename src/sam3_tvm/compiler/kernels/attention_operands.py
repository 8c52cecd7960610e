"""How attention reads its operands and writes its result: addresses, copies, transpositions.

An operand is logically [B, L, H, D]: batch, rows (queries or keys), heads, components. A
:class:`Layout` says how it lies in memory, so that what surrounds an attention in a graph
(transpositions) costs no pass over memory: the kernel copies every row that it reads into
scratch anyway, and only the addresses differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from sam3_tvm.compiler.kernels.emit import (
    Expr,
    as_index,
    bind,
    load,
    loop,
    store,
    tensor,
)
from sam3_tvm.compiler.kernels.register_tile import RegisterTile
from sam3_tvm.compiler.kernels.vector_math import transposed

__all__ = ["Layout", "Operand", "copy_rows", "transpose_panel"]


@dataclass(frozen=True)
class Layout:
    """How a logical [B, L, H, D] lies in memory.

    Attributes:
        order: the axes in memory, a permutation of "BLHD" that ends in D.
    """

    order: str = "BLHD"

    def arrange(self, b: Expr, row: Expr, h: Expr | int, d: Expr | int) -> list[Expr | int]:
        """Indices, or sizes, in memory's order."""
        axes = {"B": b, "L": row, "H": h, "D": d}
        return [axes[axis] for axis in self.order]


class Operand:
    """The kernel's next tensor argument, addressed by its logical indices.

    Args:
        name: of the argument.
        layout: how it lies in memory.
        sizes: B, L, H and D.
    """

    def __init__(self, name: str, layout: Layout, *sizes: Expr | int) -> None:
        self.layout = layout
        self.buffer = tensor(name, tuple(layout.arrange(*sizes)))

    def load(self, b: Expr, row: Expr, h: Expr, d: Expr, lanes: int) -> Expr:
        """``lanes`` components from d on."""
        return load(self.buffer, *self.layout.arrange(b, row, h, d), lanes=lanes)

    def store(self, value: Expr, b: Expr, row: Expr, h: Expr, d: Expr, lanes: int) -> None:
        """The inverse of :meth:`load`."""
        store(self.buffer, value, *self.layout.arrange(b, row, h, d), lanes=lanes)


def copy_rows(
    to: Expr, operand: Operand, b: Expr, h: Expr, first: Expr, count: Expr, dim: int, lanes: int
) -> None:
    """``to[i * dim + d] = operand[b, first + i, h, d]`` for ``count`` rows."""
    lanes = math.gcd(dim, lanes)
    with loop(count) as i, loop(dim // lanes) as v:
        d = v * as_index(lanes)
        value = operand.load(b, first + i, h, d, lanes)
        store(to, value, i * as_index(dim) + d, lanes=lanes)


def transpose_panel(
    tile: RegisterTile,
    row: Callable[[Expr, Expr, int], Expr],
    columns: Expr | int,
    to: Expr,
    base: Expr,
) -> None:
    """``to[base + column * width + i] = row(i, column, 1)`` for the ``width`` rows i of a
    panel, ``lanes`` columns at a time where there are as many."""
    lanes, width = tile.lanes, as_index(tile.columns)
    step = as_index(lanes)
    blocks = bind(as_index(columns) // step)
    with loop(tile.vectors) as part:
        i0 = bind(part * step)
        with loop(blocks) as block:
            c0 = bind(block * step)
            square = [bind(row(i0 + as_index(i), c0, lanes)) for i in range(lanes)]
            for c, vector in enumerate(transposed(square, lanes)):
                store(to, vector, base + (c0 + as_index(c)) * width + i0, lanes=lanes)
        done = bind(blocks * step)
        with loop(as_index(columns) - done, done) as c, loop(lanes) as i:
            store(to, row(i0 + i, c, 1), base + c * width + i0 + i)
