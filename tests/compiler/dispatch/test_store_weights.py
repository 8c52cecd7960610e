"""How weights are rounded, that the kernels get them, and what stays in float32."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from dispatch_testing import TARGET, build, close, kernels, randoms, run
from tvm import relax
from tvm.relax import op as R

from sam3_tvm import arithmetic
from sam3_tvm.compiler.dispatch.conv import DispatchConv
from sam3_tvm.compiler.dispatch.linear import DispatchLinear
from sam3_tvm.compiler.dispatch.store_weights import store_rows
from sam3_tvm.compiler.graph.arithmetic import with_arithmetic
from sam3_tvm.compiler.memory.weights import lift_params

NARROW = ("float16", "int8")


def storing(mod, precision):
    """The module, its function with the arithmetic that stores weights so."""
    main = with_arithmetic(mod["main"], arithmetic.storing(precision))
    return tvm.IRModule({"main": main})


def rounded(w, precision):
    """[N, ...] as it is stored, in float64: the definition."""
    if precision == "float16":
        return w.astype("float16").astype("float64")
    rows = w.reshape(len(w), -1).astype("float64")
    scale = np.abs(rows).max(axis=1, keepdims=True) / 127
    return (np.round(rows / scale) * scale).reshape(w.shape)


def test_int8_rows_use_their_whole_range_and_err_by_half_a_step():
    def body(emit, w):
        quantised, scale = store_rows(emit, w, "int8")
        return relax.Tuple([quantised, scale])

    w = np.concatenate(randoms((30, 57))) * np.float32(0.02)
    w[3] *= 1000
    w[4] *= -1e-12
    w[5] = 0
    q, scale = run(build([], [("w", w.shape)], body), w)
    assert (q.dtype, scale.dtype, scale.shape) == ("int8", "float32", (30,))
    assert (np.abs(q).max(axis=1) == np.where(np.arange(30) == 5, 0, 127)).all()
    error = np.abs(q * scale[:, None].astype("float64") - w).max(axis=1)
    assert (error <= 0.5001 * scale).all()
    assert np.isfinite(scale).all()


def test_the_largest_weight_of_any_row_becomes_127_steps():
    def body(emit, w):
        return store_rows(emit, w, "int8")[0]

    w = np.random.default_rng(1).standard_normal((4000, 1), dtype="float32")
    got = run(build([], [("w", w.shape)], body), w)
    np.testing.assert_array_equal(got, np.where(w > 0, 127, -127))


def linear(emit, x, w, bias):
    return R.add(emit(R.matmul(x, emit(R.permute_dims(w)))), bias)


@pytest.mark.parametrize("precision", NARROW)
def test_linear_layers_store_rounded_weights(precision):
    mod = build([("x", ("b", 5, 33))], [("w", (19, 33)), ("b", (19,))], linear)
    after = DispatchLinear(TARGET)(storing(mod, precision))
    assert kernels(after) == [f"linear_33x19_bias_{precision}"]
    x, w, bias = randoms((2, 5, 33), (19, 33), (19,))
    close(run(after, x, w, bias), x @ rounded(w, precision).T + bias)


@pytest.mark.parametrize("precision", NARROW)
def test_rounding_moves_to_compile_time(precision):
    mod = build([("x", ("n", 24))], [("w", (40, 24)), ("b", (40,))], linear)
    after, transform = lift_params(DispatchLinear(TARGET)(storing(mod, precision)), ["main"])
    [entry] = [f for f in transform.functions.values() if isinstance(f, relax.Function)]
    dtypes = {str(field.dtype) for field in entry.ret_ty.fields}
    assert dtypes == {precision, "float32"}
    assert kernels(after) == [f"linear_24x40_bias_{precision}"]
    assert "astype" not in after.script()


@pytest.mark.parametrize("precision", NARROW)
def test_convolutions_store_rounded_weights(precision):
    def body(emit, x, w, bias):
        return R.add(emit(R.nn.conv2d(x, w, padding=1)), bias)

    mod = build([("x", ("b", 5, 6, 7))], [("w", (9, 5, 3, 3)), ("b", (1, 9, 1, 1))], body)
    after = DispatchConv(TARGET)(storing(mod, precision))
    assert kernels(after) == [f"conv3x3_5x9_6x7_bias_{precision}"]
    x, w, bias = randoms((2, 5, 6, 7), (9, 5, 3, 3), (1, 9, 1, 1))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    want = np.einsum("bihwyx,oiyx->bohw", windows, rounded(w, precision)) + bias
    close(run(after, x, w, bias), want)


@pytest.mark.parametrize("precision", NARROW)
def test_transposed_convolutions_store_rounded_weights(precision):
    def body(emit, x, w):
        return R.nn.conv2d_transpose(x, w, strides=2)

    mod = build([("x", ("b", 5, 3, 4))], [("w", (5, 6, 2, 2))], body)
    after = DispatchConv(TARGET)(storing(mod, precision))
    assert kernels(after) == [f"conv_transpose2x2_5x6_3x4_{precision}"]
    x, w = randoms((2, 5, 3, 4), (5, 6, 2, 2))
    # A row of weights, with a scale of its own, is an output channel and a place in the 2 x 2.
    rows = rounded(w.transpose(1, 2, 3, 0).reshape(24, 5), precision).reshape(6, 2, 2, 5)
    want = np.einsum("bihw,oyxi->bohywx", x, rows).reshape(2, 6, 6, 8)
    close(run(after, x, w), want)


def test_weights_that_a_call_brings_are_not_rounded():
    def body(emit, x, w):
        return R.nn.conv2d(x, w)

    mod = build([("x", (1, 5, 6, 7)), ("w", (9, 5, 1, 1))], [], body)
    assert all("int8" not in name for name in kernels(DispatchConv(TARGET)(storing(mod, "int8"))))


def test_float32_is_what_it_was():
    mod = build([("x", ("n", 24))], [("w", (40, 24)), ("b", (40,))], linear)
    said, unsaid = (DispatchLinear(TARGET)(m) for m in (storing(mod, "float32"), mod))
    said["main"] = said["main"].without_attr("arithmetic")
    tvm.ir.assert_structural_equal(said, unsaid)
