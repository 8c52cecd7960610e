"""Products are of what is padded and of what is left, not of the padding; and the numbers stay."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from dispatch_testing import TARGET, build, close, kernels, run
from tvm import relax
from tvm.relax import op as R

from sam3_tvm.compiler.algebra.move_padding import MovePadding
from sam3_tvm.compiler.dispatch.linear import DispatchLinear

INPUTS = [("x", ("b", 3, 5, 8))]
PARAMS = [("w", (12, 8)), ("bias", (12,))]
WIDTHS = [0, 0, 0, 1, 2, 3, 0, 0]


def arguments(b):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(s, dtype="float32") for s in ((b, 3, 5, 8), (12, 8), (12,))]


def linear(emit, x, w, bias=None):
    product = emit(R.matmul(x, emit(R.permute_dims(w))))
    return product if bias is None else emit(R.add(product, bias))


def crop(emit, y, *ends):
    for axis, end in ends:
        y = emit(R.strided_slice(y, [axis], [0], [end], [1], assume_inbound=True))
    return y


def rows(mod):
    """Of each product, the size of what it is applied to behind the batch."""
    found = []

    def visit(e):
        if isinstance(e, relax.Call) and e.op == tvm.ir.Op.get("relax.matmul"):
            found.append([int(n) for n in list(e.args[0].ty.shape)[1:-1]])

    relax.analysis.post_order_visit(mod["main"], visit)
    return found


@pytest.mark.parametrize("biased", [True, False])
def test_padding_comes_after_the_product_and_is_the_bias_then(biased):
    def body(emit, x, w, bias):
        return R.nn.relu(linear(emit, emit(R.nn.pad(x, WIDTHS)), w, bias if biased else None))

    before = build(INPUTS, PARAMS, body)
    # With ReLU in its epilogue it isn't next to padding, and stays.
    tvm.ir.assert_structural_equal(MovePadding()(before), relax.transform.Normalize()(before))

    def plain(emit, x, w, bias):
        y = linear(emit, emit(R.nn.pad(x, WIDTHS)), w, bias if biased else None)
        return R.reshape(y, (y.ty.shape.values[0], 4 * 10, 12))

    after = MovePadding()(build(INPUTS, PARAMS, plain))
    assert rows(after) == [[3, 5]]
    assert kernels(DispatchLinear(TARGET)(after)) == ["linear_8x12"]
    x, w, bias = arguments(2)
    wanted = np.pad(x, [(0, 0), (0, 1), (2, 3), (0, 0)]) @ w.T + bias * biased
    close(run(after, x, w, bias), wanted.reshape(2, 40, 12))


def test_cropping_comes_before_the_product_which_takes_the_residual_then():
    def body(emit, x, r, w, bias):
        return R.add(crop(emit, linear(emit, x, w, bias), (1, 2), (2, 4)), r)

    residual = [("r", ("b", 2, 4, 12))]
    after = MovePadding()(build([*INPUTS, *residual], PARAMS, body))
    assert rows(after) == [[2, 4]]
    assert kernels(DispatchLinear(TARGET)(after)) == ["linear_8x12_bias_residual"]
    x, w, bias = arguments(2)
    r = np.ones((2, 2, 4, 12), np.float32)
    close(run(after, x, r, w, bias), (x @ w.T + bias)[:, :2, :4] + r)


@pytest.mark.parametrize(
    "case",
    ["padded by one", "columns padded", "padded by nothing", "columns cropped", "used twice"],
)
def test_what_is_more_than_rows_of_zeros_stays(case):
    def body(emit, x, w, bias):
        if case == "padded by one":
            x = emit(R.nn.pad(x, WIDTHS, pad_value=1.0))
        elif case == "columns padded":
            x = emit(R.nn.pad(crop(emit, x, (3, 6)), [0] * 6 + [1, 1]))
        elif case == "padded by nothing":
            x = emit(R.nn.pad(x, [0] * 8))
        y = linear(emit, x, w, bias)
        if case == "columns cropped":
            y = crop(emit, y, (3, 6))
        if case == "used twice":
            return R.add(crop(emit, y, (1, 2)), crop(emit, emit(R.nn.relu(y)), (1, 2)))
        return R.negative(y)

    before = relax.transform.Normalize()(build(INPUTS, PARAMS, body))
    tvm.ir.assert_structural_equal(MovePadding()(before), before)
