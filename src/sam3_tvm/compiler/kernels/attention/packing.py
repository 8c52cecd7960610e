"""How an attention keeps its operands in scratch for the instruction that multiplies them.

Both products of attention sum over what lies along a word: components of a query and a key, then
keys. With float32 a word is a value, and all is copied as it is. With pairs of bfloat16 (see
:mod:`~sam3_tvm.compiler.kernels.product.bfloat16`)

- queries and keys are words of neighbouring components, rounded as they are copied;
- values are words of two keys, component by component;
- weights of the softmax are words of two keys, query by query: two vectors of exponentials make one
  of words. Their float32 sums are taken before they are rounded.

Of an odd number of keys the last word has a zero for the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from sam3_tvm.compiler.kernels.attention.operands import Operand
from sam3_tvm.compiler.kernels.emit import Expr, as_index, bind, loop, splat, store, when
from sam3_tvm.compiler.kernels.product.bfloat16 import Pairs
from sam3_tvm.compiler.kernels.product.dot import Dot

__all__ = ["Packing"]


@dataclass(frozen=True)
class Packing:
    """The copies of an attention's operands.

    Attributes:
        dot: the instruction of both products.
        lanes: of a vector.
    """

    dot: Dot
    lanes: int

    def words(self, values: Callable[[Expr, int], Expr], first: Expr, lanes: int) -> Expr:
        """``lanes`` words of a row from word ``first`` on; ``values(d, lanes)`` are its components
        from d on."""
        pairs = self.dot.pairs
        if pairs is None:
            return values(first, lanes)
        at = bind(first * as_index(2))
        return pairs.neighbours(values(at, lanes), values(at + as_index(lanes), lanes), lanes)

    def copy_keys(self, to: Expr, operand: Operand, where: tuple[Expr, ...], dim: int) -> None:
        """Rows of ``dim`` components as words, one row after the other.

        Args:
            to: flat scratch of words.
            operand: the keys.
            where: batch entry, head, first row and number of rows.
            dim: components, of whole words.
        """
        b, h, first, count = where
        words = dim // self.dot.pack
        lanes = math.gcd(words, self.lanes)
        with loop(count) as i, loop(words // lanes) as v:
            word, row = v * as_index(lanes), bind(first + i)

            def values(d: Expr, lanes: int, row: Expr = row) -> Expr:
                return operand.load(b, row, h, d, lanes)

            value = self.words(values, word, lanes)
            store(to, value, i * as_index(words) + word, lanes=lanes)

    def copy_values(self, to: Expr, operand: Operand, where: tuple[Expr, ...], dim: int) -> None:
        """As :meth:`copy_keys`, in words of two rows."""
        pairs = self.dot.pairs
        if pairs is None:
            self.copy_keys(to, operand, where, dim)
            return
        b, h, first, count = where
        lanes = math.gcd(dim, self.lanes)

        def copy(pair: Expr, high: bool) -> None:
            row = bind(first + pair * as_index(2))
            with loop(dim // lanes) as v:
                d = v * as_index(lanes)
                low = operand.load(b, row, h, d, lanes)
                other = operand.load(b, row + as_index(1), h, d, lanes) if high else None
                word = pairs.two(low, splat(0.0, lanes) if other is None else other, lanes)
                store(to, word, pair * as_index(dim) + d, lanes=lanes)

        _pairs_of(count, copy)

    def store_weights(
        self,
        to: Expr,
        count: Expr,
        width: int,
        weight: Callable[[Expr, int], Expr],
        add: Callable[[int, Expr], None],
    ) -> None:
        """The weights of ``count`` keys for a panel of ``width`` queries, as words.

        Args:
            to: flat scratch of words; of float32, the keys' rows ``width`` apart.
            count: keys.
            width: queries.
            weight: ``(key, j)`` gives vector j of a key's weights.
            add: ``(j, sums)`` adds float32 weights to the panel's sums.
        """
        pairs = self.dot.pairs
        vectors = range(width // self.lanes)
        if pairs is None:
            with loop(count) as key:
                for j in vectors:
                    value = bind(weight(key, j))
                    store(to, value, _at(key, width, j * self.lanes), lanes=self.lanes)
                    add(j, value)
            return

        def two(pair: Expr, high: bool, pairs: Pairs = pairs) -> None:
            key = bind(pair * as_index(2))
            for j in vectors:
                low = bind(weight(key, j))
                other = bind(weight(key + as_index(1), j)) if high else splat(0.0, self.lanes)
                word = pairs.two(low, other, self.lanes)
                store(to, word, _at(pair, width, j * self.lanes), lanes=self.lanes)
                add(j, low + other if high else low)

        _pairs_of(count, two)


def _at(row: Expr, width: int, column: int) -> Expr:
    return row * as_index(width) + as_index(column)


def _pairs_of(count: Expr, emit: Callable[[Expr, bool], None]) -> None:
    """``emit(pair, whole)`` for all pairs of ``count`` rows; the last may be half a one."""
    whole = bind(count // as_index(2))
    with loop(whole) as pair:
        emit(pair, True)
    with when(tirx.NE(whole * as_index(2), count)):
        emit(whole, False)
