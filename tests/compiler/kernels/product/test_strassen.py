"""Linear layers large enough for Strassen's algorithm. Sums of integers are exact in any order, so
integers must give NumPy's results bit for bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from kernel_testing import FIRST_HIGHEST, LEVELS, assert_close, compiled, empty

from sam3_tvm.arithmetic import storing
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.kernels.product.linear import linear_kernel, linear_layout
from sam3_tvm.compiler.kernels.product.strassen import fewest_rows, strassen_blocks
from sam3_tvm.compiler.targets.cpu import CpuTarget

# Nine pairs of panels of 32 columns, and two blocks of K, the second of them shorter.
N, K = 576, 544
ROWS = (0, 1, 95, 96, 101, 192, 205, 397)


def integers(rng, dtype, *shape):
    return rng.integers(-9, 10, shape).astype(dtype)


def check_exact(level, row_counts, precision="float32", epilogue=Epilogue()):  # noqa: B008
    target = CpuTarget.parse(level)
    assert strassen_blocks(target, N, K) is not None
    kernel = compiled(linear_kernel(target, N, K, epilogue, storing(precision)), target)
    rng = np.random.default_rng(7)
    weight = integers(rng, precision, N, K)
    scale = [2.0 ** rng.integers(-3, 3, N).astype("float32")] if precision == "int8" else []
    for m in row_counts:
        x, bias = integers(rng, "float32", m, K), integers(rng, "float32", N)
        residual = integers(rng, "float32", m, N)
        want = x.astype("float64") @ weight.T.astype("float64")
        if scale:
            want = want * scale[0]
        arguments = [x, linear_layout(target).array(weight), *scale]
        if epilogue.bias:
            want, arguments = want + bias, [*arguments, bias]
        if epilogue.activation == "relu":
            want = np.maximum(want, 0)
        if epilogue.residual:
            want, arguments = want + residual, [*arguments, residual]
        np.testing.assert_array_equal(kernel(*arguments, empty(m, N)), want)


@pytest.mark.parametrize("level", FIRST_HIGHEST)
def test_few_rows_whole_tasks_and_tails_give_exact_integers(level):
    check_exact(level, ROWS)


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_stored_weights_are_summed_after_widening(precision):
    check_exact("native", (96, 205), precision, Epilogue(bias=True, residual="after"))


def test_epilogue_sees_the_finished_sum():
    check_exact(
        "native", (200,), "float32", Epilogue(bias=True, activation="relu", residual="after")
    )


def test_error_stays_near_that_of_an_ordinary_product():
    target = CpuTarget.native()
    kernel = compiled(linear_kernel(target, 512, 2048, Epilogue()), target)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((192, 2048), dtype="float32")
    weight = rng.standard_normal((512, 2048), dtype="float32") / np.float32(math.sqrt(2048))
    want = x.astype("float64") @ weight.T
    assert_close(
        kernel(x, linear_layout(target).array(weight), empty(192, 512)), want, tolerance=4e-6
    )


def keeps_seven_products(target, n, k):
    """Whether the kernel has scratch for seven products of quarters."""
    blocks = strassen_blocks(target, n, k)
    size = 7 * blocks.rows * blocks.columns // 4 if blocks else 0
    return f"alloc_buffer((T.int64({size}),))" in linear_kernel(target, n, k, Epilogue()).script()


@pytest.mark.parametrize("level", LEVELS)
def test_only_large_products_that_halve_go_by_strassen(level):
    target = CpuTarget.parse(level)
    for n, k in [(4736, 1024), (1024, 4736), (2048, 256), (N, K)]:
        assert keeps_seven_products(target, n, k)
        blocks = strassen_blocks(target, n, k)
        assert blocks.panels % 2 == 0
        assert blocks.depth % (2 * target.lanes) == 0
        assert fewest_rows(blocks) % blocks.tile.rows == 0
    for n, k in [(256, 4096), (4096, 128), (1000, 1024), (1024, 1030)]:
        assert strassen_blocks(target, n, k) is None
        assert not keeps_seven_products(target, n, k)
