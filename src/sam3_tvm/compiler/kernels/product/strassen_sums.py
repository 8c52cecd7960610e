"""Which quarters Strassen's seven products take, and how a product is chosen at run time.

The formulas are in :mod:`~sam3_tvm.compiler.kernels.product.strassen`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sam3_tvm.compiler.kernels.emit import Expr, as_index, bind, when
from sam3_tvm.compiler.kernels.product.dot import Dot

__all__ = [
    "PRODUCTS",
    "RESULTS",
    "SIGNS",
    "SUMS_OF_A",
    "SUMS_OF_B",
    "QuarterSum",
    "quarters_of",
    "signed",
    "when_sign",
]


@dataclass(frozen=True)
class QuarterSum:
    """A quarter of a matrix, ``first``, plus ``sign`` (-1, 0 or 1) times ``second``.

    Quarters are (lower, right), each 0 or 1.
    """

    first: tuple[int, int]
    sign: int
    second: tuple[int, int]

    @classmethod
    def of(
        cls, first: tuple[int, int], sign: int = 0, second: tuple[int, int] | None = None
    ) -> QuarterSum:
        return cls(first, sign, second or first)


_11, _12, _21, _22 = (0, 0), (0, 1), (1, 0), (1, 1)
SUMS_OF_A = (
    QuarterSum.of(_11, 1, _22),
    QuarterSum.of(_21, 1, _22),
    QuarterSum.of(_11),
    QuarterSum.of(_22),
    QuarterSum.of(_11, 1, _12),
    QuarterSum.of(_21, -1, _11),
    QuarterSum.of(_12, -1, _22),
)
SUMS_OF_B = (
    QuarterSum.of(_11, 1, _22),
    QuarterSum.of(_11),
    QuarterSum.of(_12, -1, _22),
    QuarterSum.of(_21, -1, _11),
    QuarterSum.of(_22),
    QuarterSum.of(_11, 1, _12),
    QuarterSum.of(_21, 1, _22),
)
PRODUCTS = len(SUMS_OF_A)
#: A quarter of C as sums and differences of products, a positive one first.
RESULTS = (
    (_11, ((1, 0), (1, 3), (-1, 4), (1, 6))),
    (_12, ((1, 2), (1, 4))),
    (_21, ((1, 1), (1, 3))),
    (_22, ((1, 0), (-1, 1), (1, 2), (1, 5))),
)
SIGNS = (0, 1, -1)


def _bit(flags: Iterable[int], i: Expr) -> Expr:
    """``flags[i]``, 0 or 1, where ``i`` is known at run time only.

    The products are a loop, not unrolled: seven copies of everything would take TVM five times
    as long, and as many instructions.
    """
    bits = sum(flag << index for index, flag in enumerate(flags))
    return (as_index(bits) >> i) & as_index(1)


def when_sign(sums: Sequence[QuarterSum], i: Expr, sign: int) -> AbstractContextManager[None]:
    """Statements for those of the sums that have the sign."""
    return when(_bit((int(s.sign == sign) for s in sums), i) == as_index(1))


def quarters_of(
    sums: Sequence[QuarterSum], i: Expr, across: int, extent: Expr, k: Expr, steps: Expr
) -> list[tuple[Expr, Expr]]:
    """Where the two quarters of sum ``i`` start: across the reduction, and along it.

    Args:
        sums: those of A or of B.
        i: which.
        across: the axis of a quarter that is not reduced: 0 for A, 1 for B.
        extent: what the second half starts at, across.
        k: where the first half starts, along.
        steps: its length.
    """
    return [
        (
            bind(_bit((q[across] for q in quarters), i) * extent),
            bind(k + _bit((q[1 - across] for q in quarters), i) * steps),
        )
        for quarters in ([s.first for s in sums], [s.second for s in sums])
    ]


def signed(dot: Dot, first: Expr, sign: int, second: Callable[[], Expr]) -> Expr:
    """Words of ``first`` plus ``sign`` times ``second()``, which is asked for where it counts."""
    return dot.add(first, second(), sign) if sign else first
