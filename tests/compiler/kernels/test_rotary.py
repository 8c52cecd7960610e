"""The rotation of rows by their positions, beside NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_testing import NATIVE, compiled, empty

from sam3_tvm.compiler.kernels.rotary import rotary_kernel


@pytest.mark.parametrize(
    ("batch", "length", "size", "period", "count"),
    [(1, 1, 2, 1, 1), (2, 50, 64, 7, 21), (1, 40, 34, 9, 0), (3, 17, 6, 40, 17), (0, 5, 8, 3, 2)],
)
def test_the_first_rows_are_rotated_and_the_rest_is_copied(batch, length, size, period, count):
    rng = np.random.default_rng(size)
    x = rng.standard_normal((batch, length, size), dtype="float32")
    angles = rng.uniform(-3, 3, (period, size // 2)).repeat(2, axis=1)
    sign = np.where(np.arange(size) % 2, 1, -1)
    table = np.stack([np.cos(angles), np.sin(angles) * sign], axis=1).astype("float32")
    got = compiled(rotary_kernel(NATIVE, period, size), NATIVE)(x, table, count, empty(*x.shape))
    rows = np.arange(length) % period
    pairs = x.astype("float64").reshape(batch, length, size // 2, 2)
    as_complex = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(1j * angles[rows, ::2])
    want = np.stack([as_complex.real, as_complex.imag], axis=-1).reshape(x.shape)
    want[:, count:] = x[:, count:]
    np.testing.assert_allclose(got, want, atol=1e-5)
    np.testing.assert_array_equal(got[:, count:], x[:, count:])
