"""SplitConvolution: what it parts, what it leaves, and the numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from dispatch_testing import TARGET, build, close, kernels, operators, randoms, run
from tvm import relax

from sam3_tvm.compiler.algebra.split_convolution import SplitConvolution
from sam3_tvm.compiler.dispatch.conv import DispatchConv
from sam3_tvm.compiler.graph.stages import IMAGE_INPUTS

op, nn = relax.op, relax.op.nn

GIVEN, MADE, HEIGHT, WIDTH = 5, 6, 3, 4
INPUTS = [("x", ["b", GIVEN, HEIGHT, WIDTH]), ("skip", ["b", GIVEN, 2 * HEIGHT, 2 * WIDTH])]
PARAMS = [("w", [MADE, GIVEN, 3, 3]), ("bias", [MADE])]


def _doubled(x, **changes):
    rules = {
        "layout": "NCHW",
        "method": "nearest_neighbor",
        "coordinate_transformation_mode": "asymmetric",
        "rounding_method": "floor",
    }
    return op.image.resize2d(x, (2 * HEIGHT, 2 * WIDTH), **{**rules, **changes})


def _body(emit, x, skip, w, bias, *, resize=_doubled, padding=1):
    total = emit(op.add(emit(resize(x)), skip))
    y = emit(nn.conv2d(total, w, padding=padding))
    return nn.relu(emit(op.add(y, emit(op.reshape(bias, (1, MADE, 1, 1))))))


def _staged(mod, positions):
    mod["main"] = mod["main"].with_attr(IMAGE_INPUTS, positions)
    return mod


def _reference(x, skip, w, bias):
    total = np.pad(x.repeat(2, 2).repeat(2, 3) + skip, ((0, 0), (0, 0), (1, 1), (1, 1)))
    taps = [(i, j) for i in range(3) for j in range(3)]
    y = sum(
        np.einsum("bihw,oi->bohw", total[..., i : i + 2 * HEIGHT, j : j + 2 * WIDTH], w[..., i, j])
        for i, j in taps
    )
    return np.maximum(y + bias[:, None, None], 0)


def test_the_skip_half_and_the_bias_depend_on_the_picture_alone():
    def expected(emit, x, skip, w, bias):
        column = emit(op.reshape(bias, (1, MADE, 1, 1)))
        once = emit(op.add(emit(nn.conv2d(skip, w, padding=1)), column))
        large = emit(_doubled(x))
        return nn.relu(emit(op.add(emit(nn.conv2d(large, w, padding=1)), once)))

    split = SplitConvolution()(_staged(build(INPUTS, PARAMS, _body), [1]))
    want = _staged(build(INPUTS, PARAMS, expected), [1])
    # The order of independent operators is free; what is computed is not.
    for mod in (split, want):
        assert mod["main"].script().count("R.nn.conv2d") == 2
        assert mod["main"].script().count("R.add") == 2
    for batch in (1, 3):
        arrays = randoms(
            (batch, *INPUTS[0][1][1:]), (batch, *INPUTS[1][1][1:]), (MADE, GIVEN, 3, 3), (MADE,)
        )
        close(run(split, *arrays), _reference(*arrays))
        close(run(want, *arrays), _reference(*arrays))


def test_both_halves_get_kernels_and_the_sum_joins_the_upsampled_one():
    split = SplitConvolution()(_staged(build(INPUTS, PARAMS, _body), [1]))
    dispatched = DispatchConv(TARGET)(split)
    assert kernels(dispatched) == [
        f"conv3x3_{GIVEN}x{MADE}_{2 * HEIGHT}x{2 * WIDTH}_bias",
        f"conv_upsampled3x3_{GIVEN}x{MADE}_{HEIGHT}x{WIDTH}_residual_relu",
    ]
    assert not operators(dispatched) & {"add", "nn.conv2d", "nn.relu", "image.resize2d"}
    arrays = randoms((2, *INPUTS[0][1][1:]), (2, *INPUTS[1][1][1:]), (MADE, GIVEN, 3, 3), (MADE,))
    close(run(dispatched, *arrays), _reference(*arrays))


def _total_used_twice(emit, x, skip, w, bias):
    total = emit(op.add(emit(_doubled(x)), skip))
    y = emit(nn.conv2d(total, w, padding=1))
    return op.add(y, emit(op.mean(total, axis=[1], keepdims=True)))


@pytest.mark.parametrize(
    ("body", "positions"),
    [
        (_body, []),
        # The picture decides both halves, or the upsampled one alone.
        (_body, [0, 1]),
        (_body, [0]),
        (_total_used_twice, [1]),
        (lambda *a: _body(*a, padding=0), [1]),
        (lambda *a: _body(*a, resize=lambda x: _doubled(x, method="linear")), [1]),
        (lambda *a: _body(*a, resize=lambda x: _doubled(x, rounding_method="ceil")), [1]),
    ],
    ids=["no picture", "both", "upsampled", "used twice", "no border", "linear", "ceil"],
)
def test_other_convolutions_stay(body, positions):
    mod = _staged(build(INPUTS, PARAMS, body), positions)
    tvm.ir.assert_structural_equal(SplitConvolution()(mod), relax.transform.Normalize()(mod))
