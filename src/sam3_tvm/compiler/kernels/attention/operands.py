"""How attention reads its operands and writes its result: addresses, copies, transpositions.

An operand is logically [B, L, H, D]: batch, rows (queries or keys), heads, components. A
:class:`Layout` says how it lies in memory, so that what surrounds an attention in a graph costs
no pass over memory: the kernel copies every row that it reads into scratch anyway, and only the
addresses differ. That covers

- transpositions: the axes in any order that ends in D;
- slots: queries, keys and values side by side in every row, as one product of all three
  projections leaves them;
- windows: rows of a map that a batch entry sees a rectangle of (Li et al., "Exploring Plain
  Vision Transformer Backbones for Object Detection", 2022), without being partitioned.

Rotary embedding (Su et al., "RoFormer", 2021) is applied to neighbouring components where
queries and keys are loaded: x' = x cos + swap(x) sin, where swap exchanges the two of a pair and
sin has its sign changed for the first of each. That is a shuffle, a product and a fused
multiply-add a vector, and 512 bytes of the table a row (64 components). Queries are loaded once,
keys once per task. With 5184 rows the table of 2.6 MB comes from L3, and rotation takes 4 % of
the attention (82.6 to 79.4 % of one core's FMA peak on Zen 4); separate operators had several
passes over memory instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from sam3_tvm.compiler.kernels.emit import (
    Expr,
    as_index,
    bind,
    load,
    loop,
    store,
    tensor,
)
from sam3_tvm.compiler.kernels.product.bfloat16 import Pairs, widened
from sam3_tvm.compiler.kernels.product.tile import RegisterTile
from sam3_tvm.compiler.kernels.vector_math import transposed

__all__ = ["Layout", "Operand", "Windows", "transpose_panel"]


@dataclass(frozen=True)
class Windows:
    """A map cut into ``down`` x ``across`` windows of ``height`` x ``width`` rows each.

    The logical batch counts windows, the last across fastest, image after image; the logical
    rows are a window's, row-major.
    """

    down: int
    across: int
    height: int
    width: int

    @property
    def count(self) -> int:
        """Windows of a map."""
        return self.down * self.across

    @property
    def size(self) -> int:
        """Rows of a window."""
        return self.height * self.width


@dataclass(frozen=True)
class Layout:
    """How a logical [B, L, H, D] lies in memory.

    Attributes:
        order: the axes in memory, a permutation of "BLHD" that ends in D.
        slots: how many arrays lie side by side, along an axis of their own before H.
        slot: which of them this one is.
        rounded: whether it is bfloat16 there, its bits as uint16, instead of float32.
        windows: None, or what B and L count; then order is "BLHD", and memory is
            [images, down, height, across, width, (slots,) H, D].
    """

    order: str = "BLHD"
    slots: int = 1
    slot: int = 0
    windows: Windows | None = None
    rounded: bool = False

    def __post_init__(self) -> None:
        if self.windows is not None and self.order != "BLHD":
            raise ValueError(f"windows in an array of order {self.order}, not BLHD")
        if not 0 <= self.slot < self.slots:
            raise ValueError(f"slot {self.slot} of {self.slots}")

    def shape(
        self, b: Expr | int, rows: Expr | int, h: Expr | int, d: Expr | int
    ) -> list[Expr | int]:
        """Memory's sizes, given the logical ones; of windows, b is the number of images and
        rows their height (a symbol, like the number of rows elsewhere)."""
        heads = [h] if self.slots == 1 else [self.slots, h]
        if (w := self.windows) is not None:
            return [b, w.down, rows, w.across, w.width, *heads, d]
        axes: dict[str, list[Expr | int]] = {"B": [b], "L": [rows], "H": heads, "D": [d]}
        return [size for axis in self.order for size in axes[axis]]

    def indices(self, b: Expr, row: Expr, h: Expr, d: Expr) -> list[Expr | int]:
        """Where in memory an element is."""
        heads = [h] if self.slots == 1 else [self.slot, h]
        if (w := self.windows) is not None:
            count, across, width = map(as_index, (w.count, w.across, w.width))
            window = b % count
            place = [window // across, row // width, window % across, row % width]
            return [b // count, *place, *heads, d]
        axes: dict[str, list[Expr | int]] = {"B": [b], "L": [row], "H": heads, "D": [d]}
        return [index for axis in self.order for index in axes[axis]]


class Operand:
    """The kernel's next tensor argument, addressed by its logical indices.

    Args:
        name: of the argument.
        layout: how it lies in memory.
        pairs: how values are rounded, for one that is stored so.
        sizes: those that :meth:`Layout.shape` takes.
    """

    def __init__(self, name: str, layout: Layout, pairs: Pairs | None, *sizes: Expr | int) -> None:
        self.layout = layout
        self._pairs = pairs
        dtype = "uint16" if layout.rounded else "float32"
        self.buffer = tensor(name, tuple(layout.shape(*sizes)), dtype)
        self.rotary: Expr | None = None
        """None, or the table [L, 2, D] that rows are rotated by as they are loaded: for every
        row the cosines, then the sines, those of even components negated."""

    def load(self, b: Expr, row: Expr, h: Expr, d: Expr, lanes: int) -> Expr:
        """``lanes`` components from d on, rotated if there is a table; more than one begin at
        an even d."""
        value = self._stored(b, row, h, d, lanes)
        if self.rotary is None:
            return value
        value = bind(value)
        if lanes == 1:
            partner = d + as_index(1) - d % as_index(2) * as_index(2)
            swapped = self._stored(b, row, h, partner, 1)
        else:
            order = [tirx.const(i ^ 1, "int32") for i in range(lanes)]
            swapped = tirx.Shuffle([value], order)
        cosine, sine = (load(self.rotary, row, part, d, lanes=lanes) for part in (0, 1))
        return value * cosine + swapped * sine

    def store(self, value: Expr, b: Expr, row: Expr, h: Expr, d: Expr, lanes: int) -> None:
        """The inverse of :meth:`load`; never rotated."""
        if self.layout.rounded:
            assert self._pairs is not None
            value = self._pairs.halves(bind(value), lanes)
        store(self.buffer, value, *self.layout.indices(b, row, h, d), lanes=lanes)

    def _stored(self, b: Expr, row: Expr, h: Expr, d: Expr, lanes: int) -> Expr:
        value = load(self.buffer, *self.layout.indices(b, row, h, d), lanes=lanes)
        return widened(value, lanes) if self.layout.rounded else value


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
