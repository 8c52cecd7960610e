"""The depthwise kernel against NumPy, over awkward sizes."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_testing import FIRST_HIGHEST, assert_close, compiled, empty

from sam3_tvm.compiler.kernels.conv.depthwise import depthwise_fits, depthwise_kernel
from sam3_tvm.compiler.kernels.conv.shape import ConvShape
from sam3_tvm.compiler.targets.cpu import CpuTarget

SHAPES = {
    "tokens": ConvShape(5, 5, 1, 77, (1, 11), padding=(0, 5, 0, 5)),
    "7x7": ConvShape(3, 3, 18, 18, (7, 7), padding=(3, 3, 3, 3)),
    "tails": ConvShape(2, 2, 9, 101, (3, 3), padding=(1, 1, 1, 1)),
    "lopsided": ConvShape(2, 2, 6, 13, (2, 5), padding=(2, 0, 0, 3)),
    "no padding": ConvShape(4, 4, 8, 8, (3, 3)),
    "one value": ConvShape(7, 7, 1, 1, (3, 3), padding=(1, 1, 1, 1)),
}


def reference(x, w, shape):
    """The definition, in float64: one tap after the other."""
    top, left, bottom, right = shape.padding
    padded = np.pad(x.astype("float64"), ((0, 0), (0, 0), (top, bottom), (left, right)))
    out = np.zeros((len(x), shape.out_channels, shape.out_height, shape.out_width))
    for i in range(shape.kernel[0]):
        for j in range(shape.kernel[1]):
            seen = padded[:, :, i : i + shape.out_height, j : j + shape.out_width]
            out += seen * w.reshape(-1, *shape.kernel)[:, i, j, None, None]
    return out


@pytest.mark.parametrize("level", FIRST_HIGHEST)
@pytest.mark.parametrize("name", SHAPES)
def test_every_channel_is_convolved_by_itself(level, name):
    target, shape, rng = CpuTarget.parse(level), SHAPES[name], np.random.default_rng(0)
    assert depthwise_fits(target, shape)
    channels = shape.in_channels
    w = rng.standard_normal((channels, shape.taps), dtype="float32")
    bias = rng.standard_normal(channels, dtype="float32")
    plain = compiled(depthwise_kernel(target, shape, False), target)
    biased = compiled(depthwise_kernel(target, shape, True), target)
    for batch in (0, 1, 3):
        x = rng.standard_normal((batch, channels, shape.height, shape.width), dtype="float32")
        out = (batch, channels, shape.out_height, shape.out_width)
        wanted = reference(x, w, shape)
        assert_close(plain(x, w, empty(*out)), wanted)
        assert_close(biased(x, w, bias, empty(*out)), wanted + bias[:, None, None])


def test_nan_stays_within_reach_of_the_kernel():
    target, shape = CpuTarget.native(), SHAPES["tokens"]
    x = np.ones((2, 5, 1, 77), "float32")
    x[1, 2, 0, 40] = np.nan
    got = compiled(depthwise_kernel(target, shape, False), target)(
        x, np.ones((5, 11), "float32"), empty(2, 5, 1, 77)
    )
    spread = np.zeros(got.shape, bool)
    spread[1, 2, 0, 35:46] = True
    np.testing.assert_array_equal(np.isnan(got), spread)


@pytest.mark.parametrize(
    "shape",
    [
        ConvShape(4, 4, 2000, 2000, (3, 3), padding=(1, 1, 1, 1)),
        ConvShape(4, 4, 20, 20, (3, 3), (2, 2)),
        ConvShape(4, 4, 20, 20, (3, 3), dilation=(2, 2)),
        ConvShape(4, 4, 2, 20, (3, 3)),
    ],
    ids=["large", "strided", "dilated", "empty"],
)
def test_what_it_isnt_made_for(shape):
    assert not depthwise_fits(CpuTarget.native(), shape)
