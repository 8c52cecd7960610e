"""FoldProjection: what it rewrites, what it leaves, and the numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from dispatch_testing import TARGET, build, close, kernels, operators, randoms, run
from tvm import relax

from sam3_tvm.compiler.algebra.fold_projection import FoldProjection
from sam3_tvm.compiler.dispatch.matmul import DispatchMatmul

op, nn = relax.op, relax.op.nn

CHANNELS, PROJECTED, HEIGHT, WIDTH = 6, 8, 5, 7
PIXELS = HEIGHT * WIDTH
INPUTS = [("m", ["b", "q", PROJECTED]), ("x", ["b", CHANNELS, HEIGHT, WIDTH])]
WIDE = ("x", ["b", 2 * CHANNELS, HEIGHT, WIDTH])
PARAMS = [("w", [PROJECTED, CHANNELS, 1, 1]), ("bias", [PROJECTED])]


def _scores(emit, m, x, w, bias, *, biased=True, **attrs):
    y = emit(nn.conv2d(x, w, **attrs))
    if biased:
        y = emit(op.add(y, emit(op.reshape(bias, (1, PROJECTED, 1, 1)))))
    flat = emit(op.reshape(y, (x.ty.shape[0], PROJECTED, PIXELS)))
    return op.matmul(m, flat)


def _reference(m, x, w, bias):
    projected = np.einsum("oc,bchw->bohw", w[:, :, 0, 0], x) + bias[:, None, None]
    return m @ projected.reshape(len(x), PROJECTED, PIXELS)


def _tensors(batch, rows):
    shapes = [(batch, rows, PROJECTED), (batch, CHANNELS, HEIGHT, WIDTH)]
    return randoms(*shapes, (PROJECTED, CHANNELS, 1, 1), (PROJECTED,))


@pytest.mark.parametrize("biased", [True, False])
def test_no_pixel_is_projected(biased):
    mod = build(INPUTS, PARAMS, lambda *args: _scores(*args, biased=biased))
    folded = FoldProjection()(mod)
    assert "nn.conv2d" not in operators(folded)
    assert folded["main"].script().count("R.matmul") == (3 if biased else 2)
    for batch, rows in ((1, 1), (3, 5)):
        m, x, w, bias = _tensors(batch, rows)
        close(run(folded, m, x, w, bias), _reference(m, x, w, bias * biased))


def test_the_column_that_the_bias_becomes_joins_the_product():
    folded = FoldProjection()(build(INPUTS, PARAMS, _scores))
    dispatched = DispatchMatmul(TARGET)(folded)
    assert f"matmul_{CHANNELS}x{PIXELS}_bias" in kernels(dispatched)
    assert "add" not in operators(dispatched)
    m, x, w, bias = _tensors(2, 3)
    close(run(dispatched, m, x, w, bias), _reference(m, x, w, bias))


def _used_twice(emit, m, x, w, bias):
    y = emit(nn.conv2d(x, w))
    flat = emit(op.reshape(y, (x.ty.shape[0], PROJECTED, PIXELS)))
    return op.add(emit(op.matmul(m, flat)), emit(op.sum(y)))


def _activated(emit, m, x, w, bias):
    y = emit(nn.relu(emit(nn.conv2d(x, w))))
    return op.matmul(m, emit(op.reshape(y, (x.ty.shape[0], PROJECTED, PIXELS))))


@pytest.mark.parametrize(
    ("body", "inputs", "params"),
    [
        (_used_twice, INPUTS, PARAMS),
        (_activated, INPUTS, PARAMS),
        # Twice as many channels as projected: 10080 multiply-adds as it is, 12384 folded.
        (_scores, [("m", ["b", 24, PROJECTED]), WIDE], [("w", [8, 12, 1, 1]), PARAMS[1]]),
        (_scores, [INPUTS[0], WIDE], [("w", [8, 12, 1, 1]), PARAMS[1]]),
        # The weights are no parameters.
        (_scores, [*INPUTS, *PARAMS], []),
    ],
    ids=["used twice", "activated", "many rows", "any rows", "weights given"],
)
def test_other_products_stay(body, inputs, params):
    mod = build(inputs, params, body)
    tvm.ir.assert_structural_equal(FoldProjection()(mod), relax.transform.Normalize()(mod))


def test_a_projection_of_neighbours_stays():
    params = [("w", [PROJECTED, CHANNELS, 3, 3]), ("bias", [PROJECTED])]
    mod = build(INPUTS, params, lambda *args: _scores(*args, padding=1))
    tvm.ir.assert_structural_equal(FoldProjection()(mod), relax.transform.Normalize()(mod))
