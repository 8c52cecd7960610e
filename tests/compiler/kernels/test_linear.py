"""The linear kernel against NumPy: awkward sizes, every epilogue, every CPU level."""

from __future__ import annotations

import math

import numpy as np
import pytest
from kernel_testing import NOT_RUNNABLE, RUNNABLE, assert_close, compiled, empty

from sam3_tvm.compiler.kernels.linear import Epilogue, kernel_name, linear_kernel, packed_shape
from sam3_tvm.compiler.target import CpuTarget

erfc = np.vectorize(math.erfc, otypes=[float])


def pack(target, w):
    """[N, K] -> [panels, K, width], as the pass writes it in Relax."""
    panels, k, width = packed_shape(target, *w.shape)
    padded = np.zeros((panels * width, k), "float32")
    padded[: w.shape[0]] = w
    return padded.reshape(panels, width, k).transpose(0, 2, 1)


def check(level, rows, n, k, epilogue=Epilogue()):  # noqa: B008 - frozen
    target = CpuTarget.parse(level)
    kernel = compiled(linear_kernel(target, n, k, epilogue), target)
    rng = np.random.default_rng(n * k)
    w = rng.standard_normal((n, k), dtype="float32") / np.float32(math.sqrt(k))
    bias = rng.standard_normal(n, dtype="float32")
    packed = pack(target, w)
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


ROWS = (0, 1, 2, 11, 13, 96, 97, 200)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 3), (4, 256), (31, 17), (129, 40), (300, 1000)])
def test_awkward_sizes_with_one_compiled_kernel_for_all_row_counts(n, k):
    check("native", ROWS, n, k, Epilogue(bias=True))


@pytest.mark.parametrize("level", RUNNABLE)
def test_every_level_that_runs_here(level):
    check(level, ROWS, 33, 257, Epilogue(bias=True, activation="gelu"))


@pytest.mark.parametrize(
    "epilogue",
    [
        Epilogue(),
        Epilogue(activation="gelu"),
        Epilogue(residual=True),
        Epilogue(bias=True, activation="relu"),
        Epilogue(bias=True, activation="gelu", residual=True),
    ],
    ids=lambda e: kernel_name(45, 37, e),
)
def test_epilogues(epilogue):
    check("native", (1, 25), 45, 37, epilogue)


def test_several_tasks_in_both_directions_and_blocks_of_k():
    check("native", (400,), 1100, 600, Epilogue(bias=True, activation="gelu", residual=True))


def test_rows_next_to_a_masked_value_are_not_touched():
    # A row of NaN must stay a row of NaN and nothing else: padded rows repeat the last one.
    target = CpuTarget.native()
    kernel = compiled(linear_kernel(target, 5, 8, Epilogue()), target)
    x = np.ones((14, 8), "float32")
    x[13] = np.nan
    got = kernel(x, pack(target, np.ones((5, 8), "float32")), empty(14, 5))
    np.testing.assert_array_equal(got[:13], 8.0)
    assert np.isnan(got[13]).all()


@pytest.mark.parametrize("level", NOT_RUNNABLE)
def test_levels_that_cannot_run_here_generate_code(level):
    target = CpuTarget.parse(level)
    panels, k, width = packed_shape(target, 100, 30)
    assert (panels - 1) * width < 100 <= panels * width
    assert k == 30
    func = linear_kernel(target, 100, 30, Epilogue(True, "gelu", True))
    assert callable(compiled(func, target))


def test_name_tells_what_is_fused():
    assert kernel_name(4736, 1024, Epilogue(True, "gelu")) == "linear_1024x4736_bias_gelu"
