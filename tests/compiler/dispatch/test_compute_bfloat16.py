"""Which kernels functions get that compute in bfloat16, and what stays float32."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tvm
from dispatch_testing import TARGET, build, close, kernels, randoms, run
from kernel_testing import PLAIN_PAIRS, as_bfloat16
from tvm import relax
from tvm.relax import op as R
from upsampled_testing import definition

from sam3_tvm.arithmetic import BFLOAT16, BFLOAT16_FEATURES
from sam3_tvm.compiler.dispatch.attention import DispatchAttention
from sam3_tvm.compiler.dispatch.conv import DispatchConv
from sam3_tvm.compiler.dispatch.linear import DispatchLinear
from sam3_tvm.compiler.graph.arithmetic import with_arithmetic
from sam3_tvm.compiler.kernels.product import dot
from sam3_tvm.compiler.kernels.product.dot import FMA, dot_for
from sam3_tvm.compiler.memory.weights import lift_params


def computing(mod, scheme=BFLOAT16):
    return tvm.IRModule({"main": with_arithmetic(mod["main"], scheme)})


@pytest.fixture(params=["pairs", "widened"])
def taken(request, monkeypatch):
    """How activations are taken: rounded, by pairs in plain arithmetic, or as they are."""
    pairs = request.param == "pairs"
    monkeypatch.setitem(dot.DOTS, "bfloat16", (PLAIN_PAIRS if pairs else FMA,))
    return as_bfloat16 if pairs else lambda values: values.astype("float64")


def linear(emit, x, w, bias):
    return R.add(emit(R.matmul(x, emit(R.permute_dims(w)))), bias)


def test_a_linear_layer_multiplies_rounded_weights(taken):
    mod = build([("x", ("b", 5, 34))], [("w", (40, 34)), ("b", (40,))], linear)
    after = DispatchLinear(TARGET)(computing(mod))
    assert kernels(after) == ["round_to_bfloat16", "linear_34x40_bias_bfloat16"]
    x, w, bias = randoms((2, 5, 34), (40, 34), (40,))
    close(run(after, x, w, bias), taken(x) @ as_bfloat16(w).T + bias)


def block(reader):
    """Two layers with GELU between them, whose result ``reader`` takes as well."""

    def body(emit, x, first, second):
        wide = emit(R.nn.gelu(emit(R.matmul(x, emit(R.permute_dims(first))))))
        narrow = emit(R.matmul(wide, emit(R.permute_dims(second))))
        return reader(emit, wide, narrow)

    return build([("x", ("b", 5, 34))], [("w", (64, 34)), ("v", (36, 64))], body)


def gelu(values):
    return values * 0.5 * (1 + np.vectorize(math.erf)(values / math.sqrt(2)))


def test_between_two_layers_values_are_bfloat16_in_memory(taken):
    after = DispatchLinear(TARGET)(computing(block(lambda emit, wide, narrow: narrow)))
    names = [name for name in kernels(after) if name.startswith("linear")]
    if dot_for(TARGET, BFLOAT16).pairs:
        assert names == [
            "linear_34x64_gelu_rounded_bfloat16",
            "linear_64x36_of_rounded_bfloat16",
        ]
    else:
        assert names == ["linear_34x64_gelu_bfloat16", "linear_64x36_bfloat16"]
    x, w, v = randoms((2, 5, 34), (64, 34), (36, 64))
    close_in_bfloat16(
        run(after, x, w, v), taken(gelu(taken(x) @ as_bfloat16(w).T)) @ as_bfloat16(v).T
    )


def test_a_norm_rounds_what_layers_alone_read(taken):
    def body(emit, x, gamma, beta, w, v):
        y = emit(R.nn.layer_norm(x, gamma, beta, axes=[-1], epsilon=1e-5))
        first = emit(R.matmul(y, emit(R.permute_dims(w))))
        return R.add(first, emit(R.matmul(y, emit(R.permute_dims(v)))))

    shapes = [("gamma", (34,)), ("beta", (34,)), ("w", (40, 34)), ("v", (40, 34))]
    after = DispatchLinear(TARGET)(computing(build([("x", ("b", 5, 34))], shapes, body)))
    text = after.script()
    pairs = dot_for(TARGET, BFLOAT16).pairs
    assert text.count("R.call_tir(cls.layer_norm_34_rounded") == (1 if pairs else 0)
    assert ("nn.layer_norm" in text) != bool(pairs)
    x, gamma, beta, w, v = randoms((2, 5, 34), (34,), (34,), (40, 34), (40, 34))
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * gamma + beta
    close_in_bfloat16(
        run(after, x, gamma, beta, w, v), taken(y) @ (as_bfloat16(w) + as_bfloat16(v)).T
    )


def test_what_others_read_stays_float32(taken):
    mod = block(lambda emit, wide, narrow: R.add(narrow, emit(R.sum(wide))))
    after = DispatchLinear(TARGET)(computing(mod))
    names = [name for name in kernels(after) if name.startswith("linear")]
    assert names == ["linear_34x64_gelu_bfloat16", "linear_64x36_bfloat16"]


def close_in_bfloat16(got, want):
    """Where float32's own rounding decides which bfloat16 is nearest, one step of some terms."""
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 2e-3 * np.abs(want).max()
    assert np.sqrt(np.mean((got - want) ** 2)) <= 2e-4 * np.sqrt(np.mean(want**2))


def test_rounding_and_packing_move_to_compile_time(taken):
    mod = build([("x", ("n", 24))], [("w", (40, 24)), ("b", (40,))], linear)
    after, transform = lift_params(DispatchLinear(TARGET)(computing(mod)), ["main"])
    [entry] = [f for f in transform.functions.values() if isinstance(f, relax.Function)]
    assert {str(field.dtype) for field in entry.ret_ty.fields} == {"uint16", "float32"}
    assert kernels(after) == ["linear_24x40_bias_bfloat16"]


@pytest.mark.parametrize(("n", "k"), [(4, 64), (31, 64), (64, 33), (64, 2), (64, 14)])
def test_few_outputs_and_few_or_odd_inputs_stay_float32(taken, n, k):
    mod = build([("x", ("b", k))], [("w", (n, k)), ("b", (n,))], linear)
    after = DispatchLinear(TARGET)(computing(mod))
    assert kernels(after) == [f"linear_{k}x{n}_bias"]
    x, w, bias = randoms((3, k), (n, k), (n,))
    close(run(after, x, w, bias), x @ w.T + bias)


def test_a_pointwise_convolution_multiplies_rounded_weights(taken):
    mod = build(
        [("x", ("b", 6, 5, 7))], [("w", (33, 6, 1, 1))], lambda emit, x, w: R.nn.conv2d(x, w)
    )
    after = DispatchConv(TARGET)(computing(mod))
    assert [name for name in kernels(after) if name.startswith("conv1x1_6x33")]
    x, w = randoms((2, 6, 5, 7), (33, 6, 1, 1))
    close(run(after, x, w), np.einsum("oi,bihw->bohw", as_bfloat16(w[:, :, 0, 0]), taken(x)))


@pytest.mark.parametrize("channels", [34, 3])
def test_a_convolution_over_a_doubled_picture_multiplies_rounded_sums(taken, channels):
    def body(emit, x, w):
        large = R.image.resize2d(
            x,
            (10, 14),
            layout="NCHW",
            method="nearest_neighbor",
            coordinate_transformation_mode="asymmetric",
            rounding_method="floor",
        )
        return R.nn.conv2d(emit(large), w, padding=1)

    mod = build([("x", ("b", channels, 5, 7))], [("w", (33, channels, 3, 3))], body)
    after = DispatchConv(TARGET)(computing(mod))
    assert [n for n in kernels(after) if n.startswith("conv")] == [
        f"conv_upsampled3x3_{channels}x33_5x7_bfloat16"
    ]
    x, w = randoms((2, channels, 5, 7), (33, channels, 3, 3))
    exact = definition(x, w)
    error = run(after, x, w) - exact
    assert 1e-4 < np.sqrt(np.mean(error**2) / np.mean(exact**2)) < 1e-2


def test_a_convolution_to_one_channel_stays_float32(taken):
    mod = build(
        [("x", ("b", 6, 5, 7))], [("w", (1, 6, 1, 1))], lambda emit, x, w: R.nn.conv2d(x, w)
    )
    after = DispatchConv(TARGET)(computing(mod))
    assert not any("bfloat16" in name for name in kernels(after))
    x, w = randoms((2, 6, 5, 7), (1, 6, 1, 1))
    close(run(after, x, w), np.einsum("oi,bihw->bohw", w[:, :, 0, 0], x))


def test_attention_multiplies_pairs_where_there_are_any(taken):
    mod = build(
        [(name, ("b", "n", 2, 16)) for name in "qkv"],
        [],
        lambda emit, q, k, v: R.nn.attention(q, k, v),
    )
    after = DispatchAttention(TARGET)(computing(mod))
    assert kernels(after) == ["attention_2x16" + ("_bfloat16" if taken is as_bfloat16 else "")]


def test_attention_of_odd_heads_stays_float32(taken):
    mod = build(
        [(name, ("b", "n", 2, 7)) for name in "qkv"],
        [],
        lambda emit, q, k, v: R.nn.attention(q, k, v),
    )
    assert kernels(DispatchAttention(TARGET)(computing(mod))) == ["attention_2x7"]


@pytest.mark.parametrize("rows", [(), ("n",), (4,), (31,)])
def test_where_features_alone_are_rounded_layers_over_tokens_stay_float32(taken, rows):
    mod = build([("x", ("b", *rows, 34))], [("w", (40, 34)), ("b", (40,))], linear)
    after = DispatchLinear(TARGET)(computing(mod, BFLOAT16_FEATURES))
    assert kernels(after) == ["linear_34x40_bias"]
    x, w, bias = randoms((2, *(3 if n == "n" else n for n in rows), 34), (40, 34), (40,))
    close(run(after, x, w, bias), x @ w.T + bias)


@pytest.mark.parametrize("rows", [(32,), (8, 4), (4, "n", 8)])
def test_layers_over_features_are_rounded_there(taken, rows):
    mod = build([("x", ("b", *rows, 34))], [("w", (40, 34)), ("b", (40,))], linear)
    after = DispatchLinear(TARGET)(computing(mod, BFLOAT16_FEATURES))
    assert kernels(after) == ["round_to_bfloat16", "linear_34x40_bias_bfloat16"]


def test_where_features_alone_are_rounded_attention_stays_float32(taken):
    mod = build(
        [(name, ("b", 64, 2, 16)) for name in "qkv"],
        [],
        lambda emit, q, k, v: R.nn.attention(q, k, v),
    )
    assert kernels(DispatchAttention(TARGET)(computing(mod, BFLOAT16_FEATURES))) == [
        "attention_2x16"
    ]
