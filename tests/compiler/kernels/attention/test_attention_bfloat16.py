"""Attention whose products are of bfloat16, beside float64 attention of rounded operands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from kernel_testing import (
    MULTIPLIES_BFLOAT16,
    NATIVE,
    NATIVE_PAIRS,
    PLAIN_PAIRS,
    as_bfloat16,
    bfloat16_bits,
    compiled,
    empty,
)

from sam3_tvm.arithmetic import BFLOAT16
from sam3_tvm.compiler.kernels.attention.attention import (
    AttentionSpec,
    attention_kernel,
    kernel_name,
)
from sam3_tvm.compiler.kernels.attention.operands import Layout
from sam3_tvm.compiler.kernels.product.dot import TDPBF16PS, dot_for
from sam3_tvm.compiler.targets.cpu import CpuTarget

# Beside float64 of what isn't rounded: queries, keys, values and weights each by up to 2^-8 of
# themselves, which add up like the roots of sums of squares.
TOLERANCE = 0.01

DOTS = [
    pytest.param(PLAIN_PAIRS, id="plain"),
    pytest.param(
        NATIVE_PAIRS.by_vectors,
        marks=pytest.mark.skipif(
            not MULTIPLIES_BFLOAT16, reason="this CPU doesn't multiply bfloat16"
        ),
        id="native",
    ),
    pytest.param(TDPBF16PS, marks=pytest.mark.cpu(*TDPBF16PS.features), id="tiles"),
]
# Of a head and of its values. A matrix unit takes whole tiles: heads of a multiple of 32, values of
# a multiple of 16.
HEADS = [(2, 3), (20, 20), (32, 20), (80, 80), (64, 64), (32, 16), (96, 80)]


def attend(q, k, v, scale, bias=0.0):
    """[B, L, H, D] in float64."""
    q, k, v = (np.moveaxis(a.astype("float64"), 2, 1) for a in (q, k, v))
    scores = q @ np.swapaxes(k, -1, -2) * scale + bias
    weights = np.exp(scores - np.maximum(scores.max(-1, keepdims=True), -1e300))
    total = weights.sum(-1, keepdims=True)
    return np.moveaxis(np.where(total > 0, weights / np.where(total, total, 1), 0) @ v, 1, 2)


def operands(rng, b, n, m, heads, dim, value_dim):
    shapes = ((n, dim), (m, dim), (m, value_dim))
    return [rng.standard_normal((b, rows, heads, d), dtype="float32") for rows, d in shapes]


@pytest.mark.parametrize("dot", DOTS)
@pytest.mark.parametrize(("dim", "value_dim"), HEADS)
def test_awkward_sizes_with_odd_numbers_of_keys(dot, dim, value_dim):
    spec = AttentionSpec(2, dim, value_dim, dim**-0.5)
    kernel = compiled(attention_kernel(NATIVE, spec, dot), NATIVE)
    rng = np.random.default_rng(dim)
    for b, n, m in [(1, 1, 1), (2, 3, 130), (1, 200, 5), (3, 49, 257), (1, 385, 128)]:
        q, k, v = operands(rng, b, n, m, 2, dim, value_dim)
        got = kernel(q, k, v, empty(b, n, 2, value_dim))
        want = attend(q, as_bfloat16(k), as_bfloat16(v), spec.scale)
        np.testing.assert_allclose(got, want, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("dot", DOTS)
@pytest.mark.parametrize("dim", [16, 64])
@pytest.mark.parametrize(("causal", "biased"), [("TopLeft", False), ("BottomRight", True)])
def test_causal_attention_with_a_bias_or_without(dot, dim, causal, biased):
    bias = (True, True, True, True) if biased else None
    spec = AttentionSpec(2, dim, dim, dim**-0.5, causal=causal, bias=bias)
    kernel = compiled(attention_kernel(NATIVE, spec, dot), NATIVE)
    rng = np.random.default_rng(dim)
    # Fewer keys than queries: bottom right, the first of these see none.
    for n, m in [(1, 1), (130, 31), (33, 257), (259, 259)]:
        q, k, v = operands(rng, 2, n, m, 2, dim, dim)
        last = np.arange(n)[:, None] + (m - n if causal == "BottomRight" else 0)
        seen = np.where(np.arange(m) <= last, 0.0, -np.inf)
        added = rng.standard_normal((2, 2, n, m), dtype="float32") if biased else 0
        given = [q, k, v, added] if biased else [q, k, v]
        got = kernel(*given, empty(2, n, 2, dim))
        want = attend(q, as_bfloat16(k), as_bfloat16(v), spec.scale, seen + added)
        np.testing.assert_allclose(got, want, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("dot", DOTS)
@pytest.mark.parametrize("dim", [8, 32])
def test_it_rounds_to_bfloat16_and_not_further(dot, dim):
    # One key: its weight is 1, and the result its value, rounded.
    spec = AttentionSpec(1, dim, dim, 1.0)
    kernel = compiled(attention_kernel(NATIVE, spec, dot), NATIVE)
    v = np.array([1 + 2**-7, 1 + 2**-8, 1 + 3 * 2**-8, -3.0, 1e30, 1e-30, 0, 255], "float32")
    q, v = np.ones((1, 5, 1, dim), "float32"), np.resize(v, (1, 1, 1, dim))
    got = kernel(q, q[:, :1], v, empty(1, 5, 1, dim))
    np.testing.assert_array_equal(got, np.broadcast_to(as_bfloat16(v), got.shape))


@pytest.mark.parametrize("dot", DOTS)
@pytest.mark.parametrize("dim", [16, 64])
def test_masked_keys_rotation_and_slots(dot, dim):
    packed, scale = [Layout(slots=3, slot=i) for i in range(3)], dim**-0.5
    spec = AttentionSpec(2, dim, dim, scale, *packed, rotary=True, bias=(True, False, True, True))
    kernel = compiled(attention_kernel(NATIVE, spec, dot), NATIVE)
    rng = np.random.default_rng(1)
    rows = 133
    qkv = rng.standard_normal((2, rows, 3, 2, dim), dtype="float32")
    angles = np.repeat(rng.uniform(0, 6, (rows, dim // 2)), 2, axis=1)
    signs = np.tile([-1, 1], dim // 2)
    table = np.stack([np.cos(angles), np.sin(angles) * signs], 1).astype("float32")
    mask = np.where(rng.random((2, 1, rows, rows)) < 0.5, -np.inf, 0).astype("float32")
    mask[:, :, ::3] = -np.inf  # queries that see no key at all

    def rotated(x):
        swapped = x.reshape(2, rows, 2, dim // 2, 2)[..., ::-1].reshape(x.shape)
        return x * table[:, None, 0] + swapped * table[:, None, 1]

    q, k, v = (qkv[:, :, i] for i in range(3))
    got = kernel(qkv, qkv, qkv, mask, table, empty(2, rows, 2, dim))
    want = attend(rotated(q), rotated(k), v, scale, mask)
    np.testing.assert_allclose(got, want, atol=2 * TOLERANCE, rtol=0)


@pytest.mark.parametrize("dot", DOTS)
@pytest.mark.parametrize("dim", [4, 32])
def test_an_infinite_last_value_stays_its_own_pair(dot, dim):
    kernel = compiled(attention_kernel(NATIVE, AttentionSpec(1, dim, dim, 1.0), dot), NATIVE)
    q = np.zeros((1, 1, 1, dim), "float32")
    v = np.ones((1, 3, 1, dim), "float32")
    v[0, 2] = np.inf
    got = kernel(q, np.zeros((1, 3, 1, dim), "float32"), v, empty(1, 1, 1, dim))
    assert np.isposinf(got).all()


def test_names_say_bfloat16():
    assert kernel_name(AttentionSpec(2, 8, 8, 1.0), VDP).endswith("_bfloat16")


VDP = dot_for(CpuTarget.parse("x86-64-v4+avx512bf16"), BFLOAT16)


def test_heads_of_an_odd_size_are_no_pairs():
    with pytest.raises(ValueError, match="heads of 3 are no whole words of 2 values"):
        attention_kernel(CpuTarget.parse("x86-64-v4+avx512bf16"), AttentionSpec(1, 3, 3, 1.0), VDP)


@pytest.mark.parametrize("dot", DOTS)
@pytest.mark.parametrize(("dim", "value_dim"), [(8, 12), (64, 32)])
@pytest.mark.parametrize("which", [(0,), (1, 2), (3,), (0, 1, 2, 3)])
def test_what_is_bfloat16_in_memory_gives_the_same_bits(dot, dim, value_dim, which):
    plain = AttentionSpec(2, dim, value_dim, dim**-0.5)
    names = ("query", "key", "value", "result")
    layouts = {names[i]: Layout(rounded=True) for i in which}
    kernel, rounding = (
        compiled(attention_kernel(NATIVE, spec, dot), NATIVE)
        for spec in (plain, replace(plain, **layouts))
    )
    rng = np.random.default_rng(dim)
    for b, n, m in [(1, 1, 1), (2, 33, 130), (1, 50, 257)]:
        exact = operands(rng, b, n, m, 2, dim, value_dim)
        given = [as_bfloat16(x).astype("float32") for x in exact]
        want = kernel(*given, empty(b, n, 2, value_dim))
        stored = [bfloat16_bits(x) if i in which else x for i, x in enumerate(given)]
        result = empty(b, n, 2, value_dim)
        if 3 in which:
            result, want = result.astype("uint16"), bfloat16_bits(want)
        np.testing.assert_array_equal(rounding(*stored, result), want)


def test_names_say_what_is_bfloat16_in_memory():
    spec = AttentionSpec(2, 8, 8, 1.0, value=Layout(rounded=True), result=Layout(rounded=True))
    assert kernel_name(spec, VDP) == "attention_2x8_of_rounded_rounded_bfloat16"
