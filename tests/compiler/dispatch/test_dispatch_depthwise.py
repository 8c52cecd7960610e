"""Which convolutions become depthwise kernels, and that they compute the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dispatch_testing import TARGET, build, close, kernels, operators, randoms, run
from tvm.relax import op as R

from sam3_tvm.compiler.dispatch.depthwise import DispatchDepthwise

X = [("x", ("b", 6, 5, 20))]


def conv(emit, x, w, **attrs):
    return emit(R.nn.conv2d(x, w, **{"padding": [1, 2, 1, 2], "groups": 6, **attrs}))


@pytest.mark.parametrize("biased", [False, True])
def test_a_depthwise_convolution_takes_its_bias_along(biased):
    def body(emit, x, w, bias):
        y = conv(emit, x, w)
        return R.add(y, emit(R.reshape(bias, (1, 6, 1, 1)))) if biased else R.negative(y)

    params = [("w", (6, 1, 3, 5)), ("bias", (6,))]
    after = DispatchDepthwise(TARGET)(build(X, params, body))
    assert kernels(after) == ["depthwise3x5_6_5x20" + ("_bias" if biased else "")]
    assert "nn.conv2d" not in operators(after)
    x, w, bias = randoms((2, 6, 5, 20), (6, 1, 3, 5), (6,))
    wanted = torch.nn.functional.conv2d(
        torch.from_numpy(x), torch.from_numpy(w), padding=(1, 2), groups=6
    ).numpy()
    close(run(after, x, w, bias), wanted + bias[:, None, None] if biased else -wanted)


@pytest.mark.parametrize(
    ("weight", "attrs"),
    [
        ((6, 6, 3, 5), {"groups": 1}),
        ((6, 3, 3, 5), {"groups": 2}),
        ((12, 1, 3, 5), {}),
        ((6, 1, 3, 5), {"strides": [2, 2]}),
        ((6, 1, 3, 5), {"dilation": [2, 2]}),
    ],
    ids=["without groups", "grouped", "multiplied", "strided", "dilated"],
)
def test_others_stay(weight, attrs):
    before = build(X, [("w", weight)], lambda emit, x, w: R.negative(conv(emit, x, w, **attrs)))
    assert kernels(DispatchDepthwise(TARGET)(before)) == []


def test_a_sum_that_others_read_before_its_bias_stays_apart():
    def body(emit, x, w, bias):
        y = conv(emit, x, w)
        return R.multiply(y, emit(R.add(y, emit(R.reshape(bias, (1, 6, 1, 1))))))

    after = DispatchDepthwise(TARGET)(build(X, [("w", (6, 1, 3, 5)), ("bias", (6,))], body))
    assert kernels(after) == ["depthwise3x5_6_5x20"]
    arrays = randoms((1, 6, 5, 20), (6, 1, 3, 5), (6,))
    x, w = map(torch.from_numpy, arrays[:2])
    wanted = torch.nn.functional.conv2d(x, w, padding=(1, 2), groups=6).numpy()
    close(run(after, *arrays), wanted * (wanted + arrays[2][:, None, None]).astype(np.float32))
