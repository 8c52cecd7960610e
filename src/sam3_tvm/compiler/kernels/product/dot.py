"""What a product is made of: an instruction that multiplies words of two operands and adds.

A *word* is what is broadcast of A and loaded of B, one per lane of a vector register of sums. With
a fused multiply-add it is one float32. Instructions over narrower values take several neighbours
along K at once, packed into 32 bits: lanes, registers and tiles then stay as they are, and K is
counted in words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sam3_tvm.arithmetic import Arithmetic
from sam3_tvm.compiler.kernels.emit import Expr, ceil_div
from sam3_tvm.compiler.targets.cpu import CpuTarget, TargetError

__all__ = ["DOTS", "FMA", "Dot", "dot_for"]


@dataclass(frozen=True)
class Dot:
    """An instruction.

    Attributes:
        name: its key in :data:`DOTS`, by which arithmetic names it.
        a, b: dtypes of the values that are multiplied.
        sum: dtype in which they are added up.
        pack: values of a word, neighbours along K.
        word: dtype of a word, as it is loaded and broadcast.
        a_zero: what stands for a zero of A, as which padding is stored.
        feature: what the CPU must have for it beyond its level; None where every level has it.
        multiply_add: ``(sums, word of A in every lane, words of B) -> sums``.
    """

    name: str
    a: str
    b: str
    sum: str
    pack: int
    word: str
    a_zero: int
    feature: str | None
    multiply_add: Callable[[Expr, Expr, Expr], Expr]

    @property
    def features(self) -> tuple[str, ...]:
        """Those that a kernel made of it states."""
        return () if self.feature is None else (self.feature,)

    def words(self, k: Expr | int) -> Expr | int:
        """Words that K values take."""
        return k if self.pack == 1 else ceil_div(k, self.pack)


def _fused_multiply_add(sums: Expr, a: Expr, b: Expr) -> Expr:
    """LLVM makes one instruction of both wherever the level has it."""
    return sums + a * b


FMA = Dot("fma", "float32", "float32", "float32", 1, "float32", 0, None, _fused_multiply_add)
"""A fused multiply-add of float32."""

DOTS = {dot.name: dot for dot in (FMA,)}
"""All of them by name."""


def dot_for(target: CpuTarget, arithmetic: Arithmetic) -> Dot:
    """The instruction that arithmetic names.

    Raises:
        TargetError: the target may not use it.
    """
    dot = DOTS[arithmetic.dot]
    if dot.feature is not None and not target.has(dot.feature):
        raise TargetError(
            f"{arithmetic.name} computes with {dot.feature}, which {target.name} lacks: compile "
            f"for {target.level}+{dot.feature.lower()}, or in other arithmetic"
        )
    return dot
