"""exp, erf, tanh and sigmoid in TIR become straight-line arithmetic.

TVM calls libm for each element otherwise, and a loop with a call in it is never vectorised.
Each is within 3e-7 of the exact value, relative to it, wherever that is a normal float32
(tests/compiler/schedule/test_expand_transcendentals.py measures it); infinities, NaN, underflow
and overflow come out as libm gives them. Only float32 is expanded.

The expressions name no intermediate values: TVM's analyser takes ``Let`` for a fact about a
variable and stops where unrolling has made two of it. What is repeated, LLVM computes once.

Coefficients were fitted for this file: least squares on a dense grid, the weights adapted after
C. L. Lawson (1961) until the relative error was level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx

from sam3_tvm.compiler.kernels.vector_math import polynomial

__all__ = ["ExpandTranscendentals", "erf", "exp", "sigmoid", "tanh"]

# (exp(r) - 1 - r) / r^2 for |r| <= log(2) / 2, lowest power first: exp to 3.3e-9.
_EXP = (
    0.4999999403953552,
    0.16666515171527863,
    0.04166845604777336,
    0.008369418792426586,
    0.0013813144760206342,
)
# erf(x) / x as a fraction in x^2 for |x| <= 3.95, to 2.1e-8; beyond, erf rounds to 1.
_ERF_LIMIT = 3.95
_ERF_UPPER = (
    1.1283791065216064,
    0.19155120849609375,
    0.052875444293022156,
    0.0038081693928688765,
    0.00028468278469517827,
    2.0258332824596437e-06,
)
_ERF_LOWER = (
    1.0,
    0.503090500831604,
    0.11455988138914108,
    0.015055106021463871,
    0.0011707183439284563,
    3.78307668142952e-05,
)
# tanh(x) / x as a fraction in x^2 for |x| <= 9.02, to 2.1e-8; beyond, tanh rounds to 1.
_TANH_LIMIT = 9.02
_TANH_UPPER = (
    1.0,
    0.13379696011543274,
    0.003494007745757699,
    2.0583027435350232e-05,
    1.3318423697228354e-08,
)
_TANH_LOWER = (
    1.0,
    0.4671301245689392,
    0.025870973244309425,
    0.00032830482814460993,
    7.761757387925172e-07,
)

# log(2) in two parts: products of the first with integers below 2^10 are exact.
_LN2_HIGH = 0.693359375
_LN2_LOW = math.log(2) - _LN2_HIGH


@tvm.transform.module_pass(opt_level=0, name="ExpandTranscendentals")
class ExpandTranscendentals:
    """Expands the calls in every PrimFunc; run it on scheduled ones, before they are lowered."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Return ``mod`` without transcendental calls on float32."""
        result = mod.clone()
        for gvar, func in mod.functions_items():
            if isinstance(func, tirx.PrimFunc):
                body = tvm_ffi.structural_map(func.body, (tvm.ir.Call, _expand))
                if not body.same_as(func.body):
                    result.update_func(gvar, func.with_body(body))
        return result


def _expand(call: Any) -> Any:
    expansion = _EXPANSIONS.get(call.op.name) if isinstance(call.op, tvm.ir.Op) else None
    if expansion is None or call.ty.dtype != "float32":
        return call
    return expansion(call.args[0])


def exp(x: Any) -> Any:
    """e^x = 2^n e^r with n = round(x / log 2), and r = x - n log 2 in two steps."""
    n = tirx.nearbyint(x * _float(1 / math.log(2)))
    r = x - n * _float(_LN2_HIGH) - n * _float(_LN2_LOW)
    # Half of n at a time, so that no factor over- or underflows before the product.
    steps = tirx.Cast("int32", n)
    half = tirx.shift_right(steps, _int(1))
    mantissa = r * r * _polynomial(r, _EXP) + r + _float(1.0)
    value = mantissa * _power_of_two(half) * _power_of_two(steps - half)
    return _within(x, 150.0, value, _float(0.0), _float(math.inf))


def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    return _float(1.0) / (_float(1.0) + exp(_float(0.0) - x))


def erf(x: Any) -> Any:
    """The error function."""
    return _odd_fraction(x, _ERF_LIMIT, _ERF_UPPER, _ERF_LOWER)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return _odd_fraction(x, _TANH_LIMIT, _TANH_UPPER, _TANH_LOWER)


_EXPANSIONS: dict[str, Callable[[Any], Any]] = {
    "tirx.exp": exp,
    "tirx.erf": erf,
    "tirx.tanh": tanh,
    "tirx.sigmoid": sigmoid,
}


def _odd_fraction(x: Any, limit: float, upper: Sequence[float], lower: Sequence[float]) -> Any:
    """x P(x^2) / Q(x^2), never beyond -1 or 1, which it is from ``-limit`` or ``limit`` on."""
    one, minus_one = _float(1.0), _float(-1.0)
    fraction = x * _polynomial(x * x, upper) / _polynomial(x * x, lower)
    held = tirx.max(minus_one, tirx.min(one, fraction))
    return _within(x, limit, held, minus_one, one)


def _within(x: Any, limit: float, value: Any, below: Any, above: Any) -> Any:
    """``value`` where -limit < x < limit, else one of the other two; NaN where x is NaN.

    All of them are computed, so ``value`` may be anything outside.
    """
    outside = tirx.Select(x < _float(0.0), below, tirx.Select(x > _float(0.0), above, x))
    return tirx.Select(tirx.abs(x) < _float(limit), value, outside)


def _polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    return polynomial(x, coefficients, name=lambda value: value)


def _power_of_two(n: Any) -> Any:
    """2^n for -126 <= n <= 127: the exponent's bits."""
    return tirx.reinterpret("float32", tirx.shift_left(n + _int(127), _int(23)))


def _float(value: float) -> Any:
    return tirx.const(value, "float32")


def _int(value: int) -> Any:
    return tirx.const(value, "int32")
