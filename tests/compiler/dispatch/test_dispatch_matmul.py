"""Products of activations and einsum: what becomes the kernel, and that the numbers stay."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from dispatch_testing import TARGET, build, close, kernels, operators, randoms, run
from tvm.relax import op as R

from sam3_tvm.compiler.dispatch.matmul import DispatchMatmul


def dispatched(mod):
    return DispatchMatmul(TARGET)(mod)


SIZES = {"b": 2, "m": 5, "n": 9, "k": 12}


def concrete(shape):
    return [SIZES.get(d, d) for d in shape]


@pytest.mark.parametrize(
    ("a", "b", "name"),
    [
        (("m", 6), (6, 40), "matmul_6x40_shared_a_shared_b"),
        (("b", "m", 6), ("b", 6, "n"), "matmul_6xn"),
        (("b", 3, "m", "k"), ("b", 3, "k", 7), "matmul_kx7"),
        (("b", "m", 6), (6, 40), "matmul_6x40_shared_a_shared_b"),
        (("b", "m", 6), (1, 6, 40), "matmul_6x40_shared_a_shared_b"),
        (("m", 6), ("b", 6, 40), "matmul_6x40_shared_a"),
        (("b", 1, "m", 6), (3, 6, 40), "matmul_6x40"),
    ],
)
def test_ranks_and_batches(a, b, name):
    after = dispatched(build([("a", a), ("b", b)], [], lambda emit, x, y: R.matmul(x, y)))
    assert kernels(after) == [name]
    assert operators(after) <= {"call_tir", "reshape", "broadcast_to"}
    x, y = randoms(concrete(a), concrete(b))
    close(run(after, x, y), x @ y)


def test_transposed_second_operand_is_read_as_stored():
    def body(emit, a, b):
        return R.matmul(a, emit(R.permute_dims(b, [0, 1, 3, 2])))

    inputs = [("a", ("b", 3, "m", 6)), ("b", ("b", 3, "n", 6))]
    after = dispatched(build(inputs, [], body))
    assert kernels(after) == ["matmul_6xn_transposed"]
    assert "permute_dims" not in operators(after)
    a, b = randoms((2, 3, 5, 6), (2, 3, 9, 6))
    close(run(after, a, b), a @ b.swapaxes(2, 3))


def test_a_column_added_joins_the_product():
    """Here a product as well, which keeps a kernel of its own."""

    def body(emit, a, b, c):
        return R.add(emit(R.matmul(a, c)), emit(R.matmul(a, b)))

    inputs = [("a", ("b", "m", 6)), ("b", ("b", 6, 40)), ("c", ("b", 6, 1))]
    after = dispatched(build(inputs, [], body))
    assert sorted(kernels(after)) == ["matmul_6x1", "matmul_6x40_bias"]
    a, b, c = randoms((2, 5, 6), (2, 6, 40), (2, 6, 1))
    close(run(after, a, b, c), a @ c + a @ b)


def test_another_permutation_stays():
    def body(emit, a, b):
        return R.matmul(a, emit(R.permute_dims(b, [1, 2, 0])))

    after = dispatched(build([("a", ("b", "m", 6)), ("b", ("n", "b", 6))], [], body))
    assert kernels(after) == ["matmul_6xn"]
    assert "permute_dims" in operators(after)
    a, b = randoms((2, 5, 6), (9, 2, 6))
    close(run(after, a, b), a @ b.transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("subscripts", "a", "b"),
    [
        ("bqc,bchw->bqhw", ("b", "m", 6), ("b", 6, 4, 5)),
        ("bqc,bchw->bhwq", ("b", "m", 6), ("b", 6, 4, 5)),
        ("bqc,btc->bqt", ("b", "m", 6), ("b", "n", 6)),
        ("bld,bd->bl", ("b", "m", 6), ("b", 6)),
        ("bhwd,hkd->bhwk", ("b", 4, 5, 6), (4, 7, 6)),
        ("ij,jk->ki", ("m", 6), (6, "n")),
        ("i,j->ij", ("m",), ("n",)),
    ],
)
def test_einsum_of_two_operands_becomes_a_product(subscripts, a, b):
    def body(emit, x, y):
        return R.einsum((x, y), subscripts)

    after = dispatched(build([("a", a), ("b", b)], [], body))
    assert len(kernels(after)) == 1
    assert "einsum" not in operators(after)
    x, y = randoms(concrete(a), concrete(b))
    close(run(after, x, y), np.einsum(subscripts, x, y))


@pytest.mark.parametrize(
    ("subscripts", "a", "b"),
    [("ij,kl->ik", (4, 6), (6, 5)), ("ii,ij->ij", (6, 6), (6, 5))],
    ids=["sum of one operand alone", "diagonal"],
)
def test_an_einsum_that_is_more_than_a_product_stays(subscripts, a, b):
    before = build([("a", a), ("b", b)], [], lambda emit, x, y: R.einsum((x, y), subscripts))
    tvm.ir.assert_structural_equal(dispatched(before), before)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (("a", (4, 6), "float16"), ("b", (6, 5), "float16")),
        (("a", (6,)), ("b", (6, 5))),
    ],
    ids=["float16", "vector"],
)
def test_what_the_kernel_cannot_do_stays_as_it_is(a, b):
    before = build([a, b], [], lambda emit, x, y: R.matmul(x, y))
    tvm.ir.assert_structural_equal(dispatched(before), before)
