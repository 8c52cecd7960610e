"""The linear kernel against NumPy: awkward sizes, every epilogue, every CPU level."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from kernel_testing import FIRST_HIGHEST, LEVELS, assert_close, compiled, empty

from sam3_tvm.arithmetic import storing
from sam3_tvm.compiler.kernels.emit import as_index
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.kernels.product.linear import (
    kernel_name,
    linear_kernel,
    linear_layout,
)
from sam3_tvm.compiler.kernels.product.task import task_rows
from sam3_tvm.compiler.kernels.product.tile import gemm_tile, short_tile
from sam3_tvm.compiler.targets.cpu import CpuTarget

erfc = np.vectorize(math.erfc, otypes=[float])


def check(level, rows, n, k, epilogue=Epilogue()):  # noqa: B008 - frozen
    target = CpuTarget.parse(level)
    kernel = compiled(linear_kernel(target, n, k, epilogue), target)
    rng = np.random.default_rng(n * k)
    w = rng.standard_normal((n, k), dtype="float32") / np.float32(math.sqrt(k))
    bias = rng.standard_normal(n, dtype="float32")
    packed = linear_layout(target).array(w)
    for m in rows:
        x = rng.standard_normal((m, k), dtype="float32")
        residual = rng.standard_normal((m, n), dtype="float32")
        want = x.astype("float64") @ w.T
        arguments = [x, packed]
        if epilogue.bias:
            arguments.append(np.pad(bias, (0, packed.shape[0] * packed.shape[2] - n)))
            want = want + bias
        if epilogue.activation == "gelu":
            want = 0.5 * want * erfc(-want / math.sqrt(2))
        if epilogue.activation == "relu":
            want = np.maximum(want, 0)
        if epilogue.residual:
            arguments.append(residual)
            want = want + residual
        assert_close(kernel(*arguments, empty(m, n)), want)


# Less than a tile of rows, whole ones, and every kind of rest; one task of rows, and several.
ROWS = (0, 1, 2, 7, 8, 11, 12, 13, 31, 32, 33, 47, 48, 96, 97, 201)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 3), (4, 256), (31, 17), (129, 40), (300, 1000)])
def test_awkward_sizes_with_one_compiled_kernel_for_all_row_counts(n, k):
    check("native", ROWS, n, k, Epilogue(bias=True))


@pytest.mark.parametrize("level", FIRST_HIGHEST)
def test_every_level_that_runs_here(level):
    check(level, ROWS, 33, 257, Epilogue(bias=True, activation="gelu"))


@pytest.mark.parametrize(
    "epilogue",
    [
        Epilogue(),
        Epilogue(activation="gelu"),
        Epilogue(residual="after"),
        Epilogue(bias=True, activation="relu"),
        Epilogue(bias=True, activation="gelu", residual="after"),
    ],
    ids=lambda e: kernel_name(45, 37, e),
)
def test_epilogues(epilogue):
    check("native", (1, 25), 45, 37, epilogue)


def test_few_rows_of_a_layer_that_strassen_takes_when_there_are_many():
    check("native", (1, 8, 9, 32, 48, 201), 512, 256, Epilogue(bias=True))


def test_tasks_have_equally_many_rows_but_for_the_last():
    def rows(m, most, unit):
        return int(task_rows(as_index(m), most, unit))

    assert rows(201, 96, 12) == 72
    assert rows(201, 192, 24) == 120
    assert rows(97, 96, 6) == 54
    assert rows(5184, 96, 12) == 96
    assert rows(0, 96, 12) == 12
    assert all(m <= rows(m, 96, 12) <= 96 for m in range(1, 97))


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("level", LEVELS)
def test_a_rest_of_rows_has_a_tile_of_its_own(level, precision):
    target = CpuTarget.parse(level)
    script = linear_kernel(target, 64, 32, Epilogue(), storing(precision)).script()
    tile = gemm_tile(target)
    tiles = [tile, short_tile(tile)] if precision == "float32" else [tile, tile, short_tile(tile)]
    held = len(re.findall(rf'alloc_buffer\(\(T.int64\({tile.vectors}\),\), "float32x', script))
    assert held == sum(t.rows for t in tiles)


def test_several_tasks_in_both_directions_and_blocks_of_k():
    check("native", (400,), 1100, 600, Epilogue(bias=True, activation="gelu", residual="after"))


def test_rows_next_to_a_masked_value_are_not_touched():
    # A row of NaN must stay a row of NaN and nothing else: padded rows repeat the last one.
    target = CpuTarget.native()
    kernel = compiled(linear_kernel(target, 5, 8, Epilogue()), target)
    x = np.ones((14, 8), "float32")
    x[13] = np.nan
    got = kernel(x, linear_layout(target).array(np.ones((5, 8), "float32")), empty(14, 5))
    np.testing.assert_array_equal(got[:13], 8.0)
    assert np.isnan(got[13]).all()


def test_name_tells_what_is_fused():
    assert kernel_name(4736, 1024, Epilogue(True, "gelu")) == "linear_1024x4736_bias_gelu"
