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
from sam3_tvm.compiler.kernels.product.bfloat16 import AVX512_BF16, NEON_BF16, Pairs
from sam3_tvm.compiler.targets.cpu import CpuTarget, TargetError

__all__ = ["BFDOT", "DOTS", "FMA", "VDPBF16PS", "Dot", "bfloat16_dot", "dot_for"]


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
        pairs: how words of two bfloat16 are made; None of other words.
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
    pairs: Pairs | None = None

    @property
    def llvm(self) -> str:
        """Definitions that a kernel made of it imports."""
        return "" if self.pairs is None else self.pairs.llvm

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


def bfloat16_dot(name: str, pairs: Pairs, feature: str | None) -> Dot:
    """A product of words of two bfloat16."""
    dtypes = ("bfloat16", "bfloat16", "float32")
    return Dot(name, *dtypes, 2, "int32", 0, feature, pairs.multiply_add, pairs)


VDPBF16PS = bfloat16_dot("vdpbf16ps", AVX512_BF16, "AVX512BF16")
"""Pairs of bfloat16 in 512 bits: twice the multiply-adds of :data:`FMA`."""

BFDOT = bfloat16_dot("bfdot", NEON_BF16, "BF16")
"""Pairs of bfloat16 in 128 bits."""

DOTS: dict[str, tuple[Dot, ...]] = {"fma": (FMA,), "bfloat16": (VDPBF16PS, BFDOT, FMA)}
"""What arithmetic names, and the instructions that do it, the best one first."""


def dot_for(target: CpuTarget, arithmetic: Arithmetic) -> Dot:
    """The instruction of what arithmetic names: the first one that the target may use.

    Raises:
        TargetError: it may use none.
    """
    dots = DOTS[arithmetic.dot]
    for dot in dots:
        if dot.feature is None or target.has(dot.feature):
            return dot
    features = " or ".join(f"{dot.feature}" for dot in dots)
    raise TargetError(
        f"{arithmetic.name} computes with {features}, which {target.name} lacks: compile for a "
        "target with it, as in x86-64-v4+avx512bf16, or in other arithmetic"
    )
