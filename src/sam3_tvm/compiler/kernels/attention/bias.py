"""What attention adds to its scores: by key, by query and key, or separable.

The kernel's softmax is in powers of two (see
:mod:`~sam3_tvm.compiler.kernels.vector_math`), so a bias is multiplied by log2(e) where it is
prepared. The lowest floats stay as they are: multiplied they would become -inf, and a row of the
lowest float averages its values where a row of -inf gives zeros.

Scores are [key, query] in scratch, queries across the lanes. Each kind of bias is prepared as
seldom as it can be, so that a score costs one load and one addition more:

- by key: once per block of keys, a scalar each, broadcast;
- by query and key: transposed per block and panel, half an operation per score;
- separable, rows[q, k // C] + columns[q, k % C] of a map with C columns, as SAM 3's box relative
  position bias is: the two tables are transposed once per task. For 201 queries on a map of
  72 x 72 they hold 144 values a query and head where the bias itself has 5184; made and read
  as an array, in float32 and 8 heads, that is 33 MB a layer. A score takes two loads and two
  additions, which the ports of the multiply-adds don't do.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from tvm import tirx

from sam3_tvm.compiler.kernels.attention.operands import transpose_panel
from sam3_tvm.compiler.kernels.emit import Expr, as_index, bind, load, loop, scratch, splat, store
from sam3_tvm.compiler.kernels.emit import tensor as argument
from sam3_tvm.compiler.kernels.product.tile import RegisterTile

__all__ = ["LOWEST", "Bias", "Separable", "Task", "Varying", "bias_name", "declare_bias"]

LOWEST = -3.4028234663852886e38
"""The lowest finite float32."""

Varying = tuple[bool, bool, bool, bool]
"""For each axis of [B, H, Lq, Lk] whether a bias varies along it; it has size 1 where not."""


@dataclass(frozen=True)
class Separable:
    """A bias of two tables, over keys that are a map's pixels, row by row.

    For query q >= ``first_query`` and key k it is ``down[b, q - first_query, k // columns, 0, h]
    + across[b, q - first_query, 0, k % columns, h]``; queries before have none. Lk is
    ``rows * columns``.

    Attributes:
        rows, columns: size of the map.
        first_query: queries without a bias, which come first.
    """

    rows: int
    columns: int
    first_query: int = 0


@dataclass(frozen=True)
class Task:
    """One head's queries from ``q0`` on, in panels of one register tile's width.

    Attributes:
        tile: the register tile.
        b, h: batch entry and head.
        q0: first query.
        lq: number of queries in all.
        panels: number of panels.
    """

    tile: RegisterTile
    b: Expr
    h: Expr
    q0: Expr
    lq: Expr
    panels: Expr


class Bias(ABC):
    """A kind of bias, as the kernel goes from task to block to panel to score."""

    #: Workspace of a panel that lasts the whole task, in values per query.
    per_query = 0

    def begin_task(self, task: Task, panels: int) -> None:
        """Take workspaces, for at most ``panels`` panels, and prepare what the task needs."""
        self.task = task

    @abstractmethod
    def begin_block(self, k0: Expr, count: Expr) -> None:
        """Prepare the ``count`` keys from k0 on, for all panels."""

    @abstractmethod
    def begin_panel(self, panel: Expr, k0: Expr, count: Expr) -> None:
        """The same for one panel."""

    @abstractmethod
    def vector(self, panel: Expr, k0: Expr, key: Expr, j: int) -> Expr:
        """What is added to the scores of the block's key ``key`` and the panel's vector ``j``."""


def bias_name(bias: Varying | Separable) -> str:
    """Its part of a kernel's name."""
    if isinstance(bias, Separable):
        skipped = f"_from_{bias.first_query}" if bias.first_query else ""
        return f"bias_{bias.rows}x{bias.columns}{skipped}"
    along = "".join(axis for axis, varies in zip("bhqk", bias, strict=True) if varies)
    return f"bias_{along}" if along else "bias"


def declare_bias(
    bias: Varying | Separable, batch: Expr, heads: int, lq: Expr, lk: Expr, block_keys: int
) -> Bias:
    """The kernel's next tensor arguments, one for a bias that varies along axes, two for a
    separable one.

    Args:
        bias: which kind.
        batch, heads, lq, lk: sizes of the scores.
        block_keys: keys of a block, at most.
    """
    if isinstance(bias, Separable):
        return _Separable(bias, batch, heads, lq)
    sizes = (batch, heads, lq, lk)
    shape = tuple(size if varies else 1 for size, varies in zip(sizes, bias, strict=True))
    kind = _ByQuery if bias[2] else _ByKey
    return kind(bias, argument("bias", shape), block_keys)


def _in_powers_of_two(value: Expr, lanes: int) -> Expr:
    """Times log2(e), unless that would overflow."""
    value = bind(value)
    low = value < splat(LOWEST * math.log(2), lanes)
    return tirx.Select(low, value, value * splat(math.log2(math.e), lanes))


class _Broadcast(Bias):
    """What biases that vary along axes have in common."""

    def __init__(self, varies: Varying, buffer: Expr, block_keys: int) -> None:
        self.varies = varies
        self.buffer = buffer
        self.block_keys = block_keys

    def at(self, query: Expr, key: Expr, lanes: int = 1) -> Expr:
        place = (self.task.b, self.task.h, query, key)
        indices = [i if varies else 0 for i, varies in zip(place, self.varies, strict=True)]
        return _in_powers_of_two(load(self.buffer, *indices, lanes=lanes), lanes)


class _ByKey(_Broadcast):
    """The same for every query."""

    def begin_task(self, task: Task, panels: int) -> None:
        super().begin_task(task, panels)
        self.keys = scratch(self.block_keys)

    def begin_block(self, k0: Expr, count: Expr) -> None:
        with loop(count) as key:
            store(self.keys, self.at(as_index(0), k0 + key), key)

    def begin_panel(self, panel: Expr, k0: Expr, count: Expr) -> None:
        pass

    def vector(self, panel: Expr, k0: Expr, key: Expr, j: int) -> Expr:
        return splat(load(self.keys, key), self.task.tile.lanes)


class _ByQuery(_Broadcast):
    """Varies by query, and by key or not."""

    def begin_task(self, task: Task, panels: int) -> None:
        super().begin_task(task, panels)
        self.transposed = scratch(self.block_keys * task.tile.columns)

    def begin_block(self, k0: Expr, count: Expr) -> None:
        pass

    def begin_panel(self, panel: Expr, k0: Expr, count: Expr) -> None:
        task = self.task

        def row(i: Expr, key: Expr, lanes: int) -> Expr:
            query = task.q0 + panel * as_index(task.tile.columns) + i
            query = tirx.min(query, task.lq - as_index(1))
            if self.varies[3]:
                return self.at(query, k0 + key, lanes)
            return splat(self.at(query, as_index(0)), lanes)

        transpose_panel(task.tile, row, count, self.transposed, as_index(0))

    def vector(self, panel: Expr, k0: Expr, key: Expr, j: int) -> Expr:
        tile = self.task.tile
        at = key * as_index(tile.columns) + as_index(j * tile.lanes)
        return load(self.transposed, at, lanes=tile.lanes)


class _Separable(Bias):
    """Rows plus columns: both tables transposed, [panel, row or column, query]."""

    def __init__(self, bias: Separable, batch: Expr, heads: int, lq: Expr) -> None:
        self.bias = bias
        self.per_query = bias.rows + bias.columns
        queries = lq - as_index(bias.first_query)
        self.sources = (
            argument("down", (batch, queries, bias.rows, 1, heads)),
            argument("across", (batch, queries, 1, bias.columns, heads)),
        )

    def begin_task(self, task: Task, panels: int) -> None:
        super().begin_task(task, panels)
        width = task.tile.columns
        self.tables = tuple(
            scratch(panels * size * width) for size in (self.bias.rows, self.bias.columns)
        )
        first = as_index(self.bias.first_query)
        with loop(task.panels) as panel, loop(width) as i:
            query = bind(tirx.min(task.q0 + panel * as_index(width) + i, task.lq - as_index(1)))
            source = bind(tirx.max(query - first, as_index(0)))
            self._copy(0, panel, i, query >= first, source)
            self._copy(1, panel, i, query >= first, source)

    def _copy(self, which: int, panel: Expr, i: Expr, biased: Expr, query: Expr) -> None:
        """One query's values of a table, to lane i of a panel."""
        task, width = self.task, as_index(self.task.tile.columns)
        size = self.bias.columns if which else self.bias.rows
        base = bind(panel * as_index(size) * width + i)
        with loop(size) as place:
            at = (0, place) if which else (place, 0)
            value = load(self.sources[which], task.b, query, *at, task.h)
            value = tirx.Select(biased, _in_powers_of_two(value, 1), splat(0.0, 1))
            store(self.tables[which], value, base + place * width)

    def begin_block(self, k0: Expr, count: Expr) -> None:
        pass

    def begin_panel(self, panel: Expr, k0: Expr, count: Expr) -> None:
        pass

    def vector(self, panel: Expr, k0: Expr, key: Expr, j: int) -> Expr:
        tile, bias = self.task.tile, self.bias
        columns, key = as_index(bias.columns), k0 + key
        values = [
            load(
                table,
                (panel * as_index(size) + place) * as_index(tile.columns)
                + as_index(j * tile.lanes),
                lanes=tile.lanes,
            )
            for table, size, place in (
                (self.tables[0], bias.rows, key // columns),
                (self.tables[1], bias.columns, key % columns),
            )
        ]
        return values[0] + values[1]
