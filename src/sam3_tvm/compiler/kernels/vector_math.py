"""Exponential, GELU and transposition on vectors, without a call to a scalar libm function.

The functions are straight-line arithmetic, so LLVM keeps them in vector registers. Their
coefficients were fitted for this file by weighted least squares with Lawson's reweighting
(C. L. Lawson, 1961), which converges to the minimax fit; errors stated are of the float32
evaluation, measured over the whole range (tests/compiler/kernels/test_vector_math.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from tvm import tirx

from sam3_tvm.compiler.kernels.emit import Expr, bind, splat

__all__ = ["exp2_nonpositive", "gelu", "interleaved", "maximum", "polynomial", "relu", "transposed"]

# 2^r for |r| <= 1/2, lowest power first; the first is held at 1, relative error of the fit 9.2e-08.
_EXP2 = (
    1.0,
    0.6931470036506653,
    0.24022242426872253,
    0.05550733581185341,
    0.009671512991189957,
    0.001326472731307149,
)

# The same for 0 <= r <= 1: 8.3e-08. Then both for results that are rounded to bfloat16: 1.1e-04 and
# 8.6e-05, where that moves them by up to 2.0e-03.
_EXP2_UP = (
    1.0,
    0.6931513118046577,
    0.24016445015467236,
    0.05579991310476807,
    0.009017030321398967,
    0.0018671300702512886,
)
_EXP2_SHORT = (
    1.0,
    0.6932829271012703,
    0.24221095928063016,
    0.0550089311047959,
)
_EXP2_UP_SHORT = (
    1.0,
    0.6951167864256207,
    0.22764499117680326,
    0.0770670420083319,
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


def polynomial(
    x: Expr,
    coefficients: Sequence[float],
    lanes: int = 1,
    name: Callable[[Expr], Expr] = bind,
) -> Expr:
    """Horner's scheme: one fused multiply-add per degree.

    Args:
        x: where.
        coefficients: lowest power first.
        lanes: values in the vector x.
        name: gives an intermediate value a name.
    """
    value = splat(coefficients[-1], lanes)
    for c in reversed(coefficients[:-1]):
        value = name(value * x + splat(c, lanes))
    return value


def maximum(a: Expr, b: Expr) -> Expr:
    """The larger one, lane by lane; ``b`` where either is NaN.

    Both TVM (a compare and a select) and x86's MAXPS agree on that, so putting the data
    second lets a NaN through.
    """
    return tirx.Select(a > b, a, b)


def relu(x: Expr, lanes: int) -> Expr:
    """max(x, 0); NaN stays NaN. ``x`` is used twice: bind it."""
    return maximum(splat(0.0, lanes), x)


def exp2_nonpositive(
    x: Expr, lanes: int, features: Collection[str] = (), rounded: bool = False
) -> Expr:
    """2^x for x <= 0: relative error below 2e-7 down to 2^-126, exactly 1 at 0 and exactly 0 from
    -150 on, so for -inf too; in between at most 2^-126.

    With n = round(x) and r = x - n, 2^x = 2^n 2^r. Adding 1.5 * 2^23 to n leaves it in the low
    bits of the sum; shifted up by 23 they are added to the exponent of 2^r. At
    n = -127 and r = 0, which is what everything below is clamped to, that gives the float 0,
    because the polynomial is exactly 1 there.

    Of the 11 operations 6 are multiplications or comparisons, which the ports of fused
    multiply-adds do; cores that add on other ports (Zen) do the rest beside them. AVX-512 has
    instructions for all but the polynomial: 7 operations.

    Args:
        x: where.
        lanes: values in the vector x.
        features: that code may use, named as by :func:`sam3_tvm.host.features`.
        rounded: whether the result will be rounded to bfloat16, so that a relative error of 1.2e-4
            will do: two operations less.
    """
    if lanes == 16 and "AVX512DQ" in features:
        return _exp2_by_scaling(x, _EXP2_UP_SHORT if rounded else _EXP2_UP)
    x = bind(maximum(splat(-127.0, lanes), x))
    n = bind(tirx.nearbyint(x))
    shifted = n + splat(1.5 * 2**23, lanes)
    suffix = "" if lanes == 1 else f"x{lanes}"
    by = tirx.const(23, "int32")
    exponent = tirx.shift_left(
        tirx.reinterpret("int32" + suffix, shifted), by if lanes == 1 else tirx.Broadcast(by, lanes)
    )
    value = polynomial(bind(x - n), _EXP2_SHORT if rounded else _EXP2, lanes)
    return tirx.reinterpret(
        "float32" + suffix, tirx.reinterpret("int32" + suffix, value) + exponent
    )


def _exp2_by_scaling(x: Expr, coefficients: Sequence[float]) -> Expr:
    """By two instructions of AVX-512: ``vreduceps`` gives r = x - floor(x), and 0 for -inf;
    ``vscalefps`` multiplies 2^r by 2^floor(x)."""
    x, every = bind(x), tirx.const(-1, "int16")
    down, to_nearest = tirx.const(9, "int32"), tirx.const(4, "int32")

    def call(name: str, *args: Expr) -> Expr:
        return tirx.call_llvm_pure_intrin(
            "float32x16", f"llvm.x86.avx512.mask.{name}.ps.512", *args, every, to_nearest
        )

    value = bind(polynomial(bind(call("reduce", x, down, x)), coefficients, 16))
    return call("scalef", value, x, value)


def gelu(x: Expr, lanes: int) -> Expr:
    """x Phi(x), the exact (erf) GELU: absolute error below 4e-7 for every finite x.

    Written as max(x, 0) - |x| Q(|x|) with the normal tail Q(t) = erfc(t / sqrt 2) / 2, which
    avoids the cancellation of 1 + erf for negative x, and Q as one over the eighth power of a
    polynomial, the form of Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.28
    (with a sixteenth power and other coefficients there). The polynomial grows for ever, so
    only what would overflow is clamped.

    ``x`` is used several times: bind it.
    """
    t = bind(tirx.Select(x < splat(0.0, lanes), splat(0.0, lanes) - x, x))
    t = bind(tirx.Select(t > splat(30.0, lanes), splat(30.0, lanes), t))
    root = polynomial(t, _TAIL, lanes)
    root = bind(root * root)
    root = bind(root * root)
    return relu(x, lanes) - t / (root * root)


def interleaved(pair: list[Expr], lanes: int) -> Iterator[tuple[Expr, int, int]]:
    """Two vectors as one with the values of both in turn: ``(vector, first index, its lanes)``,
    twice where ``lanes`` is 1."""
    if lanes == 1:
        yield from ((value, side, 1) for side, value in enumerate(pair))
        return
    order = [lane + side for lane in range(lanes) for side in (0, lanes)]
    yield tirx.Shuffle(pair, [tirx.const(i, "int32") for i in order]), 0, 2 * lanes


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
