"""Convolutions that multiply pairs of bfloat16, beside float64 products of rounded operands."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_testing import (
    MULTIPLIES_BFLOAT16,
    NATIVE,
    PLAIN_PAIRS,
    as_bfloat16,
    bfloat16_bits,
    compiled,
    empty,
)
from upsampled_testing import definition, upsampled_rows

from sam3_tvm.arithmetic import BFLOAT16
from sam3_tvm.compiler.kernels.conv.direct import conv_dot, conv_kernel, conv_transpose_kernel
from sam3_tvm.compiler.kernels.conv.shape import ConvShape
from sam3_tvm.compiler.kernels.conv.strips import conv_layout
from sam3_tvm.compiler.kernels.conv.upsampled import conv_upsampled_kernel
from sam3_tvm.compiler.kernels.product import dot
from sam3_tvm.compiler.kernels.product.dot import FMA, VDPBF16PS
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.targets.cpu import CpuTarget

NORMAL = np.random.default_rng(0).standard_normal


@pytest.fixture(params=["plain", "native"])
def pairs(request, monkeypatch):
    """By pairs in plain arithmetic, or by what this CPU has."""
    if request.param == "native":
        if not MULTIPLIES_BFLOAT16:
            pytest.skip("this CPU doesn't multiply bfloat16")
    else:
        monkeypatch.setitem(dot.DOTS, "bfloat16", (PLAIN_PAIRS,))


def packed(shape, rows):
    found = conv_dot(NATIVE, shape, BFLOAT16)
    assert found.pack == 2
    return conv_layout(NATIVE, BFLOAT16, found).array(bfloat16_bits(rows))


@pytest.mark.parametrize(
    ("channels", "out", "h", "w"), [(2, 1, 1, 1), (34, 33, 5, 7), (64, 40, 9, 50)]
)
def test_a_pointwise_convolution(pairs, channels, out, h, w):
    shape = ConvShape(channels, out, h, w)
    epilogue = Epilogue(bias=True, activation="relu", residual="before")
    kernel = compiled(conv_kernel(NATIVE, shape, epilogue, BFLOAT16), NATIVE)
    x, residual = (NORMAL((2, c, h, w), dtype="float32") for c in (channels, out))
    weight, bias = NORMAL((out, channels), dtype="float32"), NORMAL(out, dtype="float32")
    want = np.einsum("oi,bihw->bohw", as_bfloat16(weight), as_bfloat16(x))
    want = np.maximum(want + bias[:, None, None] + residual, 0)
    got = kernel(x, packed(shape, weight), bias, residual, empty(2, out, h, w))
    np.testing.assert_allclose(got, want, atol=1e-5 * channels, rtol=0)


@pytest.mark.parametrize(("channels", "out", "h", "w"), [(2, 1, 1, 1), (32, 17, 6, 11)])
def test_a_transposed_convolution(pairs, channels, out, h, w):
    shape = ConvShape(channels, out, h, w)
    given = (channels, out, h, w, Epilogue(bias=True), BFLOAT16)
    kernel = compiled(conv_transpose_kernel(NATIVE, *given), NATIVE)
    x = NORMAL((2, channels, h, w), dtype="float32")
    weight, bias = NORMAL((channels, out, 2, 2), dtype="float32"), NORMAL(out, dtype="float32")
    want = np.einsum("iojk,bihw->bohjwk", as_bfloat16(weight), as_bfloat16(x))
    want = want.reshape(2, out, 2 * h, 2 * w) + bias[:, None, None]
    rows = weight.transpose(1, 2, 3, 0).reshape(4 * out, channels)
    got = kernel(x, packed(shape, rows), bias, empty(2, out, 2 * h, 2 * w))
    np.testing.assert_allclose(got, want, atol=1e-5 * channels, rtol=0)


@pytest.mark.parametrize(
    ("channels", "out", "h", "w"), [(2, 1, 1, 1), (6, 9, 4, 5), (34, 17, 7, 19), (300, 8, 3, 203)]
)
def test_a_convolution_over_a_doubled_picture(pairs, channels, out, h, w):
    epilogue = Epilogue(bias=True, residual="before")
    given = (channels, out, h, w, epilogue, BFLOAT16)
    func = conv_upsampled_kernel(NATIVE, *given)
    kernel = compiled(func, NATIVE)
    found = conv_dot(NATIVE, ConvShape(channels, out, h, w), BFLOAT16)
    assert found.pack == 2
    layout = conv_layout(NATIVE, BFLOAT16, found)
    rng = np.random.default_rng(channels)
    # Small integers, whose sums and differences bfloat16 holds: nothing is rounded.
    x = rng.integers(-4, 5, (2, channels, h, w)).astype("float32")
    weight = rng.integers(-3, 4, (out, channels, 3, 3)).astype("float32")
    bias = rng.integers(-9, 9, out).astype("float32")
    residual = rng.integers(-9, 9, (2, out, 2 * h, 2 * w)).astype("float32")
    want = definition(x, weight) + bias[:, None, None] + residual

    def call(x, weight):
        stored = layout.array(bfloat16_bits(upsampled_rows(weight, layout.width)))
        return kernel(x, stored, bias, residual, empty(2, out, 2 * h, 2 * w))

    np.testing.assert_array_equal(call(x, weight), want)
    x, weight = NORMAL(x.shape, dtype="float32"), NORMAL(weight.shape, dtype="float32")
    exact = definition(x, weight)
    error = call(x, weight) - bias[:, None, None] - residual - exact
    assert 1e-5 < np.sqrt(np.mean(error**2) / np.mean(exact**2)) < 1e-2


def test_pairs_are_of_pointwise_convolutions_with_an_even_number_of_channels():
    target = CpuTarget.parse("x86-64-v4+avx512bf16")
    assert conv_dot(target, ConvShape(4, 4, 8, 8), BFLOAT16) is VDPBF16PS
    assert conv_dot(target, ConvShape(3, 4, 8, 8), BFLOAT16) is FMA
    assert conv_dot(target, ConvShape(4, 4, 8, 8, (3, 3), padding=(1, 1, 1, 1)), BFLOAT16) is FMA
    assert conv_dot(target, ConvShape(4, 4, 8, 8, stride=(2, 2)), BFLOAT16) is FMA
