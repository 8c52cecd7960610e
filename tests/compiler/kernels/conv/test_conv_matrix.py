"""Convolutions by a matrix unit (AMX), beside float64 sums of rounded operands."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import tvm
from conv_testing import convolution
from kernel_testing import NATIVE, as_bfloat16, assert_close, bfloat16_bits, compiled, empty
from upsampled_testing import definition, parity_rows

from sam3_tvm.arithmetic import BFLOAT16, FLOAT32
from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.kernels.conv.direct import (
    conv_dot,
    conv_kernel,
    conv_name,
    conv_transpose_kernel,
    pointwise_shape,
)
from sam3_tvm.compiler.kernels.conv.parities import conv_parities_kernel, parity_plan
from sam3_tvm.compiler.kernels.conv.shape import ConvShape
from sam3_tvm.compiler.kernels.conv.strips import conv_layout
from sam3_tvm.compiler.kernels.product.dot import FMA, TDPBF16PS, VDPBF16PS
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.targets.cpu import CpuTarget

TARGET = CpuTarget.parse("x86-64-v4+avx512bf16+amxbf16")
has_tiles = pytest.mark.cpu("AMXBF16")
PADDED = {"kernel": (3, 3), "padding": (1, 1, 1, 1)}

SHAPES = {
    "1x1": ConvShape(64, 40, 9, 50),
    "1x1, a pixel": ConvShape(32, 33, 1, 1),
    "1x1, blocks of the reduction": ConvShape(320, 70, 3, 23),
    "3x3": ConvShape(64, 40, 9, 50, **PADDED),
    "3x3, blocks of the reduction": ConvShape(160, 40, 4, 33, **PADDED),
    "3x3, a pixel": ConvShape(32, 33, 1, 1, **PADDED),
    "3x3, no border": ConvShape(32, 8, 12, 18, (3, 3)),
    "lopsided": ConvShape(96, 17, 19, 23, (3, 2), padding=(2, 0, 1, 1)),
    "one row of taps": ConvShape(64, 33, 5, 40, (1, 3), padding=(0, 1, 0, 1)),
    "5x5": ConvShape(32, 8, 40, 6, (5, 5), padding=(2, 2, 2, 2)),
    "patches": ConvShape(3, 40, 28, 42, (14, 14), (14, 14)),
    "strided": ConvShape(32, 33, 11, 12, (3, 3), (2, 2), padding=(1, 1, 1, 1)),
    "dilated": ConvShape(32, 33, 14, 40, (3, 3), dilation=(2, 2)),
}


def packed(shape, weight):
    """A weight [O, I, kh, kw] as the kernel takes it: of dense convolutions tap after tap."""
    dot = conv_dot(NATIVE, shape, BFLOAT16)
    assert dot.matrix is not None
    weight = weight.transpose(0, 2, 3, 1) if shape.dense else weight
    rows = weight.reshape(len(weight), -1)
    return conv_layout(NATIVE, BFLOAT16, dot).array(bfloat16_bits(rows))


@has_tiles
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(
    "epilogue", [Epilogue(), Epilogue(True, "relu", "before")], ids=["plain", "all"]
)
def test_a_convolution(name, epilogue):
    shape = SHAPES[name]
    kernel = compiled(conv_kernel(NATIVE, shape, epilogue, BFLOAT16), NATIVE)
    normal = np.random.default_rng(0).standard_normal
    given = (shape.out_channels, shape.in_channels, *shape.kernel)
    weight = normal(given, dtype="float32")
    bias = normal(shape.out_channels, dtype="float32")
    for batch in (0, 1, 2):
        out = (batch, shape.out_channels, shape.out_height, shape.out_width)
        x = normal((batch, shape.in_channels, shape.height, shape.width), dtype="float32")
        residual = normal(out, dtype="float32")
        want = convolution(as_bfloat16(x), as_bfloat16(weight), shape)
        more = ()
        if epilogue.bias:
            want = np.maximum(want + bias[:, None, None] + residual, 0)
            more = (bias, residual)
        assert_close(kernel(x, packed(shape, weight), *more, empty(*out)), want)


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x / 2 * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2))),
}


@has_tiles
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("channels", "out", "h", "w"), [(32, 17, 6, 11), (320, 40, 3, 70), (64, 1, 1, 1)]
)
def test_a_transposed_convolution(channels, out, h, w, activation):
    given = (channels, out, h, w, Epilogue(True, activation), BFLOAT16)
    kernel = compiled(conv_transpose_kernel(NATIVE, *given), NATIVE)
    normal = np.random.default_rng(0).standard_normal
    weight, bias = normal((channels, out, 2, 2), dtype="float32"), normal(out, dtype="float32")
    rows = weight.transpose(1, 2, 3, 0).reshape(4 * out, channels, 1, 1)
    for batch in (0, 1, 2):
        x = normal((batch, channels, h, w), dtype="float32")
        want = np.einsum("iojk,bihw->bohjwk", as_bfloat16(weight), as_bfloat16(x))
        want = want.reshape(batch, out, 2 * h, 2 * w) + bias[:, None, None]
        got = kernel(
            x, packed(ConvShape(channels, out, h, w), rows), bias, empty(batch, out, 2 * h, 2 * w)
        )
        assert_close(got, ACTIVATIONS[activation](want))


@has_tiles
@pytest.mark.parametrize(
    ("channels", "out", "h", "w"), [(32, 40, 5, 7), (64, 33, 1, 1), (320, 32, 9, 50)]
)
def test_a_convolution_over_a_doubled_picture(channels, out, h, w):
    given = (channels, out, h, w)
    func = conv_parities_kernel(NATIVE, *given, Epilogue(True, "relu", "before"), BFLOAT16)
    kernel = compiled(func, NATIVE)
    layout = conv_layout(NATIVE, BFLOAT16, parity_plan(NATIVE, *given, BFLOAT16).dot)
    rng = np.random.default_rng(channels)
    # Small integers, whose sums bfloat16 holds: nothing is rounded.
    weight = rng.integers(-3, 4, (out, channels, 3, 3)).astype("float32")
    bias = rng.integers(-9, 9, out).astype("float32")
    stored = layout.array(bfloat16_bits(parity_rows(weight, layout.width)))
    for batch in (0, 1, 2):
        x = rng.integers(-4, 5, (batch, channels, h, w)).astype("float32")
        residual = rng.integers(-9, 9, (batch, out, 2 * h, 2 * w)).astype("float32")
        want = np.maximum(definition(x, weight) + bias[:, None, None] + residual, 0)
        got = kernel(x, stored, bias, residual, empty(batch, out, 2 * h, 2 * w))
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    "func",
    [
        conv_kernel(TARGET, ConvShape(64, 64, 8, 40), Epilogue(), BFLOAT16),
        conv_kernel(TARGET, ConvShape(64, 64, 8, 40, **PADDED), Epilogue(), BFLOAT16),
        conv_kernel(TARGET, SHAPES["patches"], Epilogue(), BFLOAT16),
        conv_transpose_kernel(TARGET, 64, 64, 8, 40, Epilogue(), BFLOAT16),
        conv_parities_kernel(TARGET, 64, 64, 8, 40, Epilogue(), BFLOAT16),
    ],
    ids=["1x1", "3x3", "patches", "transposed", "doubled"],
)
def test_code_multiplies_tiles(func):
    module = tvm.IRModule({"main": func.with_attr("global_symbol", "main")})
    code = generate(module, TARGET).mod.inspect_source("asm")
    assert "tdpbf16ps" in code
    assert "tilerelease" in code


def test_whole_tiles_are_for_the_matrix_unit():
    def dot(shape, arithmetic=BFLOAT16):
        return conv_dot(TARGET, shape, arithmetic)

    assert dot(ConvShape(64, 40, 8, 8)) is TDPBF16PS
    assert dot(ConvShape(64, 40, 8, 8, **PADDED)) is TDPBF16PS
    assert dot(ConvShape(48, 40, 8, 8)) == VDPBF16PS
    assert dot(ConvShape(48, 40, 8, 8, **PADDED)) is FMA
    # Im2col rows are padded, but few of them don't pay.
    assert dot(SHAPES["patches"]) is TDPBF16PS
    assert dot(ConvShape(16, 64, 8, 8, (3, 3), (2, 2))) is FMA
    assert dot(ConvShape(64, 40, 8, 8, **PADDED), FLOAT32) is FMA


def test_a_line_that_the_cache_does_not_hold_is_for_vectors():
    shape = ConvShape(256, 40, 8, 300)
    assert conv_dot(replace(TARGET, l2_bytes=1 << 17), shape, BFLOAT16) == VDPBF16PS
    wide = replace(shape, kernel=(3, 3), padding=(1, 1, 1, 1))
    assert conv_dot(replace(TARGET, l2_bytes=1 << 18), wide, BFLOAT16) is FMA


@pytest.mark.parametrize("channels", [64, 1024, 2048])
def test_pixels_are_cut_into_rows_that_a_line_holds(channels):
    flat = pointwise_shape(TARGET, ConvShape(channels, 40, 72, 72), BFLOAT16)
    assert flat.height * flat.width == 72 * 72
    assert flat.width % 16 == 0
    assert conv_dot(TARGET, flat, BFLOAT16) is TDPBF16PS


def test_names_tell_which_filters_multiply_pairs():
    shape = ConvShape(64, 40, 8, 8, **PADDED)
    given = (shape, Epilogue(), BFLOAT16)
    assert conv_name(*given, TDPBF16PS) == "conv3x3_matrix_64x40_8x8_bfloat16"
    assert conv_name(*given) == "conv3x3_64x40_8x8_bfloat16"
