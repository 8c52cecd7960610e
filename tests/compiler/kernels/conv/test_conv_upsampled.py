"""Convolutions over upsampled pictures, against the upsampling and the convolution."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_testing import FIRST_HIGHEST, assert_close, compiled, empty
from upsampled_testing import definition, upsampled_rows

from sam3_tvm.arithmetic import storing
from sam3_tvm.compiler.kernels.conv.strips import conv_layout
from sam3_tvm.compiler.kernels.conv.upsampled import conv_upsampled_kernel
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.kernels.product.stored_weights import widens
from sam3_tvm.compiler.targets.cpu import CpuTarget

NATIVE = CpuTarget.native()


def _packed(w, target):
    """[ceil(O / r) * 9, I, r] of w [O, I, 3, 3]."""
    layout = conv_layout(target)
    return layout.array(upsampled_rows(w, layout.width))


def _randoms(*shapes):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, dtype="float32") for shape in shapes]


PLAIN, FULL = Epilogue(), Epilogue(True, "relu", residual="before")
# Batch, input and output channels, rows, columns: one pixel, one row, one column, tails of all.
SHAPES = [
    (1, 5, 3, 1, 1, PLAIN),
    (2, 7, 9, 4, 5, FULL),
    (1, 16, 8, 1, 72, Epilogue(True)),
    (3, 3, 16, 33, 1, Epilogue(residual="before")),
    (2, 300, 17, 7, 19, FULL),
    (1, 12, 40, 5, 203, Epilogue(True, "gelu", residual="before")),
]


@pytest.mark.parametrize(("batch", "i", "o", "height", "width", "epilogue"), SHAPES, ids=str)
def test_it_is_the_convolution_of_the_upsampled_picture(batch, i, o, height, width, epilogue):
    from math import erf, sqrt

    out = (batch, o, 2 * height, 2 * width)
    x, w, bias, residual = _randoms((batch, i, height, width), (o, i, 3, 3), (o,), out)
    w /= np.float32(3 * sqrt(i))
    kernel = compiled(conv_upsampled_kernel(NATIVE, i, o, height, width, epilogue), NATIVE)
    extra = [bias] * epilogue.bias + [residual] * bool(epilogue.residual)
    got = kernel(x, _packed(w, NATIVE), *extra, empty(*out))
    want = definition(x, w)
    want = want + bias[:, None, None] * epilogue.bias + residual * bool(epilogue.residual)
    if epilogue.activation == "relu":
        want = np.maximum(want, 0)
    if epilogue.activation == "gelu":
        want = want * (1 + np.vectorize(erf)(want / sqrt(2))) / 2
    assert_close(got, want)


@pytest.mark.parametrize("level", FIRST_HIGHEST)
def test_it_runs_on_every_level_that_runs_here(level):
    target = CpuTarget.parse(level)
    x, w = _randoms((1, 33, 6, 50), (11, 33, 3, 3))
    kernel = compiled(conv_upsampled_kernel(target, 33, 11, 6, 50, PLAIN), target)
    assert_close(kernel(x, _packed(w, target), empty(1, 11, 12, 100)), definition(x, w))


def test_constant_pictures_keep_what_differences_cancel():
    """All differences are zero inside, so the result is the sum of the weights exactly."""
    x = np.full((1, 1, 5, 6), 3, "float32")
    w = np.arange(9, dtype="float32").reshape(1, 1, 3, 3)
    kernel = compiled(conv_upsampled_kernel(NATIVE, 1, 1, 5, 6, PLAIN), NATIVE)
    got = kernel(x, _packed(w, NATIVE), empty(1, 1, 10, 12))
    assert (got[0, 0, 1:-1, 1:-1] == 3 * 36).all()
    assert got[0, 0, 0, 0] == 3 * (4 + 5 + 7 + 8)


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_stored_weights_are_widened_as_they_are(precision):
    if not widens(NATIVE, precision):
        pytest.skip("no instruction reads these weights here")
    x, w, residual = _randoms((2, 40, 5, 11), (13, 40, 3, 3), (2, 13, 10, 22))
    packed = _packed(w, NATIVE)
    scale = np.ones(packed.shape[0] * packed.shape[2], "float32")
    if precision == "int8":
        largest = np.abs(packed).max(axis=1)
        scale = (np.maximum(largest, 1e-30) / 127).reshape(-1)
        stored = np.round(packed / scale.reshape(packed.shape[0], 1, -1)).astype("int8")
    else:
        stored = packed.astype("float16")
    wide = stored * scale.reshape(packed.shape[0], 1, -1)
    epilogue = Epilogue(residual="before")
    narrow = compiled(
        conv_upsampled_kernel(NATIVE, 40, 13, 5, 11, epilogue, storing(precision)), NATIVE
    )
    plain = compiled(conv_upsampled_kernel(NATIVE, 40, 13, 5, 11, epilogue), NATIVE)
    extra = [scale] if precision == "int8" else []
    got = narrow(x, stored, *extra, residual, empty(2, 13, 10, 22))
    want = plain(x, wide.astype("float32"), residual, empty(2, 13, 10, 22))
    assert_close(got, want.astype("float64"))


def test_an_empty_batch_gives_an_empty_result():
    kernel = compiled(conv_upsampled_kernel(NATIVE, 3, 4, 2, 2, PLAIN), NATIVE)
    packed = _packed(np.ones((4, 3, 3, 3), "float32"), NATIVE)
    assert kernel(empty(0, 3, 2, 2), packed, empty(0, 4, 4, 4)).shape == (0, 4, 4, 4)
