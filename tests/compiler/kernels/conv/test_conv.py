"""Convolution kernels against NumPy, over awkward sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tvm
from conv_testing import convolution

from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.kernels.conv.direct import (
    conv_kernel,
    conv_transpose_kernel,
    pointwise_shape,
)
from sam3_tvm.compiler.kernels.conv.shape import ConvShape
from sam3_tvm.compiler.kernels.conv.strips import conv_layout
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.targets.cpu import CpuTarget

NATIVE = CpuTarget.native()

SHAPES = {
    "1x1": ConvShape(70, 24, 9, 11),
    "1x1 one pixel": ConvShape(5, 3, 1, 1),
    "1x1 deep": ConvShape(600, 9, 4, 30),
    "3x3": ConvShape(40, 17, 19, 23, (3, 3), padding=(1, 1, 1, 1)),
    "3x3 wide": ConvShape(3, 16, 5, 101, (3, 3), padding=(1, 1, 1, 1)),
    "3x3 one row": ConvShape(3, 8, 1, 50, (3, 3), padding=(1, 1, 1, 1)),
    "3x3 no padding": ConvShape(9, 8, 12, 16, (3, 3)),
    "lopsided": ConvShape(70, 17, 19, 23, (3, 2), padding=(2, 0, 1, 1)),
    "5x5 tall strips": ConvShape(2, 8, 40, 6, (5, 5), padding=(2, 2, 2, 2)),
    "patches": ConvShape(3, 20, 28, 42, (14, 14), (14, 14)),
    "strided": ConvShape(3, 20, 28, 31, (3, 3), (2, 2), padding=(1, 1, 1, 1)),
    "dilated": ConvShape(3, 20, 14, 13, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
}


def _finish(
    y: np.ndarray,
    bias: np.ndarray | None,
    activation: str | None,
    residual: np.ndarray | None = None,
) -> np.ndarray:
    if bias is not None:
        y = y + bias[:, None, None]
    if residual is not None:
        y = y + residual
    if activation == "relu":
        y = np.maximum(y, 0)
    if activation == "gelu":
        y = y * (1 + np.vectorize(math.erf)(y / math.sqrt(2))) / 2
    return y


def _run(func: tvm.tirx.PrimFunc, *arrays: np.ndarray, out: tuple[int, ...]) -> np.ndarray:
    module = generate(tvm.IRModule({"main": func.with_attr("global_symbol", "main")}), NATIVE)
    result = tvm.runtime.tensor(np.full(out, np.nan, "float32"))
    module["main"](*map(tvm.runtime.tensor, arrays), result)
    return result.numpy()


def _assert_close(got: np.ndarray, want: np.ndarray) -> None:
    error = np.abs(got - want).max(initial=0)
    scale = np.abs(want).max(initial=1)
    assert error <= 4e-6 * scale, f"max error {error:.2e} at values up to {scale:.2e}"


def _random(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype("float32")


EPILOGUES = [Epilogue(), Epilogue(True), Epilogue(True, "relu")]
# Every shape once, every epilogue on several shapes, and all of them on one.
CASES = [
    *((name, 1 + i % 3, EPILOGUES[i % 3]) for i, name in enumerate(SHAPES)),
    ("3x3", 2, Epilogue(False, "relu")),
    ("3x3", 1, Epilogue(True, "gelu")),
    ("lopsided", 3, Epilogue(True, "relu", residual="before")),
    ("strided", 1, Epilogue(residual="before")),
]


@pytest.mark.parametrize(("name", "batch", "epilogue"), CASES, ids=str)
def test_convolution_is_its_definition(name: str, batch: int, epilogue: Epilogue) -> None:
    shape, rng = SHAPES[name], np.random.default_rng(0)
    x = _random(rng, batch, shape.in_channels, shape.height, shape.width)
    w = _random(rng, shape.out_channels, shape.in_channels, *shape.kernel)
    w /= math.sqrt(shape.in_channels * shape.taps)
    bias = _random(rng, shape.out_channels) if epilogue.bias else None
    packed = conv_layout(NATIVE).array(w.reshape(shape.out_channels, -1))
    out = (batch, shape.out_channels, shape.out_height, shape.out_width)
    residual = _random(rng, *out) if epilogue.residual else None
    got = _run(
        conv_kernel(NATIVE, shape, epilogue),
        x,
        packed,
        *(a for a in (bias, residual) if a is not None),
        out=out,
    )
    _assert_close(got, _finish(convolution(x, w, shape), bias, epilogue.activation, residual))


@pytest.mark.parametrize(
    ("channels", "height", "width", "epilogue"),
    [
        ((5, 3), 4, 5, Epilogue()),
        ((300, 9), 7, 37, Epilogue(True, "gelu")),
        ((16, 32), 1, 1, Epilogue(True)),
    ],
)
def test_transposed_convolution_is_its_definition(
    channels: tuple[int, int], height: int, width: int, epilogue: Epilogue
) -> None:
    (i, o), rng = channels, np.random.default_rng(0)
    x = _random(rng, 2, i, height, width)
    w = _random(rng, i, o, 2, 2) / np.float32(math.sqrt(i))
    bias = _random(rng, o) if epilogue.bias else None
    packed = conv_layout(NATIVE).array(w.transpose(1, 2, 3, 0).reshape(4 * o, i))
    got = _run(
        conv_transpose_kernel(NATIVE, i, o, height, width, epilogue),
        x,
        packed,
        *([] if bias is None else [bias]),
        out=(2, o, 2 * height, 2 * width),
    )
    spread = np.einsum("bihw,ioyx->bohywx", x.astype("float64"), w.astype("float64"))
    want = spread.reshape(2, o, 2 * height, 2 * width)
    _assert_close(got, _finish(want, bias, epilogue.activation))


def test_an_empty_batch_gives_an_empty_result() -> None:
    shape = SHAPES["3x3"]
    packed = np.zeros(conv_layout(NATIVE).shape(17, 360), "float32")
    got = _run(
        conv_kernel(NATIVE, shape, Epilogue()),
        np.zeros((0, 40, 19, 23), "float32"),
        packed,
        out=(0, 17, 19, 23),
    )
    assert got.shape == (0, 17, 19, 23)


def test_what_lies_outside_the_picture_counts_as_zero_even_beside_nan() -> None:
    shape = ConvShape(1, 8, 6, 9, (3, 3), padding=(1, 1, 1, 1))
    x = np.ones((1, 1, 6, 9), "float32")
    x[0, 0, 5, 8] = np.nan
    ones = np.ones((8, 9), "float32")
    got = _run(
        conv_kernel(NATIVE, shape, Epilogue()), x, conv_layout(NATIVE).array(ones),
        out=(1, 8, 6, 9),
    )  # fmt: skip
    # Of 9 taps 4 are inside at a corner; only the four neighbours of the NaN see it.
    assert (got[:, :, 0, 0] == 4).all()
    assert np.isnan(got[0, 0]).sum() == 4


def test_pointwise_convolutions_are_cut_into_rows_that_fill_whole_tiles() -> None:
    target = CpuTarget.parse("x86-64-v4")
    flat = pointwise_shape(target, ConvShape(256, 256, 72, 72))
    assert flat.height * flat.width == 72 * 72
    assert flat.width % 48 == 0
    three = ConvShape(256, 256, 72, 72, (3, 3), padding=(1, 1, 1, 1))
    assert pointwise_shape(target, three) == three
    strided = ConvShape(256, 256, 72, 72, stride=(2, 2))
    assert pointwise_shape(target, strided) == strided
