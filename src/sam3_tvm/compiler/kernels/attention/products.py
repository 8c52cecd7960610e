"""The two products of an attention's block: scores of keys and queries, weights times values.

Both have queries across the lanes, [keys, words] x [words, queries] and [components, words of keys]
x [words of keys, queries]. Register tiles broadcast the left operand, and finish a score while it
is in a register. A matrix unit (:mod:`~sam3_tvm.compiler.kernels.product.matrix`) takes tiles of
both: values are stored transposed for it, panels are 32 queries, and the last words of a block are
whole tiles, in which keys past the end have values and weights of 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

from tvm import tirx

from sam3_tvm.compiler.kernels.attention.operands import Operand
from sam3_tvm.compiler.kernels.attention.packing import Packing
from sam3_tvm.compiler.kernels.emit import (
    Expr,
    as_index,
    bind,
    ceil_div,
    load,
    loop,
    splat,
    store,
)
from sam3_tvm.compiler.kernels.product.dot import Dot
from sam3_tvm.compiler.kernels.product.matrix import Matrix, Place
from sam3_tvm.compiler.kernels.product.tile import HeldTile, RegisterTile, wide_tile
from sam3_tvm.compiler.kernels.vector_math import transposed
from sam3_tvm.compiler.targets.cpu import CpuTarget
from sam3_tvm.compiler.targets.tiles import Tiles

__all__ = ["Products", "Workspace", "products_for"]

Finish = Callable[[Expr, int, Expr], Expr]


@dataclass(frozen=True)
class Workspace:
    """A task's scratch, flat.

    Attributes:
        queries: words, [panel, word, query].
        keys: words, [key, word].
        values: words of keys, as :meth:`Products.copy_values` leaves them.
        scores: [key, query] of a panel.
        weights: words of keys, [word, query] of a panel.
        scales: factor of each query's results in a panel.
        results: [panel, component, query].
    """

    queries: Expr
    keys: Expr
    values: Expr
    scores: Expr
    weights: Expr
    scales: Expr
    results: Expr


class Products(ABC):
    """Either way.

    Args:
        dot: the instruction.
        tile: the columns of a panel, and the rows of what is made at once.
        depth: words of a query.
        value_dim: components of a value.
    """

    def __init__(self, dot: Dot, tile: RegisterTile, depth: int, value_dim: int) -> None:
        self.dot = dot
        self.tile = tile
        self.depth = depth
        self.value_dim = value_dim
        self.packing = Packing(dot, tile.lanes)

    @property
    def width(self) -> int:
        """Queries of a panel."""
        return self.tile.columns

    @property
    def block_unit(self) -> int:
        """What the keys of a block are a multiple of."""
        return self.tile.lanes

    def sizes(self, tiles: Tiles) -> tuple[int, int]:
        """Queries of a task and keys of a block, at most."""
        return tiles.task_queries, tiles.block_keys

    @abstractmethod
    def begin(self) -> None:
        """Emit what must precede a task's products."""

    @abstractmethod
    def end(self) -> None:
        """Emit what must follow them."""

    @abstractmethod
    def copy_values(self, to: Expr, operand: Operand, where: tuple[Expr, ...], block: int) -> None:
        """Values of some keys to scratch.

        Args:
            to: the workspace's.
            operand: the values.
            where: batch entry, head, first row and number of rows.
            block: keys of a block, at most.
        """

    @abstractmethod
    def scores(self, space: Workspace, panel: Expr, count: Expr, finish: Finish) -> None:
        """The scores of ``count`` keys and a panel: ``finish(key, j, vector)`` gives what is
        stored of vector j of a key's."""

    @abstractmethod
    def results(self, space: Workspace, panel: Expr, count: Expr, block: int) -> None:
        """Scale a panel's results and add weights times values of ``count`` keys."""

    def _rescaled(self, space: Workspace, at: Expr, j: int) -> Expr:
        scale = load(space.scales, j * self.tile.lanes, lanes=self.tile.lanes)
        return load(space.results, at, lanes=self.tile.lanes) * scale


class _ByVectors(Products):
    """Register tiles."""

    def begin(self) -> None:
        pass

    def end(self) -> None:
        pass

    def copy_values(self, to: Expr, operand: Operand, where: tuple[Expr, ...], block: int) -> None:
        self.packing.copy_values(to, operand, where, self.value_dim)

    def scores(self, space: Workspace, panel: Expr, count: Expr, finish: Finish) -> None:
        rows = self.tile.rows
        whole = bind(count // as_index(rows))
        with loop(whole) as t:
            self._score_tile(space, rows, panel, t * as_index(rows), finish)
        done = bind(whole * as_index(rows))
        with loop(count - done, done) as key:
            self._score_tile(space, 1, panel, key, finish)

    def _score_tile(
        self, space: Workspace, rows: int, panel: Expr, key0: Expr, finish: Finish
    ) -> None:
        """Scores of ``rows`` keys from key0 of the block on."""
        lanes, width = self.tile.lanes, self.width
        key0 = bind(key0)
        held = HeldTile(replace(self.tile, rows=rows), self.dot)
        held.clear()
        q_panel = bind(panel * as_index(self.depth * width))
        keys = bind(key0 * as_index(self.depth))
        held.accumulate(
            self.depth,
            a=lambda r, d: load(space.keys, keys + as_index(r * self.depth) + d),
            b=lambda d, j: load(
                space.queries, q_panel + d * as_index(width) + as_index(j * lanes), lanes=lanes
            ),
        )

        def write(r: int, j: int, score: Expr) -> None:
            key = key0 + as_index(r)
            at = key * as_index(width) + as_index(j * lanes)
            store(space.scores, finish(key, j, score), at, lanes=lanes)

        held.store(write)

    def results(self, space: Workspace, panel: Expr, count: Expr, block: int) -> None:
        rows = self.tile.rows
        with loop(self.value_dim // rows) as t:
            self._result_tile(space, rows, panel, t * as_index(rows), count)
        rest = self.value_dim % rows
        if rest:
            self._result_tile(space, rest, panel, as_index(self.value_dim - rest), count)

    def _result_tile(self, space: Workspace, rows: int, panel: Expr, d0: Expr, count: Expr) -> None:
        """Add to ``rows`` components of the panel's result."""
        lanes, width = self.tile.lanes, self.width
        d0 = bind(d0)
        base = bind((panel * as_index(self.value_dim) + d0) * as_index(width))
        held = HeldTile(replace(self.tile, rows=rows), self.dot)

        def at(r: int, j: int) -> Expr:
            return base + as_index(r * width + j * lanes)

        held.load(lambda r, j: self._rescaled(space, at(r, j), j))
        held.accumulate(
            bind(ceil_div(count, self.dot.pack)),
            a=lambda r, key: load(space.values, key * as_index(self.value_dim) + d0 + as_index(r)),
            b=lambda key, j: load(
                space.weights, key * as_index(width) + as_index(j * lanes), lanes=lanes
            ),
        )
        held.store(lambda r, j, value: store(space.results, value, at(r, j), lanes=lanes))


class _ByMatrix(Products):
    """Tiles of a matrix unit, of words of two."""

    def __init__(self, dot: Dot, matrix: Matrix, depth: int, value_dim: int, lanes: int) -> None:
        super().__init__(dot, RegisterTile(2 * matrix.side, 2, lanes), depth, value_dim)
        self.matrix = matrix

    @property
    def block_unit(self) -> int:
        return self.dot.pack * self.matrix.side

    def sizes(self, tiles: Tiles) -> tuple[int, int]:
        # Measured on a Xeon with AMX: 13 to 20 % faster than the sizes of register tiles, whose
        # scores would leave nothing of 48 KiB of L1 to the rest.
        return tiles.matrix_queries, tiles.matrix_keys

    def begin(self) -> None:
        self.matrix.begin()

    def end(self) -> None:
        self.matrix.end()

    def _words(self, count: Expr) -> Expr:
        """Words of so many keys, in whole tiles."""
        side = self.matrix.side
        return bind(ceil_div(count, self.dot.pack * side) * as_index(side))

    def copy_values(self, to: Expr, operand: Operand, where: tuple[Expr, ...], block: int) -> None:
        b, h, first, count = where
        side, stride = as_index(self.matrix.side), block // self.dot.pack
        pairs = self.dot.pairs
        assert pairs is not None
        last = bind(first + count - as_index(1))
        with loop(self._words(count) // side) as t, loop(as_index(self.value_dim) // side) as v:
            word, d = bind(t * side), bind(v * side)

            def value(index: int, word: Expr = word, d: Expr = d) -> Expr:
                row = bind(first + word * as_index(2) + as_index(index))
                there = operand.load(b, tirx.min(row, last), h, d, self.tile.lanes)
                return tirx.Select(row <= last, there, splat(0.0, self.tile.lanes))

            square = [
                bind(pairs.two(bind(value(2 * i)), bind(value(2 * i + 1)), self.tile.lanes))
                for i in range(self.matrix.side)
            ]
            for i, vector in enumerate(transposed(square, self.tile.lanes)):
                at = (d + as_index(i)) * as_index(stride) + word
                store(to, vector, at, lanes=self.tile.lanes)

    def scores(self, space: Workspace, panel: Expr, count: Expr, finish: Finish) -> None:
        tile, depth, width = self.tile, self.depth, self.width
        queries = Place(space.queries, (panel * as_index(depth * width),), 4 * width)
        with loop(ceil_div(count, tile.rows)) as t:
            key0 = bind(t * as_index(tile.rows))
            keys = Place(space.keys, (key0 * as_index(depth),), 4 * depth)
            made = Place(space.scores, (key0 * as_index(width),), 4 * width)
            self._multiply(tile.rows, made, keys, queries, as_index(depth), fresh=True)
            with loop(tirx.min(count - key0, as_index(tile.rows))) as r:
                key = bind(key0 + r)
                for j in range(tile.vectors):
                    at = bind(key * as_index(width) + as_index(j * tile.lanes))
                    score = bind(load(space.scores, at, lanes=tile.lanes))
                    finished = finish(key, j, score)
                    if finished is not score:
                        store(space.scores, finished, at, lanes=tile.lanes)

    def results(self, space: Workspace, panel: Expr, count: Expr, block: int) -> None:
        tile, width = self.tile, self.width
        words, written = self._words(count), bind(ceil_div(count, self.dot.pack))
        with loop(words - written, written) as word:
            for j in range(tile.vectors):
                zero = tirx.Broadcast(tirx.const(0, self.dot.word), tile.lanes)
                at = word * as_index(width) + as_index(j * tile.lanes)
                store(space.weights, zero, at, lanes=tile.lanes)
        weights = Place(space.weights, (as_index(0),), 4 * width)
        stride = block // self.dot.pack

        def of(rows: int, d0: Expr) -> None:
            base = bind((panel * as_index(self.value_dim) + d0) * as_index(width))
            with loop(rows) as r:
                for j in range(tile.vectors):
                    at = bind(base + r * as_index(width) + as_index(j * tile.lanes))
                    store(space.results, self._rescaled(space, at, j), at, lanes=tile.lanes)
            values = Place(space.values, (d0 * as_index(stride),), 4 * stride)
            made = Place(space.results, (base,), 4 * width)
            self._multiply(rows, made, values, weights, words, fresh=False)

        with loop(self.value_dim // tile.rows) as t:
            of(tile.rows, bind(t * as_index(tile.rows)))
        if rest := self.value_dim % tile.rows:
            of(rest, as_index(self.value_dim - rest))

    def _multiply(
        self, rows: int, c: Place, a: Place, b: Place, steps: Expr, *, fresh: bool
    ) -> None:
        self.matrix.multiply_add((rows, self.width), c, a, b, steps, tirx.const(fresh, "bool"))


def products_for(target: CpuTarget, dot: Dot, head_dim: int, value_dim: int) -> Products:
    """By a matrix unit where the instruction has one and heads are whole tiles of it."""
    depth = head_dim // dot.pack
    matrix = dot.by_matrix(depth).matrix
    if matrix is not None and dot.pairs is not None and value_dim % matrix.side == 0:
        return _ByMatrix(dot, matrix, depth, value_dim, target.lanes)
    return _ByVectors(dot.by_vectors, wide_tile(target), depth, value_dim)
