"""Winograd's minimal filtering in one dimension, F(4, 3): four outputs of three taps.

``y = A^T ((G g) * (B^T d))`` computes the 4 correlations of 6 inputs d with 3 taps g by 6
multiplications instead of 12 (Winograd, "Arithmetic Complexity of Computations", 1980; for
networks Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016). Nested in
itself it takes 36 multiplications for 4 x 4 outputs instead of 144.

The matrices follow from six points at which polynomials are evaluated, by Toom and Cook's
construction. With points p_i and N_i the product of p_i - p_j over the others, row i of G is
(1, p_i, p_i^2) / N_i, column i of A^T is (1, p_i, p_i^2, p_i^3), and row i of B^T has the
coefficients of the product of x - p_j over j other than i; the point at infinity takes leading
coefficients. All of A and B are dyadic fractions of a few bits, so exact in float32.

The points decide how much rounding is amplified (Barabasz, Anderson, Soodhalter and Gregg,
"Error Analysis and Improving the Accuracy of Winograd Convolution", 2020). Largest error of a
3 x 3 convolution of 256 channels in float32, normal data, over the largest output, and root mean
square error over root mean square output; the direct sum has 2e-6 and 9e-7:

    F(2 x 2)  0, 1, -1, inf                       0.7e-6   0.5e-6
    F(4 x 4)  0, 1, -1, 2, -2, inf               10e-6     3.2e-6
    F(4 x 4)  0, 1, -1, 1/2, -2, inf              4.6e-6   2.1e-6
    F(4 x 4)  0, 3/4, -3/4, 3/2, -3/2, inf        2.8e-6   1.5e-6
    F(4 x 4)  0, 5/8, -5/8, 3/2, -3/2, inf        2.8e-6   1.4e-6   (taken)
    F(6 x 6)  0, 1, -1, 2, -2, 1/2, -1/2, inf    22e-6     6.1e-6   (the best of seven sets)

So F(4 x 4) costs no accuracy against the direct sum if its points are chosen well: products of
256 terms instead of 2304 round less, which pays for what the transforms amplify.

A point and its negative share their even and their odd part, which halves the transforms.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from sam3_tvm.compiler.kernels.emit import Expr, bind, splat

__all__ = ["INPUTS", "OUTPUTS", "TAPS", "transform_input", "transform_output", "transform_taps"]

OUTPUTS = 4
"""Outputs of a tile, along one axis."""
TAPS = 3
"""Taps of the filter, along one axis."""
INPUTS = OUTPUTS + TAPS - 1
"""Inputs of a tile, and multiplications, along one axis."""

_A, _B = Fraction(5, 8), Fraction(3, 2)
# Zero first, infinity (not in the list) last.
_POINTS = (Fraction(0), _A, -_A, _B, -_B)


def _times(value: Expr, factor: Fraction, lanes: int) -> Expr:
    return value if factor == 1 else value * splat(float(factor), lanes)


def _plus_minus(even: Expr, odd: Expr) -> tuple[Expr, Expr]:
    even, odd = bind(even), bind(odd)
    return bind(even + odd), bind(even - odd)


def transform_input(d: Sequence[Expr], lanes: int) -> list[Expr]:
    """``B^T d``.

    Args:
        d: :data:`INPUTS` neighbouring inputs, each a vector of as many tiles.
        lanes: values in a vector.

    Returns:
        :data:`INPUTS` values.
    """
    a2, b2 = _A * _A, _B * _B

    def pair(point: Fraction, other2: Fraction) -> tuple[Expr, Expr]:
        # (x - p)(x + p)(x^2 - q^2) x, divided by x - p or by x + p.
        even = d[4] - _times(d[2], other2, lanes)
        odd = d[3] - _times(d[1], other2, lanes)
        return _plus_minus(even, _times(odd, point, lanes))

    def through(k: int) -> Expr:
        # (x^2 - a^2)(x^2 - b^2), times x if k is 1.
        return bind(d[k + 4] - _times(d[k + 2], a2 + b2, lanes) + _times(d[k], a2 * b2, lanes))

    return [through(0), *pair(_A, b2), *pair(_B, a2), through(1)]


def transform_output(m: Sequence[Expr], lanes: int) -> list[Expr]:
    """``A^T m``.

    Args:
        m: :data:`INPUTS` sums of products.
        lanes: values in a vector.

    Returns:
        :data:`OUTPUTS` neighbouring outputs.
    """
    sum_a, difference_a = _plus_minus(m[1], m[2])
    sum_b, difference_b = _plus_minus(m[3], m[4])

    def powers(k: int, of_a: Expr, of_b: Expr) -> Expr:
        return _times(of_a, _A**k, lanes) + _times(of_b, _B**k, lanes)

    return [
        bind(m[0] + sum_a + sum_b),
        bind(powers(1, difference_a, difference_b)),
        bind(powers(2, sum_a, sum_b)),
        bind(m[5] + powers(3, difference_a, difference_b)),
    ]


def transform_taps(g: Sequence[Expr], lanes: int) -> list[Expr]:
    """``G g``.

    Args:
        g: :data:`TAPS` taps.
        lanes: values in a vector.

    Returns:
        :data:`INPUTS` values.
    """
    a2, b2 = _A * _A, _B * _B

    def pair(point: Fraction, other2: Fraction) -> tuple[Expr, Expr]:
        # N of p: p (2 p) (p^2 - q^2), the same for -p.
        scale = 1 / (2 * point * point * (point * point - other2))
        even = _times(g[0], scale, lanes) + _times(g[2], scale * point * point, lanes)
        return _plus_minus(even, _times(g[1], scale * point, lanes))

    return [
        bind(_times(g[0], 1 / (a2 * b2), lanes)),
        *pair(_A, b2),
        *pair(_B, a2),
        g[2],
    ]
