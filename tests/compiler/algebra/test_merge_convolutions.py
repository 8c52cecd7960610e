"""MergeTransposed: what it rewrites, what it leaves, and the numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from dispatch_testing import build, close, operators, randoms, run
from tvm import relax

from sam3_tvm.compiler.algebra.merge_convolutions import MergeTransposed
from sam3_tvm.compiler.memory.weights import lift_params

op, nn = relax.op, relax.op.nn

# 4 * 6 * 8 = 192 multiply-adds a pixel merged, 4 * 9 * (6 + 8) = 504 in two.
INNER, MIDDLE, OUT = 6, 9, 8
INPUTS = [("x", ["b", INNER, 3, 5])]


def _params(inner=INNER, middle=MIDDLE, out=OUT, size=1):
    return [
        ("v", [inner, middle, 2, 2]),
        ("first", [middle]),
        ("u", [out, middle, size, size]),
        ("second", [out]),
    ]


def _column(emit, bias):
    return emit(op.reshape(bias, (1, -1, 1, 1)))


def _both(first=True, second=True, between=None, **attrs):
    def body(emit, x, v, a, u, b):
        y = emit(nn.conv2d_transpose(x, v, strides=2))
        if first:
            y = emit(op.add(y, _column(emit, a)))
        if between is not None:
            y = emit(between(y))
        z = nn.conv2d(y, u, **attrs)
        return op.add(emit(z), _column(emit, b)) if second else z

    return body


def _reference(x, v, a, u, b):
    batch, _, height, width = x.shape
    y = np.einsum("bihw,imyx->bmhywx", x, v).reshape(batch, -1, 2 * height, 2 * width)
    y = y + a[:, None, None]
    return np.einsum("om,bmhw->bohw", u[:, :, 0, 0], y) + b[:, None, None]


@pytest.mark.parametrize(("first", "second"), [(True, True), (False, True), (True, False)])
def test_two_become_one(first, second):
    merged = MergeTransposed()(build(INPUTS, _params(), _both(first, second)))
    assert "nn.conv2d" not in operators(merged)
    assert merged["main"].script().count("R.nn.conv2d_transpose") == 1
    for batch in (1, 3):
        x, v, a, u, b = randoms((batch, INNER, 3, 5), *(shape for _, shape in _params()))
        close(run(merged, x, v, a, u, b), _reference(x, v, a * first, u, b * second))


def test_weights_are_merged_offline():
    merged = MergeTransposed()(build(INPUTS, _params(), _both()))
    runtime, _ = lift_params(merged, ["main"])
    assert operators(runtime) - {"add"} == {"nn.conv2d_transpose"}


def _between_used_twice(emit, x, v, a, u, b):
    y = emit(nn.conv2d_transpose(x, v, strides=2))
    return op.add(emit(nn.conv2d(y, u)), emit(op.mean(y, axis=[1], keepdims=True)))


@pytest.mark.parametrize(
    ("body", "inputs", "params"),
    [
        (_both(between=nn.gelu), INPUTS, _params()),
        (_both(padding=1), INPUTS, _params()),
        (_both(), INPUTS, _params(size=2)),
        (_between_used_twice, INPUTS, _params()),
        # 4 * 6 * 8 multiply-adds a pixel merged, 4 * 3 * 14 in two.
        (_both(), INPUTS, _params(middle=3)),
        (_both(), [*INPUTS, *_params()], []),
    ],
    ids=["activated", "padded", "neighbours", "used twice", "narrow between", "weights given"],
)
def test_other_pairs_stay(body, inputs, params):
    mod = build(inputs, params, body)
    tvm.ir.assert_structural_equal(MergeTransposed()(mod), relax.transform.Normalize()(mod))
