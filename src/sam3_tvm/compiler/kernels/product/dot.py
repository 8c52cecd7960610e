"""What a product is made of: an instruction that multiplies words of two operands and adds.

A *word* is what is broadcast of A and loaded of B, one per lane of a vector register of sums. With
a fused multiply-add it is one float32. Instructions over narrower values take several neighbours
along K at once, packed into 32 bits: lanes, registers and tiles then stay as they are, and K is
counted in words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sam3_tvm.arithmetic import Arithmetic
from sam3_tvm.compiler.kernels.emit import Expr, ceil_div
from sam3_tvm.compiler.kernels.product.bfloat16 import AVX512_BF16, NEON_BF16, Pairs
from sam3_tvm.compiler.kernels.product.int8 import (
    AVX2_WORDS,
    AVX512_WORDS,
    AVX512_WORDS_OF_BYTES,
    AVX_WORDS_OF_BYTES,
    NEON_WORDS_OF_BYTES,
    PLAIN_WORDS,
    SSE_WORDS,
    Integers,
)
from sam3_tvm.compiler.kernels.product.matrix import AMX_BF16, AMX_INT8, Matrix
from sam3_tvm.compiler.targets.cpu import CpuTarget, TargetError

__all__ = [
    "BFDOT",
    "DOTS",
    "FMA",
    "TDPBF16PS",
    "TDPBUSD",
    "VDPBF16PS",
    "VPDPBUSD",
    "VPDPBUSD_256",
    "Dot",
    "bfloat16_dot",
    "dot_for",
    "int8_dot",
]


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
        integers: how integers lie in words; None of other words.
        matrix: a matrix unit that takes the same words, for kernels that have whole tiles for it;
            the rest is done by ``multiply_add``.
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
    integers: Integers | None = None
    matrix: Matrix | None = None

    @property
    def exact_sums(self) -> bool:
        """Whether words can be added before they are multiplied, as Strassen's algorithm does, with
        no more rounding than the product's own."""
        return self.sum == self.word == "float32" or self.a == "int16"

    def add(self, first: Expr, second: Expr, sign: int) -> Expr:
        """``first + sign * second`` of words whose sums are exact; the sign is 1 or -1."""
        if self.integers is not None:
            return self.integers.add(first, second, sign)
        return first + second if sign > 0 else first - second

    def fits(self, target: CpuTarget) -> bool:
        """Whether the target has it, in vectors as long as its kernels' are."""
        lanes = None if self.integers is None else self.integers.lanes
        return lanes in (None, target.lanes) and all(map(target.has, self.features))

    @property
    def llvm(self) -> str:
        """Definitions that a kernel made of it imports."""
        return "".join(made.llvm for made in (self.pairs, self.matrix) if made is not None)

    @property
    def features(self) -> tuple[str, ...]:
        """Those that a kernel made of it states."""
        both = (self.feature, None if self.matrix is None else self.matrix.feature)
        return tuple(feature for feature in both if feature is not None)

    def by_matrix(self, depth: Expr | int | None) -> Dot:
        """The same for a product of ``depth`` words along K: without a matrix unit where these are
        no whole tiles of it, or not known."""
        if self.matrix is None or (isinstance(depth, int) and depth % self.matrix.side == 0):
            return self
        return self.by_vectors

    @property
    def by_vectors(self) -> Dot:
        """The same without a matrix unit."""
        return self if self.matrix is None else replace(self, matrix=None)

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

TDPBF16PS = replace(VDPBF16PS, matrix=AMX_BF16)
"""The same with a matrix unit."""

BFDOT = bfloat16_dot("bfdot", NEON_BF16, "BF16")
"""Pairs of bfloat16 in 128 bits."""


def int8_dot(name: str, integers: Integers, feature: str | None) -> Dot:
    """A product of words of integers."""
    dtypes = (integers.dtype, "int16" if integers.pack == 2 else "int8", "int32")
    return Dot(
        name,
        *dtypes,
        integers.pack,
        "int32",
        integers.offset,
        feature,
        integers.multiply_add,
        integers=integers,
    )


VPDPBUSD = int8_dot("vpdpbusd", AVX512_WORDS_OF_BYTES, "AVX512VNNI")
"""Four bytes a lane in 512 bits: four times the multiply-adds of :data:`FMA`."""

TDPBUSD = replace(VPDPBUSD, matrix=AMX_INT8)
"""The same with a matrix unit."""

VPDPBUSD_256 = int8_dot("vpdpbusd", AVX_WORDS_OF_BYTES, "AVXVNNI")
"""Four bytes a lane in 256 bits."""

SDOT = int8_dot("sdot", NEON_WORDS_OF_BYTES, "DOTPROD")
"""Four bytes a lane in 128 bits."""

VPMADDWD = tuple(
    int8_dot("vpmaddwd", integers, feature)
    for integers, feature in (
        (AVX512_WORDS, "AVX512BW"),
        (AVX2_WORDS, "AVX2"),
        (SSE_WORDS, "SSE42"),
    )
)
"""Two words of 16 bits a lane, from the longest vectors to the shortest."""

PLAIN_INTEGERS = int8_dot("integers", PLAIN_WORDS, None)
"""What every CPU can."""

DOTS: dict[str, tuple[Dot, ...]] = {
    "fma": (FMA,),
    "bfloat16": (TDPBF16PS, VDPBF16PS, BFDOT, FMA),
    "int8": (TDPBUSD, VPDPBUSD, VPDPBUSD_256, SDOT, *VPMADDWD, PLAIN_INTEGERS),
}
"""What arithmetic names, and the instructions that do it, the best one first."""


def dot_for(target: CpuTarget, arithmetic: Arithmetic) -> Dot:
    """The instruction of what arithmetic names: the first one that the target may use.

    Raises:
        TargetError: it may use none.
    """
    dots = DOTS[arithmetic.dot]
    for dot in dots:
        if dot.fits(target):
            return dot
    features = " or ".join(f"{dot.feature}" for dot in dots)
    raise TargetError(
        f"{arithmetic.name} computes with {features}, which {target.name} lacks: compile for a "
        "target with it, as in x86-64-v4+avx512bf16, or in other arithmetic"
    )
