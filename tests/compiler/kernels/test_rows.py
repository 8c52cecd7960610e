"""Rows of narrow tables, beside NumPy's, value by value."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_testing import NATIVE, as_bfloat16, bfloat16_bits, compiled, empty

from sam3_tvm.compiler.kernels.product.stored_weights import widens
from sam3_tvm.compiler.kernels.rows import rows_kernel


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("index", ["int32", "int64"])
@pytest.mark.parametrize(("rows", "size", "count"), [(1, 1, 3), (300, 37, 50), (9, 64, 0)])
def test_rows_are_those_of_the_table(precision, index, rows, size, count):
    if not widens(NATIVE, precision):
        pytest.skip("nothing widens float16 here")
    rng = np.random.default_rng(size)
    table = rng.standard_normal((rows, size), dtype="float32")
    stored, wide = {
        "float32": lambda t: (t, t),
        "float16": lambda t: (t.astype("float16"), t.astype("float16")),
        "bfloat16": lambda t: (bfloat16_bits(t), as_bfloat16(t)),
    }[precision](table)
    indices = rng.integers(0, rows, count).astype(index)
    call = compiled(rows_kernel(NATIVE, rows, size, precision, index), NATIVE)
    got = call(stored, indices, empty(count, size))
    np.testing.assert_array_equal(got, wide[indices].astype("float32"))


@pytest.mark.parametrize("index", ["int32", "int64"])
def test_beyond_the_table_lies_its_nearest_row(index):
    table = np.arange(12, dtype="float32").reshape(4, 3)
    bounds = np.iinfo(index)
    indices = np.array([-1, 4, bounds.min, bounds.max, 2], index)
    call = compiled(rows_kernel(NATIVE, 4, 3, "bfloat16", index), NATIVE)
    got = call(bfloat16_bits(table), indices, empty(5, 3))
    np.testing.assert_array_equal(got, table[[0, 3, 0, 3, 2]])
