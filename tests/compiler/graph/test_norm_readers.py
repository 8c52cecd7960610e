"""Layer norms that linear layers alone read: which are found, and why others aren't."""

from __future__ import annotations

import pytest
from dispatch_testing import build
from tvm.relax import op as R

from sam3_tvm.compiler.graph.norm_readers import find_norm_readers

PARAMS = [("g", (8,)), ("b", (8,)), ("w", (6, 8)), ("v", (8, 4)), ("u", (8, 8))]


def found(body):
    mod = build([("x", ("n", 4, 8))], PARAMS, body)
    return [
        (one.scale.name, one.shift.name, [(w.name, axis) for w, axis in one.weights])
        for one in find_norm_readers(mod["main"])
    ]


def norm(x, g, b, **options):
    return R.nn.layer_norm(x, g, b, **{"axes": [-1], **options})


def linear(emit, x, w):
    return emit(R.matmul(x, emit(R.permute_dims(w))))


def test_readers_through_views_and_in_both_layouts():
    def body(emit, x, g, b, w, v, u):
        y = emit(norm(x, g, b))
        windows = emit(R.permute_dims(emit(R.nn.pad(y, [0, 0, 0, 1, 0, 0])), [1, 0, 2]))
        first = linear(emit, windows, w)
        flat = emit(R.reshape(y, (-1, 8)))
        second = emit(R.matmul(flat, v))
        return emit(R.add(emit(R.sum(first)), emit(R.sum(second))))

    assert found(body) == [("g", "b", [("w", 1), ("v", 0)])]


def residual(emit, x, g, b, w, v, u):
    y = emit(norm(x, g, b))
    return emit(R.add(y, linear(emit, y, u)))


def result(emit, x, g, b, w, v, u):
    return emit(norm(x, g, b))


def shared_weight(emit, x, g, b, w, v, u):
    y = emit(norm(x, g, b))
    return emit(R.add(linear(emit, y, u), linear(emit, x, u)))


def shared_scale(emit, x, g, b, w, v, u):
    return linear(emit, emit(norm(emit(R.multiply(x, g)), g, b)), u)


def channels_apart(emit, x, g, b, w, v, u):
    y = emit(norm(x, g, b))
    return linear(emit, emit(R.permute_dims(emit(R.reshape(y, (-1, 8, 8))), [0, 2, 1])), u)


def channels_split(emit, x, g, b, w, v, u):
    y = emit(R.reshape(emit(norm(x, g, b)), (-1, 4)))
    return emit(R.matmul(y, emit(R.strided_slice(v, [0], [0], [4]))))


def other_padding(emit, x, g, b, w, v, u):
    y = emit(norm(x, g, b))
    return linear(emit, emit(R.nn.pad(y, [0, 0, 0, 1, 0, 0], pad_value=1.0)), u)


def weight_first(emit, x, g, b, w, v, u):
    y = emit(norm(x, g, b))
    return emit(R.matmul(u, emit(R.permute_dims(y, [0, 2, 1]))))


def without_scale(emit, x, g, b, w, v, u):
    return linear(emit, emit(norm(x, g, b, scale=False)), u)


@pytest.mark.parametrize(
    "body",
    [
        residual,
        result,
        shared_weight,
        shared_scale,
        channels_apart,
        channels_split,
        other_padding,
        weight_first,
        without_scale,
    ],
    ids=lambda body: body.__name__,
)
def test_what_else_reads_it_keeps_the_factors_where_they_are(body):
    assert found(body) == []
