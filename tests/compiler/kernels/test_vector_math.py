"""Errors of the vectorised exponential and GELU over their whole ranges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from kernel_testing import compiled

from sam3_tvm.compiler.kernels.emit import ceil_div, kernel, load, loop, store, tensor
from sam3_tvm.compiler.kernels.vector_math import exp2_nonpositive, gelu, relu, transposed
from sam3_tvm.compiler.targets.cpu import CpuTarget


def evaluate(function, x, lanes):
    """``function`` on every value of a float32 vector, ``lanes`` at a time."""
    padded = np.zeros(ceil_div(x.size, lanes) * lanes, "float32")
    padded[: x.size] = x
    with kernel("elementwise") as made:
        a = tensor("a", (padded.size,))
        b = tensor("b", (padded.size,))
        with loop(padded.size // lanes) as i:
            store(b, function(load(a, i * lanes, lanes=lanes), lanes), i * lanes, lanes=lanes)
    return compiled(made.func, CpuTarget.native())(padded, np.full_like(padded, np.nan))[: x.size]


NATIVE = CpuTarget.native()
LANES = [1, 4, NATIVE.lanes]
# By arithmetic that every CPU has, and by what this one has beyond it.
EXP2 = pytest.mark.parametrize(
    ("lanes", "features"), [*((lanes, ()) for lanes in LANES), (NATIVE.lanes, NATIVE.features)]
)
ROUNDED = pytest.mark.parametrize(("rounded", "bound"), [(False, 2e-7), (True, 1.2e-4)])


def exp2(features, rounded):
    return lambda x, lanes: exp2_nonpositive(x, lanes, features, rounded)


@EXP2
@ROUNDED
def test_exp2_is_within_its_stated_error(lanes, features, rounded, bound):
    x = np.concatenate([-np.geomspace(1e-9, 126, 200_001), [0.0]]).astype("float32")
    want = np.exp2(x.astype("float64"))
    error = np.abs(evaluate(exp2(features, rounded), x, lanes) / want - 1)
    assert error.max() < bound, f"relative error {error.max():.2e} at {x[error.argmax()]}"


@EXP2
@ROUNDED
def test_exp2_is_exact_at_its_ends_and_keeps_nan(lanes, features, rounded, bound):
    x = np.array([-150.0, -1000.0, -3.4028235e38, -np.inf, np.nan, 0.0, -0.0], "float32")
    function = exp2(features, rounded)
    np.testing.assert_array_equal(evaluate(function, x, lanes), [0, 0, 0, 0, np.nan, 1, 1])
    fading = evaluate(function, np.linspace(-150, -126, 101, dtype="float32"), lanes)
    assert (fading >= 0).all()
    assert (fading <= 2.0**-126 * (1 + bound)).all()


@pytest.mark.parametrize("lanes", LANES)
def test_gelu_is_within_its_stated_error(lanes):
    magnitude = np.geomspace(1e-6, 100, 100_001)
    x = np.concatenate([-magnitude, [0.0], magnitude]).astype("float32")
    exact = np.array([0.5 * v * math.erfc(-v / math.sqrt(2)) for v in x.astype("float64")])
    # Beyond |x| = 6 the result is x or 0 and only float32's own rounding is left.
    bound = np.maximum(4e-7, 1.2e-7 * np.abs(exact))
    error = np.abs(evaluate(gelu, x, lanes) - exact)
    assert (error <= bound).all(), f"error {error.max():.2e} at {x[(error - bound).argmax()]}"


def test_gelu_and_relu_at_the_ends():
    x = np.array([np.inf, -np.inf, 2.0**100, -(2.0**100), np.nan, -0.0], "float32")
    np.testing.assert_array_equal(evaluate(gelu, x, 4), [np.inf, 0, 2.0**100, 0, np.nan, 0])
    np.testing.assert_array_equal(evaluate(relu, x, 4), [np.inf, 0, 2.0**100, 0, np.nan, 0])


@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16])
def test_transposition(lanes):
    with kernel("transpose") as made:
        a = tensor("a", (lanes, lanes))
        b = tensor("b", (lanes, lanes))
        rows = [load(a, i, 0, lanes=lanes) for i in range(lanes)]
        for i, row in enumerate(transposed(rows, lanes)):
            store(b, row, i, 0, lanes=lanes)
    x = np.arange(lanes * lanes, dtype="float32").reshape(lanes, lanes)
    got = compiled(made.func, CpuTarget.native())(x, np.full_like(x, np.nan))
    np.testing.assert_array_equal(got, x.T)
