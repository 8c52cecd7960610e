"""Integers of eight bits: the instructions that multiply neighbours of them, and quantisation.

A *word* is 32 bits: four neighbours along K as bytes, or two where a CPU multiplies pairs of 16
bits. Products and their sums are integers of 32 bits, hence exact: every instruction here gives the
same result.

``vpdpbusd`` takes its first operand without a sign. There activations are stored with
:data:`OFFSET` added, and what that adds to a sum, the offset times the sum of the weights, is taken
off again from every sum. ``vpdpbusds``, ``vpmaddubsw`` and what else saturates would not be exact.

``vpmaddwd`` is what x86 has without VNNI. A byte takes 16 bits there; twice the products of a fused
multiply-add, but an addition as well, which has ports of its own only in part: 1.5 to 1.65 times
the multiply-adds in registers, on one core of a Zen 3. Sums of two bytes fit as well, so that one
level of Strassen's algorithm is exact, too.

Largest sums: 127 * 255 * K stays below 2^31 up to K = 66,000; in Strassen's products both factors
are sums of two, 254 * 254 * K / 2, up to K = 66,000 as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx

from sam3_tvm.compiler.kernels.emit import Expr

__all__ = [
    "AVX2_WORDS",
    "AVX512_WORDS",
    "AVX512_WORDS_OF_BYTES",
    "AVX_WORDS_OF_BYTES",
    "NEON_WORDS_OF_BYTES",
    "OFFSET",
    "PLAIN_WORDS",
    "SSE_WORDS",
    "Integers",
    "largest_depth",
]

OFFSET = 128
"""What is added to an activation that is stored without a sign."""


def largest_depth() -> int:
    """The largest K whose sums always fit 32 bits."""
    return (2**31 - 1) // (127 * 255)


@dataclass(frozen=True)
class Integers:
    """How words of small integers are multiplied on a CPU.

    Attributes:
        dtype: of A's values; weights are int8, and widened to it where it has 16 bits.
        pack: of them in a word.
        lanes: words of a vector; None of any number.
        intrinsic: LLVM's name of the instruction; empty for arithmetic that every CPU has.
        adds: whether the instruction adds to sums, too.
    """

    dtype: str
    pack: int
    lanes: int | None
    intrinsic: str = ""
    adds: bool = False

    @property
    def offset(self) -> int:
        """What A's values are stored with."""
        return OFFSET if self.dtype == "uint8" else 0

    def multiply_add(self, sums: Expr, a: Expr, b: Expr) -> Expr:
        """``sums`` and the products of the neighbours in words of A and B, lane by lane."""
        lanes = _lanes(sums)
        if not self.intrinsic:
            return sums + _plain(a, b, lanes)
        # LLVM's types have no signs.
        signed = "int16" if self.pack == 2 else "int8"
        words = [tirx.reinterpret(f"{signed}x{self.pack * lanes}", word) for word in (a, b)]
        dtype = f"int32x{lanes}"
        if self.adds:
            return tirx.call_llvm_pure_intrin(dtype, self.intrinsic, sums, *words)
        return sums + tirx.call_llvm_pure_intrin(dtype, self.intrinsic, *words)

    def add(self, first: Expr, second: Expr, sign: int = 1) -> Expr:
        """Words of ``first + sign * second``, neighbour by neighbour; of 16 bits alone."""
        lanes = _lanes(first)
        first, second = (tirx.reinterpret(f"int16x{2 * lanes}", v) for v in (first, second))
        return tirx.reinterpret(_words(lanes), first + second if sign > 0 else first - second)


def _lanes(vector: Expr) -> int:
    """How many values an expression has."""
    _, _, lanes = str(vector.ty.dtype).partition("x")
    return int(lanes or 1)


def _words(lanes: int) -> str:
    return "int32" if lanes == 1 else f"int32x{lanes}"


def _plain(a: Expr, b: Expr, lanes: int) -> Expr:
    """The two products of words of int16, in arithmetic of 32 bits."""
    sixteen = tirx.const(16, "int32")
    sixteen = sixteen if lanes == 1 else tirx.Broadcast(sixteen, lanes)
    low = [(word << sixteen) >> sixteen for word in (a, b)]
    return low[0] * low[1] + (a >> sixteen) * (b >> sixteen)


AVX512_WORDS_OF_BYTES = Integers("uint8", 4, 16, "llvm.x86.avx512.vpdpbusd.512", adds=True)
"""``vpdpbusd`` of 512 bits."""

AVX_WORDS_OF_BYTES = Integers("uint8", 4, 8, "llvm.x86.avx512.vpdpbusd.256", adds=True)
"""``vpdpbusd`` of 256 bits, as AVX_VNNI has it."""

NEON_WORDS_OF_BYTES = Integers("int8", 4, 4, "llvm.aarch64.neon.sdot", adds=True)
"""``sdot``, whose operands both have signs."""

AVX512_WORDS = Integers("int16", 2, 16, "llvm.x86.avx512.pmaddw.d.512")
AVX2_WORDS = Integers("int16", 2, 8, "llvm.x86.avx2.pmadd.wd")
SSE_WORDS = Integers("int16", 2, 4, "llvm.x86.sse2.pmadd.wd")
"""``vpmaddwd`` of 512, 256 and 128 bits."""

PLAIN_WORDS = Integers("int16", 2, None)
"""Pairs of 16 bits by arithmetic that every CPU has: slower than float32, and as exact."""
