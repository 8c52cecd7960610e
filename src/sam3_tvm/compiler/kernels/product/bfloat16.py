"""bfloat16 in pairs: rounding float32 to it, and the instructions that multiply pairs.

bfloat16 is the upper half of a float32: eight bits of exponent, eight significant ones. A *word* is
two of them, neighbours along K, the first one in the lower half. Instructions for them take 32 bits
of either operand per lane and add both products to a float32 sum.

TVM has no vectors of bfloat16 in its generated code: it makes uint16 of the values and float32 of
their arithmetic. Words are therefore int32 to it, and what must see bfloat16 in them is LLVM's own
language, imported into each kernel (``pragma_import_llvm``) and inlined there: one
``vcvtne2ps2bf16``, ``vcvtneps2bf16`` or ``vdpbf16ps`` a call.

Rounding is to nearest, ties to even; NaNs stay NaNs. ``vdpbf16ps`` takes and gives subnormal values
as zeros and rounds its two products separately to nearest even; the order is the higher one first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import te, tirx

from sam3_tvm.compiler.kernels.emit import OPAQUE, Expr, bind, size_var

__all__ = [
    "AVX512_BF16",
    "NEON_BF16",
    "Pairs",
    "rounding",
    "widened",
]


@dataclass(frozen=True)
class Pairs:
    """How words come to be and are multiplied on a CPU.

    Without definitions it is arithmetic that every CPU has, no faster than float32: tests run it
    where the instructions aren't there. It doesn't round products before they are added.

    Attributes:
        lanes: words of a vector.
        llvm: definitions that a kernel imports, in LLVM's language, for vectors of ``lanes``.
    """

    lanes: int
    llvm: str = ""

    def neighbours(self, first: Expr, second: Expr, lanes: int) -> Expr:
        """Words of ``2 * lanes`` values that lie one after the other, in two vectors."""
        if self.llvm and lanes == self.lanes:
            return tirx.call_pure_extern(f"int32x{lanes}", "sam3_bf16_neighbours", first, second)
        return _words_of_neighbours(first, second, lanes)

    def two(self, low: Expr, high: Expr, lanes: int) -> Expr:
        """Words whose lower halves are one vector's values and whose upper halves another's."""
        if self.llvm and lanes == self.lanes:
            return tirx.call_pure_extern(f"int32x{lanes}", "sam3_bf16_two", low, high)
        return _words_of_two(low, high, lanes)

    def halves(self, values: Expr, lanes: int) -> Expr:
        """The bits of a vector of values in bfloat16, as uint16."""
        if self.llvm and lanes == self.lanes:
            return tirx.call_pure_extern(f"uint16x{lanes}", "sam3_bf16_halves", values)
        upper = _rounded(values, lanes) >> _constant(16, lanes)
        return upper.astype(_dtype("uint16", lanes))

    def multiply_add(self, sums: Expr, a: Expr, b: Expr) -> Expr:
        """``sums + a_low b_low + a_high b_high`` in every lane of whole vectors."""
        if self.llvm:
            return tirx.call_pure_extern(f"float32x{self.lanes}", "sam3_bf16_dot", sums, a, b)
        sums = sums + _high(a, self.lanes) * _high(b, self.lanes)
        return sums + _low(a, self.lanes) * _low(b, self.lanes)


_AVX512 = """
declare <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float>, <32 x bfloat>, <32 x bfloat>)
declare <32 x bfloat> @llvm.x86.avx512bf16.cvtne2ps2bf16.512(<16 x float>, <16 x float>)
declare <16 x bfloat> @llvm.x86.avx512bf16.cvtneps2bf16.512(<16 x float>)

define <16 x float> @sam3_bf16_dot(<16 x float> %sums, <16 x i32> %a, <16 x i32> %b) alwaysinline {
  %x = bitcast <16 x i32> %a to <32 x bfloat>
  %y = bitcast <16 x i32> %b to <32 x bfloat>
  %r = call <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float> %sums, <32 x bfloat> %x,
                                                           <32 x bfloat> %y)
  ret <16 x float> %r
}

define <16 x i32> @sam3_bf16_neighbours(<16 x float> %first, <16 x float> %second) alwaysinline {
  %v = call <32 x bfloat> @llvm.x86.avx512bf16.cvtne2ps2bf16.512(<16 x float> %second,
                                                                 <16 x float> %first)
  %w = bitcast <32 x bfloat> %v to <16 x i32>
  ret <16 x i32> %w
}

define <16 x i32> @sam3_bf16_two(<16 x float> %low, <16 x float> %high) alwaysinline {
  %v = call <32 x bfloat> @llvm.x86.avx512bf16.cvtne2ps2bf16.512(<16 x float> %high,
                                                                 <16 x float> %low)
  %s = shufflevector <32 x bfloat> %v, <32 x bfloat> poison, <32 x i32> <
    i32 0, i32 16, i32 1, i32 17, i32 2, i32 18, i32 3, i32 19,
    i32 4, i32 20, i32 5, i32 21, i32 6, i32 22, i32 7, i32 23,
    i32 8, i32 24, i32 9, i32 25, i32 10, i32 26, i32 11, i32 27,
    i32 12, i32 28, i32 13, i32 29, i32 14, i32 30, i32 15, i32 31>
  %w = bitcast <32 x bfloat> %s to <16 x i32>
  ret <16 x i32> %w
}

define <16 x i16> @sam3_bf16_halves(<16 x float> %values) alwaysinline {
  %v = call <16 x bfloat> @llvm.x86.avx512bf16.cvtneps2bf16.512(<16 x float> %values)
  %h = bitcast <16 x bfloat> %v to <16 x i16>
  ret <16 x i16> %h
}
"""

_NEON = """
declare <4 x float> @llvm.aarch64.neon.bfdot.v4f32.v8bf16(<4 x float>, <8 x bfloat>, <8 x bfloat>)

define <4 x float> @sam3_bf16_dot(<4 x float> %sums, <4 x i32> %a, <4 x i32> %b) alwaysinline {
  %x = bitcast <4 x i32> %a to <8 x bfloat>
  %y = bitcast <4 x i32> %b to <8 x bfloat>
  %r = call <4 x float> @llvm.aarch64.neon.bfdot.v4f32.v8bf16(<4 x float> %sums, <8 x bfloat> %x,
                                                              <8 x bfloat> %y)
  ret <4 x float> %r
}

define <4 x i32> @sam3_bf16_neighbours(<4 x float> %first, <4 x float> %second) alwaysinline {
  %v = shufflevector <4 x float> %first, <4 x float> %second,
    <8 x i32> <i32 0, i32 1, i32 2, i32 3, i32 4, i32 5, i32 6, i32 7>
  %r = fptrunc <8 x float> %v to <8 x bfloat>
  %w = bitcast <8 x bfloat> %r to <4 x i32>
  ret <4 x i32> %w
}

define <4 x i32> @sam3_bf16_two(<4 x float> %low, <4 x float> %high) alwaysinline {
  %v = shufflevector <4 x float> %low, <4 x float> %high,
    <8 x i32> <i32 0, i32 4, i32 1, i32 5, i32 2, i32 6, i32 3, i32 7>
  %r = fptrunc <8 x float> %v to <8 x bfloat>
  %w = bitcast <8 x bfloat> %r to <4 x i32>
  ret <4 x i32> %w
}

define <4 x i16> @sam3_bf16_halves(<4 x float> %values) alwaysinline {
  %v = fptrunc <4 x float> %values to <4 x bfloat>
  %h = bitcast <4 x bfloat> %v to <4 x i16>
  ret <4 x i16> %h
}
"""

AVX512_BF16 = Pairs(16, _AVX512)
"""``vdpbf16ps`` and ``vcvtne2ps2bf16`` of 512 bits."""

NEON_BF16 = Pairs(4, _NEON)
"""``bfdot`` and ``bfcvtn`` of 128 bits."""


def rounding() -> Expr:
    """The PrimFunc ``(x [N, K] float32, y [N, K] uint16)``, not yet scheduled: y has the bits of x
    in bfloat16."""
    x = te.placeholder((size_var("n"), size_var("k")), name="x")

    def bits(row: Expr, column: Expr) -> Expr:
        nearest = _rounded(x[row, column], 1, name=lambda value: value)
        return (nearest >> _constant(16, 1)).astype("uint16")

    y = te.compute(x.shape, bits, name="round_to_bfloat16")
    made = te.create_prim_func([x, y]).without_attr("global_symbol")
    # Opaque: of sizes that vary, which TVM fuses with no sizes that are known.
    return made.with_attrs({"tirx.noalias": True, "op_pattern": OPAQUE})


def widened(bits: Expr, lanes: int) -> Expr:
    """float32 of bfloat16's bits, uint16."""
    wide = bits.astype(_dtype("uint32", lanes)) << _constant(16, lanes)
    return tirx.reinterpret(_dtype("float32", lanes), wide)


def _words_of_neighbours(first: Expr, second: Expr, lanes: int) -> Expr:
    """Words of ``2 * lanes`` consecutive float32 values, in plain TIR."""
    first, second = (bind(_rounded(v, lanes)) for v in (first, second))
    if lanes == 1:
        return _joined(first, second, 1)
    low, high = (
        tirx.Shuffle([first, second], [tirx.const(2 * i + side, "int32") for i in range(lanes)])
        for side in (0, 1)
    )
    return _joined(low, high, lanes)


def _words_of_two(low: Expr, high: Expr, lanes: int) -> Expr:
    """Words of two vectors of float32, lane by lane, in plain TIR."""
    return _joined(_rounded(low, lanes), _rounded(high, lanes), lanes)


def _dtype(name: str, lanes: int) -> str:
    return name if lanes == 1 else f"{name}x{lanes}"


def _constant(value: int, lanes: int) -> Expr:
    number = tirx.const(value, "uint32")
    return number if lanes == 1 else tirx.Broadcast(number, lanes)


def _rounded(value: Expr, lanes: int, name: Callable[[Expr], Expr] = bind) -> Expr:
    """float32 -> uint32 whose upper half is the bfloat16 that is nearest; ``name`` gives the bits a
    name."""
    bits = name(tirx.reinterpret(_dtype("uint32", lanes), value))
    sixteen, one = _constant(16, lanes), _constant(1, lanes)
    odd = (bits >> sixteen) & one
    nearest = bits + odd + _constant(0x7FFF, lanes)
    # A NaN could lose all of its payload, or become a number. Asked of the bits, since TVM takes
    # x != x for false.
    quiet = bits | _constant(0x00400000, lanes)
    is_nan = (bits & _constant(0x7FFFFFFF, lanes)) > _constant(0x7F800000, lanes)
    return tirx.Select(is_nan, quiet, nearest)


def _joined(low: Expr, high: Expr, lanes: int) -> Expr:
    """Words of the upper halves of two uint32."""
    word = (low >> _constant(16, lanes)) | (high & _constant(0xFFFF0000, lanes))
    return tirx.reinterpret(_dtype("int32", lanes), word)


def _low(word: Expr, lanes: int) -> Expr:
    bits = tirx.reinterpret(_dtype("uint32", lanes), word)
    return tirx.reinterpret(_dtype("float32", lanes), bits << _constant(16, lanes))


def _high(word: Expr, lanes: int) -> Expr:
    bits = tirx.reinterpret(_dtype("uint32", lanes), word)
    return tirx.reinterpret(_dtype("float32", lanes), bits & _constant(0xFFFF0000, lanes))
