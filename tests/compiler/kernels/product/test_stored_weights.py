"""Kernels over weights stored in float16 and int8, against NumPy on the same stored values."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import tvm
from kernel_testing import FIRST_HIGHEST, LEVELS, assert_close, compiled, empty

from sam3_tvm.arithmetic import storing
from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.kernels.conv.direct import (
    conv_kernel,
    conv_name,
    conv_transpose_kernel,
)
from sam3_tvm.compiler.kernels.conv.shape import ConvShape
from sam3_tvm.compiler.kernels.conv.strips import conv_layout
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.kernels.product.linear import (
    kernel_name,
    linear_kernel,
    linear_layout,
)
from sam3_tvm.compiler.kernels.product.stored_weights import widens
from sam3_tvm.compiler.targets.cpu import CpuTarget

NARROW = ("float16", "int8")
NATIVE = CpuTarget.native()


def stored(rng, n, k, precision):
    """Random rows as they are stored, their scales, and what they stand for in float64."""
    if precision == "int8":
        rows = rng.integers(-127, 128, (n, k)).astype("int8")
        scale = (rng.random(n) + 0.5).astype("float32") / np.float32(127 * math.sqrt(k))
        return rows, [scale], rows * scale[:, None].astype("float64")
    rows = (rng.standard_normal((n, k)) / math.sqrt(k)).astype("float16")
    # Subnormal halves, the largest, and both zeros are widened exactly too.
    special = np.array([6e-8, -6e-8, 65504, 0, -0.0], "float16")
    rows.flat[: min(rows.size, 5)] = special[: min(rows.size, 5)]
    return rows, [], rows.astype("float64")


def pad(vectors, width):
    return [np.pad(v, (0, -len(v) % width)) for v in vectors]


def check_linear(target, n, k, precision, row_counts, epilogue=Epilogue(bias=True)):  # noqa: B008
    kernel = compiled(linear_kernel(target, n, k, epilogue, storing(precision)), target)
    rng = np.random.default_rng(n * k)
    rows, scale, weight = stored(rng, n, k, precision)
    layout = linear_layout(target, storing(precision))
    bias = rng.standard_normal(n, dtype="float32")
    for m in row_counts:
        x = rng.standard_normal((m, k), dtype="float32")
        residual = rng.standard_normal((m, n), dtype="float32")
        want = x.astype("float64") @ weight.T + bias
        arguments = [x, layout.array(rows), *pad(scale, layout.width), *pad([bias], layout.width)]
        if epilogue.activation == "relu":
            want = np.maximum(want, 0)
        if epilogue.residual:
            arguments.append(residual)
            want = want + residual
        assert_close(kernel(*arguments, empty(m, n)), want)


@pytest.mark.parametrize("precision", NARROW)
@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 3), (31, 17), (129, 40), (300, 600)])
def test_linear_layers_of_awkward_sizes(n, k, precision):
    # One tile of rows or less, several, several blocks: the first tile widens for the others.
    check_linear(NATIVE, n, k, precision, (0, 1, 7, 8, 11, 12, 13, 31, 32, 33, 48, 97, 201))


@pytest.mark.parametrize("precision", NARROW)
@pytest.mark.parametrize("level", FIRST_HIGHEST)
def test_linear_layers_on_every_level_that_runs_here(level, precision):
    epilogue = Epilogue(bias=True, activation="relu", residual="after")
    check_linear(CpuTarget.parse(level), 33, 257, precision, (1, 8, 32, 40), epilogue)


CONVOLUTIONS = {
    "1x1": ConvShape(300, 9, 4, 30),
    "3x3": ConvShape(40, 17, 19, 23, (3, 3), padding=(1, 1, 1, 1)),
    "3x3 one row": ConvShape(3, 8, 1, 50, (3, 3), padding=(1, 1, 1, 1)),
    "patches": ConvShape(3, 20, 28, 42, (14, 14), (14, 14)),
}


def convolve(x, w, shape):
    """The definition in float64: every output sees a window of the padded input."""
    top, left, bottom, right = shape.padding
    padded = np.pad(x.astype("float64"), ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, shape.kernel, axis=(2, 3))
    windows = windows[:, :, :: shape.stride[0], :: shape.stride[1]]
    return np.einsum("bihwyx,oiyx->bohw", windows, w)


@pytest.mark.parametrize("precision", NARROW)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name, precision):
    shape, rng, layout = CONVOLUTIONS[name], np.random.default_rng(0), conv_layout(NATIVE)
    depth = shape.in_channels * shape.taps
    rows, scale, weight = stored(rng, shape.out_channels, depth, precision)
    x = rng.standard_normal((2, shape.in_channels, shape.height, shape.width), dtype="float32")
    bias = rng.standard_normal(shape.out_channels, dtype="float32")
    kernel = compiled(conv_kernel(NATIVE, shape, Epilogue(True), storing(precision)), NATIVE)
    out = empty(2, shape.out_channels, shape.out_height, shape.out_width)
    got = kernel(x, layout.array(rows), *pad(scale, layout.width), bias, out)
    w = weight.reshape(shape.out_channels, shape.in_channels, *shape.kernel)
    assert_close(got, convolve(x, w, shape) + bias[:, None, None], 4e-6)


@pytest.mark.parametrize("precision", NARROW)
@pytest.mark.parametrize(("channels", "height", "width"), [((5, 3), 4, 5), ((300, 9), 7, 37)])
def test_transposed_convolutions(channels, height, width, precision):
    (i, o), rng, layout = channels, np.random.default_rng(0), conv_layout(NATIVE)
    rows, scale, weight = stored(rng, 4 * o, i, precision)
    x = rng.standard_normal((2, i, height, width), dtype="float32")
    bias = rng.standard_normal(o, dtype="float32")
    func = conv_transpose_kernel(NATIVE, i, o, height, width, Epilogue(True), storing(precision))
    out = empty(2, o, 2 * height, 2 * width)
    got = compiled(func, NATIVE)(x, layout.array(rows), *pad(scale, layout.width), bias, out)
    w = weight.reshape(o, 2, 2, i)
    want = np.einsum("bihw,oyxi->bohywx", x.astype("float64"), w)
    assert_close(got, want.reshape(out.shape) + bias[:, None, None], 4e-6)


def assembly(func, target):
    module = generate(tvm.IRModule({"main": func.with_attr("global_symbol", "main")}), target)
    return module.mod.inspect_source("asm")


WIDENING = {
    ("x86-64-v3", "float16"): {"vcvtph2ps"},
    ("x86-64-v3", "int8"): {"vpmovsxbd", "vcvtdq2ps"},
    ("x86-64-v4", "float16"): {"vcvtph2ps"},
    ("x86-64-v4", "int8"): {"vpmovsxbd", "vcvtdq2ps"},
    ("aarch64", "float16"): {"fcvtl"},
    ("aarch64", "int8"): {"scvtf"},
}


@pytest.mark.parametrize(("level", "precision"), WIDENING)
def test_weights_are_widened_by_vector_instructions(level, precision):
    target = CpuTarget.parse(level)
    shape = ConvShape(16, 24, 9, 11, (3, 3), padding=(1, 1, 1, 1))
    for func in (
        linear_kernel(target, 64, 32, Epilogue(True), storing(precision)),
        conv_kernel(target, shape, Epilogue(True), storing(precision)),
    ):
        text = assembly(func, target)
        assert {op for op in WIDENING[level, precision] if re.search(rf"\b{op}\b", text)} == (
            WIDENING[level, precision]
        )
        # TVM links a conversion of single halves in; nothing may call it.
        assert not re.search(r"\b(callq?|jmp|bl?)\s+\S*__(extendhfsf2|gnu_h2f)", text)


def test_only_a_level_without_the_instruction_cannot_widen_halves():
    cannot = {
        (level, precision)
        for level in LEVELS
        for precision in ("float32", *NARROW)
        if not widens(CpuTarget.parse(level), precision)
    }
    assert cannot == {("x86-64-v2", "float16")}


def test_names_tell_the_precision():
    assert kernel_name(8, 4, Epilogue(True), storing("int8")) == "linear_4x8_bias_int8"
    assert kernel_name(8, 4, Epilogue()) == "linear_4x8"
    shape = ConvShape(4, 8, 5, 6)
    assert conv_name(shape, Epilogue(), storing("float16")) == "conv1x1_4x8_5x6_float16"
