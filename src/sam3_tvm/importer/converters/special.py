"""Special functions, computed in float64 from their series and rounded once.

Each is one loop whose steps are kept in local variables: as a chain of Relax operators, of some
hundred steps, it would take the compiler a minute.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from tvm import relax, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from sam3_tvm.importer.converters._tensors import product
from sam3_tvm.importer.converters.shapes import broadcast
from sam3_tvm.importer.errors import ConversionError
from sam3_tvm.importer.registry import Context, converter
from sam3_tvm.importer.sizes import static_value

aten = torch.ops.aten

_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
"""The Bernoulli numbers B2, B4, ... B16 of the asymptotic series below."""

_FAR = 10
"""From here on eight terms of the asymptotic series are exact to float64."""

select = tirx.Select


def _number(value: float) -> Any:
    return tirx.const(value, "float64")


def _keep(value: Any) -> Any:
    """The value as a local variable of the loop, so that it is computed once."""
    cell = T.buffer_proxy(T.decl_buffer([1], str(value.ty.dtype), scope="local"))
    cell[0] = value
    return cell[0]


def _elementwise(function: Callable[..., Any], dtype: str, *tensors: te.Tensor) -> te.Tensor:
    def build(ins: Any, outs: Any) -> Any:
        with IRBuilder() as builder:
            *inputs, out = map(T.buffer_proxy, (*ins, *outs))
            with T.parallel(0, tensors[0].shape[0]) as i:
                out[i] = function(*(_keep(x[i]) for x in inputs))
            return builder.get()

    return te.extern([tensors[0].shape], list(tensors), build, name="elementwise", dtype=[dtype])


def _applied(
    cx: Context, function: Callable[..., Any], dtype: str, *tensors: relax.Expr
) -> relax.Expr:
    """``function`` of the entries of tensors that broadcast, computed in ``dtype``."""
    shape = cx.shape
    if any(static_value(s) == 0 for s in shape):
        return cx.emit(relax.op.zeros(shape, cx.dtype))
    flat = [cx.reshape(broadcast(cx, cx.cast(x, dtype), shape), [product(shape)]) for x in tensors]
    kernel = functools.partial(_elementwise, function, dtype)
    found = cx.emit_te(kernel, *flat, name=function.__name__.strip("_"))
    return cx.cast(cx.reshape(found, shape), cx.dtype)


def _polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """``c0 + c1 x + c2 x² + ...`` by Horner's rule."""
    total = _number(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + _number(coefficient)
    return total


def _from_ten(x: Any, step: Callable[[Any, Any], Any], start: float) -> tuple[Any, Any]:
    """``x``, or ``x + 10`` where it is below that, and what ``step`` gathers on the way."""
    near = _keep(x < _FAR)
    gathered = _number(start)
    for k in range(_FAR):
        gathered = _keep(select(near, step(gathered, x + _number(k)), gathered))
    return _keep(select(near, x + _number(_FAR), x)), gathered


def _lgamma(x: Any) -> Any:
    """``log |Γ(x)|`` by Stirling's series (DLMF 5.11.1), below 1/2 by reflection (5.5.3)."""
    low = _keep(x < _number(0.5))
    z, factors = _from_ten(_keep(select(low, 1 - x, x)), lambda product, y: product * y, 1)
    terms = [b / (2 * k * (2 * k - 1)) for k, b in enumerate(_BERNOULLI, 1)]
    series = _polynomial(_keep(1 / (z * z)), terms) / z
    root = _number(0.5 * math.log(2 * math.pi))
    upper = _keep((z - 0.5) * tirx.log(z) - z + root + series - tirx.log(factors))
    # The sine of the distance to the next integer, which π x wouldn't keep.
    sine = tirx.abs(tirx.sin(_number(math.pi) * (x - tirx.nearbyint(x))))
    found = select(low, _number(math.log(math.pi)) - tirx.log(sine) - upper, upper)
    infinite = tirx.abs(x) == _number(math.inf)
    return select(infinite, _number(math.inf), found)


def _digamma(x: Any) -> Any:
    """The derivative of ``log Γ`` (DLMF 5.11.2, 5.5.2 and 5.5.4)."""
    low = _keep(x < _number(0))
    y = _keep(select(low, 1 - x, x))
    z, total = _from_ten(y, lambda total, y: total + 1 / y, 0)
    square = _keep(1 / (z * z))
    series = _polynomial(square, [b / (2 * k) for k, b in enumerate(_BERNOULLI, 1)]) * square
    found = _keep(tirx.log(z) - _number(0.5) / z - series - total)
    rest = _keep(x - tirx.trunc(x))
    reflected = found - _number(math.pi) / tirx.tan(_number(math.pi) * rest)
    reflected = select(rest == 0, _number(math.nan), reflected)
    found = _keep(select(low, reflected, found))
    # At 0 the sign of the zero decides.
    infinite = _number(math.inf)
    pole = select(1 / x < 0, infinite, -infinite)
    found = select(x == 0, pole, found)
    return select(x == infinite, infinite, found)


def _trigamma(x: Any) -> Any:
    """The second derivative of ``log Γ`` (DLMF 5.15.8, and 5.15.6 below 1/2)."""
    low = _keep(x < _number(0.5))
    z, total = _from_ten(_keep(select(low, 1 - x, x)), lambda total, y: total + 1 / (y * y), 0)
    square = _keep(1 / (z * z))
    found = _keep(1 / z + square / 2 + _polynomial(square, _BERNOULLI) * square / z + total)
    sine = tirx.sin(_number(math.pi) * (x - tirx.nearbyint(x)))
    ratio = _keep(_number(math.pi) / sine)
    return select(low, ratio * ratio - found, found)


# Modified Bessel functions of the first kind.


def _scaled_bessel(order: int, x: np.ndarray) -> np.ndarray:
    """``exp(-x) I(x)`` by the trapezoidal rule on its integral (DLMF 10.32.3), whose error
    falls exponentially with the number of points."""
    angle = np.linspace(0, np.pi, 801)
    values = np.exp(x[:, None] * (np.cos(angle) - 1)) * np.cos(order * angle)
    return np.asarray((values[:, 1:-1].sum(1) + (values[:, 0] + values[:, -1]) / 2) / 800)


@functools.cache
def _bessel_series(order: int) -> tuple[list[float], list[float]]:
    """Chebyshev coefficients of ``exp(-x) I(x)`` over 0..8, and of ``sqrt(x)`` times it over
    ``8 / x`` in 0..1."""

    def near(t: np.ndarray) -> np.ndarray:
        return _scaled_bessel(order, 4 * (t + 1))

    def far(t: np.ndarray) -> np.ndarray:
        x = 16 / (t + 1)  # at most 8106, at the node next to t = -1
        return np.asarray(np.sqrt(x) * _scaled_bessel(order, x))

    interpolate: Any = np.polynomial.chebyshev.chebinterpolate
    return interpolate(near, 30).tolist(), interpolate(far, 24).tolist()


def _chebyshev(t: Any, coefficients: Sequence[float]) -> Any:
    """A Chebyshev series by Clenshaw's recurrence."""
    next_, after = _number(0), _number(0)
    for coefficient in reversed(coefficients[1:]):
        next_, after = _keep(2 * t * next_ - after + _number(coefficient)), next_
    return t * next_ - after + _number(coefficients[0])


def _bessel(order: int, scaled: bool) -> Callable[[Any], Any]:
    def bessel(x: Any) -> Any:
        near, far = _bessel_series(order)
        size, eight = _keep(tirx.abs(x)), _number(8)
        small = _chebyshev(_keep(select(size < eight, size, eight) / 4 - 1), near)
        large = _keep(select(size > eight, size, eight))
        beyond = _chebyshev(_keep(16 / large - 1), far) / tirx.sqrt(large)
        found = _keep(select(size <= eight, small, beyond))
        if not scaled:
            # In two halves, since exp overflows before the product does. Of infinity it is
            # NaN, as in PyTorch.
            root = _keep(tirx.exp(size / 2))
            found = found * root * root
        found = _keep(select(x < 0, -found, found)) if order else found
        return select(tirx.isnan(x), x, found)

    return bessel


def _erfinv(x: Any) -> Any:
    """Winitzki's approximation, then three steps of Halley's method on ``erf(y) - x``."""
    infinite, one = _number(math.inf), _number(1)
    inside = _keep(select(tirx.abs(x) < one, x, _number(0)))
    a = _number(0.147)
    log = _keep(tirx.log1p(-inside * inside))
    half = _keep(_number(2 / (math.pi * 0.147)) + log / 2)
    y = _keep(tirx.sqrt(tirx.sqrt(half * half - log / a) - half))
    y = _keep(select(inside < 0, -y, y))
    for _ in range(3):
        slope = _number(math.sqrt(math.pi) / 2) * tirx.exp(y * y)
        gap = _keep((tirx.erf(y) - inside) * slope)
        y = _keep(y - gap / (one + y * gap))
    y = select(x == one, infinite, select(x == -one, -infinite, y))
    outside = tirx.Or(tirx.abs(x) > one, tirx.isnan(x))
    return select(outside, _number(math.nan), y)


def _of_one(function: Callable[[Any], Any]) -> Callable[..., relax.Expr]:
    def convert(cx: Context, self: relax.Expr) -> relax.Expr:
        return _applied(cx, function, "float64", self)

    return convert


for _packets, _function in (
    ((aten.lgamma, aten.special_gammaln), _lgamma),
    ((aten.digamma, aten.special_digamma, aten.special_psi), _digamma),
    ((aten.erfinv, aten.special_erfinv), _erfinv),
    ((aten.i0, aten.special_i0), _bessel(0, scaled=False)),
    ((aten.special_i0e,), _bessel(0, scaled=True)),
    ((aten.special_i1,), _bessel(1, scaled=False)),
    ((aten.special_i1e,), _bessel(1, scaled=True)),
):
    converter(*(packet.default for packet in _packets))(_of_one(_function))


@converter(aten.polygamma.default, aten.special_polygamma.default)
def polygamma(cx: Context, n: int, self: relax.Expr) -> relax.Expr:
    """The derivatives 0 and 1 of digamma.

    Raises:
        ConversionError: a further one.
    """
    if n > 1:
        raise ConversionError(cx.node, f"derivative {n} of digamma: only 0 and 1 are there")
    return _applied(cx, _trigamma if n else _digamma, "float64", self)


def _gcd(a: Any, b: Any) -> Any:
    """Euclid's algorithm."""
    cells = [T.buffer_proxy(T.decl_buffer([1], "int64", scope="local")) for _ in range(3)]
    larger, smaller, kept = cells
    larger[0], smaller[0] = tirx.abs(a), tirx.abs(b)
    with T.While(smaller[0] != 0):
        kept[0] = tirx.truncmod(larger[0], smaller[0])
        larger[0] = smaller[0]
        smaller[0] = kept[0]
    return larger[0]


@converter(aten.gcd.default)
def gcd(cx: Context, self: relax.Expr, other: relax.Expr) -> relax.Expr:
    """The greatest common divisor, not negative."""
    return _applied(cx, _gcd, "int64", self, other)
