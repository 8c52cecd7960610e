"""The matmul kernel against NumPy: awkward and symbolic sizes, transposed and shared operands."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from kernel_testing import FIRST_HIGHEST, assert_close, compiled, empty

from sam3_tvm.compiler.kernels.product.matmul import MatmulSpec, kernel_name, matmul_kernel
from sam3_tvm.compiler.targets.cpu import CpuTarget


def check(level, spec, sizes):
    """Run every (batch, M, N, K) through one compiled kernel."""
    target = CpuTarget.parse(level)
    kernel = compiled(matmul_kernel(target, spec), target)
    rng = np.random.default_rng(0)
    for batch, m, n, k in sizes:
        a = rng.standard_normal((batch if spec.a_batched else 1, m, k), dtype="float32")
        b = rng.standard_normal((batch if spec.b_batched else 1, k, n), dtype="float32")
        stored = b.swapaxes(1, 2) if spec.transposed else b
        assert_close(kernel(a, stored, empty(batch, m, n)), a.astype("float64") @ b)


SIZES = [
    (b, m, n, k)
    for b, (m, n, k) in zip(
        itertools.cycle((1, 3)),
        [(1, 1, 1), (5, 3, 7), (200, 33, 100), (13, 300, 257), (0, 4, 4), (4, 0, 4)],
        strict=False,
    )
]


@pytest.mark.parametrize("level", FIRST_HIGHEST)
@pytest.mark.parametrize("transposed", [False, True])
def test_every_size_symbolic(level, transposed):
    check(level, MatmulSpec(None, None, transposed), SIZES)


def test_an_empty_reduction_gives_zeros():
    check("native", MatmulSpec(None, None), [(2, 3, 4, 0)])


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (64, 32), (200, 300), (17, 513)])
def test_static_sizes(n, k, transposed):
    check("native", MatmulSpec(n, k, transposed), [(2, m, n, k) for m in (1, 8, 12, 32, 193)])


@pytest.mark.parametrize("transposed", [False, True])
def test_rows_of_several_blocks(transposed):
    # One block has 216 rows at most, and blocks are of nearly equal height.
    spec = MatmulSpec(None, None, transposed)
    check("native", spec, [(1, 216, 33, 9), (3, 217, 40, 20), (2, 433, 17, 8), (1, 1000, 5, 7)])
    check("native", MatmulSpec(70, 20, transposed), [(3, 217, 70, 20), (1, 650, 70, 20)])


@pytest.mark.parametrize(("a_batched", "b_batched"), [(False, True), (True, False)])
def test_a_shared_operand(a_batched, b_batched):
    spec = MatmulSpec(40, None, a_batched=a_batched, b_batched=b_batched)
    check("native", spec, [(3, 7, 40, 20), (1, 7, 40, 20)])


def test_name_tells_sizes_and_storage():
    assert kernel_name(MatmulSpec(None, 64, transposed=True)) == "matmul_64xn_transposed"
    assert kernel_name(MatmulSpec(8, None, b_batched=False)) == "matmul_kx8_shared_b"
