"""Exponential, GELU and transposition on vectors, without a call to a scalar libm function.

The functions are straight-line arithmetic, so LLVM keeps them in vector registers. Their
coefficients were fitted for this file by weighted least squares with Lawson's reweighting
(C. L. Lawson, 1961), which converges to the minimax fit; errors stated are of the float32
evaluation, measured over the whole range (tests/compiler/kernels/test_vector_math.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tvm import tirx

from sam3_tvm.compiler.kernels.emit import Expr, bind, splat

__all__ = ["exp_nonpositive", "gelu", "maximum", "polynomial", "relu", "transposed"]

# e^r for |r| <= ln(2) / 2, lowest power first; relative error of the fit 7.5e-08.
_EXP = (
    1.0000001192092896,
    0.9999997019767761,
    0.4999889135360718,
    0.16667576134204865,
    0.04191562905907631,
    0.00829761940985918,
)

# (erfc(t / sqrt 2) / 2)^(-1/8) on [0, 6], lowest power first.
_TAIL = (
    1.0905077457427979,
    0.108759805560112,
    0.048836808651685715,
    0.00938353780657053,
    0.0010520106879994273,
    0.00013297675468493253,
    0.00010217202361673117,
    -1.7455280612921342e-05,
    3.135936822218355e-06,
)


def polynomial(x: Expr, coefficients: Sequence[float], lanes: int) -> Expr:
    """Horner's scheme, lowest power first: one fused multiply-add per degree."""
    value = splat(coefficients[-1], lanes)
    for c in reversed(coefficients[:-1]):
        value = bind(value * x + splat(c, lanes))
    return value


def maximum(a: Expr, b: Expr) -> Expr:
    """The larger one, lane by lane; ``b`` where either is NaN.

    Both TVM (a compare and a select) and x86's MAXPS agree on that, so putting the data
    second lets a NaN through.
    """
    return tirx.Select(a > b, a, b)


def relu(x: Expr, lanes: int) -> Expr:
    """max(x, 0); NaN stays NaN."""
    return maximum(splat(0.0, lanes), x)


def exp_nonpositive(x: Expr, lanes: int) -> Expr:
    """exp(x) for x <= 0: relative error below 5e-7, exactly 0 below -87.7, so for -inf too.

    With n = round(x log2(e)) and r = x - n ln(2), exp(x) = 2^n e^r (on a CPU without fused
    multiply-add the rounding of n ln(2) adds 6e-8 |x| to the error). Adding 1.5 * 2^23 + 127
    to n leaves n + 127, the biased exponent of 2^n, in the low bits of the sum; shifted up by
    23 they are that float. For n = -127 they are the float 0, which is how what is clamped
    vanishes.
    """
    x = bind(maximum(splat(-88.02, lanes), x))
    n = bind(tirx.nearbyint(x * splat(math.log2(math.e), lanes)))
    r = bind(x - n * splat(math.log(2), lanes))
    int_type = "int32" if lanes == 1 else f"int32x{lanes}"
    float_type = "float32" if lanes == 1 else f"float32x{lanes}"
    bits = tirx.reinterpret(int_type, n + splat(1.5 * 2**23 + 127, lanes))
    by = tirx.const(23, "int32")
    power = tirx.reinterpret(
        float_type, tirx.shift_left(bits, by if lanes == 1 else tirx.Broadcast(by, lanes))
    )
    return polynomial(r, _EXP, lanes) * power


def gelu(x: Expr, lanes: int) -> Expr:
    """x Phi(x), the exact (erf) GELU: absolute error below 4e-7 for every finite x.

    Written as max(x, 0) - |x| Q(|x|) with the normal tail Q(t) = erfc(t / sqrt 2) / 2, which
    avoids the cancellation of 1 + erf for negative x, and Q as one over the eighth power of a
    polynomial, the form of Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.28
    (with a sixteenth power and other coefficients there). The polynomial grows for ever, so
    only what would overflow is clamped.
    """
    x = bind(x)
    t = bind(tirx.Select(x < splat(0.0, lanes), splat(0.0, lanes) - x, x))
    t = bind(tirx.Select(t > splat(30.0, lanes), splat(30.0, lanes), t))
    root = polynomial(t, _TAIL, lanes)
    root = bind(root * root)
    root = bind(root * root)
    return relu(x, lanes) - t / (root * root)


def transposed(rows: Sequence[Expr], lanes: int) -> list[Expr]:
    """The square of ``lanes`` vectors of ``lanes`` values, transposed in registers.

    The recursive exchange of off-diagonal blocks: log2(lanes) rounds of one two-input shuffle
    a vector, a quarter of a shuffle per value at 16 lanes.
    """
    square = list(rows)
    half = lanes // 2
    while half:
        for i in range(lanes):
            if not i & half:
                # Lanes with the bit ``half`` of one row change places with those without it
                # of its partner.
                pair = [square[i], square[i + half]]
                low = [k if not k & half else lanes + k - half for k in range(lanes)]
                high = [k + half if not k & half else lanes + k for k in range(lanes)]
                square[i], square[i + half] = (
                    bind(tirx.Shuffle(pair, [tirx.const(k, "int32") for k in order]))
                    for order in (low, high)
                )
        half //= 2
    return square
