"""How far results are from the reference's, and who is the more exact."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sam3_tvm.bench.exactness import OFF, ROUNDING, SLACK, Error, largest, relative_error


def test_errors_are_relative_to_the_values_and_to_the_largest():
    wanted = np.array([3.0, -4.0], np.float32)
    error = relative_error(np.array([3.5, -4.0], np.float32), wanted)
    assert error.largest == 0.125
    assert error.rms == pytest.approx(0.5 / 5.0)


def test_of_booleans_it_is_the_share_that_differs():
    error = relative_error(np.array([True, False]), np.array([True, True]))
    assert error == Error(0.5, 0.5)


def test_another_shape_is_off_and_nothing_is_exact():
    wanted = np.ones(2, np.float32)
    assert relative_error(wanted[:1], wanted) == Error(math.inf, math.inf)
    assert relative_error(wanted[:1], wanted).off
    assert relative_error(np.zeros((0, 3)), np.zeros((0, 3))) == Error(0.0, 0.0)


def test_not_a_number_is_off_and_larger_than_any_error():
    wanted = np.ones(2, np.float32)
    error = relative_error(np.array([1.0, np.nan], np.float32), wanted)
    assert error.off
    whole = largest([Error(0.0, 0.0), error, Error(0.5, 0.5)])
    assert math.isnan(whole.rms)
    assert math.isnan(whole.largest)
    assert not error.at_least_as_exact_as(Error(0.05, 0.05))


def test_the_largest_of_each_is_taken():
    assert largest([Error(0.1, 0.2), Error(0.3, 0.1)]) == Error(0.3, 0.2)
    assert largest([]) == Error(0.0, 0.0)


def test_half_precision_and_eight_bits_are_not_off_but_another_result_is():
    rng = np.random.default_rng(0)
    wanted = rng.standard_normal(1000).astype(np.float32)
    assert not relative_error(wanted.astype(np.float16), wanted).off
    assert not Error(0.04, 0.3).off
    assert Error(1.01 * OFF, 0.2).off
    assert relative_error(wanted[::-1], wanted).off


def test_at_least_as_exact_is_no_larger_error_or_rounding():
    exact, half = Error(2e-6, 1e-5), Error(0.0125, 0.05)
    assert Error(0.9 * ROUNDING, 1.0).at_least_as_exact_as(exact)
    assert not Error(2 * ROUNDING, 0.0).at_least_as_exact_as(exact)
    assert exact.at_least_as_exact_as(half)
    assert not half.at_least_as_exact_as(exact)
    assert Error(0.99 * SLACK * 0.0125, 1.0).at_least_as_exact_as(half)
    assert not Error(1.01 * SLACK * 0.0125, 0.0).at_least_as_exact_as(half)
