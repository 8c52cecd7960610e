"""FoldValues: what it rewrites, what it leaves, and the numbers."""

from __future__ import annotations

import numpy as np
import pytest
from dispatch_testing import TARGET, build, close, kernels, operators, randoms, run
from tvm import relax

from sam3_tvm.compiler.algebra.fold_values import FoldValues
from sam3_tvm.compiler.dispatch.attention import DispatchAttention
from sam3_tvm.compiler.dispatch.linear import DispatchLinear

op, nn = relax.op, relax.op.nn

QUERIES, WIDTH, SIZE = 6, 8, 16
INPUTS = [("q", ["b", QUERIES, 1, SIZE]), ("k", ["b", "n", 1, SIZE]), ("m", ["b", "n", WIDTH])]
PARAMS = [("w", [WIDTH, SIZE]), ("bias", [SIZE])]


def _made(least=QUERIES, *, inputs=INPUTS, params=PARAMS, body=None):
    """A function over at least so many keys."""
    mod = build(inputs, params, body or _attend)
    mod["main"] = mod["main"].with_attr("tir_var_lower_bound", {"b": 1, "n": least})
    return mod


def _values(emit, m, w, bias, heads=1):
    """In torch's order of axes: [B, heads, L, D], then as an attention takes them."""
    y = emit(op.matmul(m, w))
    if bias is not None:
        y = emit(op.add(y, bias))
    b, rows, size = y.ty.shape
    split = emit(op.reshape(y, (b, rows, heads, size // heads)))
    apart = emit(op.permute_dims(split, [0, 2, 1, 3]))
    return emit(op.permute_dims(apart, [0, 2, 1, 3]))


def _attend(emit, q, k, m, w, bias, **options):
    return nn.attention(q, k, _values(emit, m, w, bias), **options)


def _reference(q, k, m, w, bias, scale=SIZE**-0.5):
    scores = np.einsum("bqhd,bkhd->bqk", q, k).astype("float64") * scale
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return (weights @ (m @ w + bias))[:, :, None].astype("float32")


def _tensors(batch, keys):
    shapes = [(batch, QUERIES, 1, SIZE), (batch, keys, 1, SIZE), (batch, keys, WIDTH)]
    return randoms(*shapes, (WIDTH, SIZE), (SIZE,))


@pytest.mark.parametrize("scale", [None, 0.7])
@pytest.mark.parametrize("biased", [True, False])
def test_what_is_found_is_projected(biased, scale):
    def body(emit, q, k, m, w, bias):
        return _attend(emit, q, k, m, w, bias if biased else None, scale=scale)

    folded = FoldValues()(_made(body=body))
    (product,) = (li for li in folded["main"].script().splitlines() if "R.matmul(" in li)
    assert f"R.Tensor((b, {QUERIES}, 1, {SIZE})" in product
    dispatched = DispatchLinear(TARGET)(DispatchAttention(TARGET)(folded))
    assert [name.split("_")[0] for name in kernels(dispatched)] == ["attention", "linear"]
    for batch, keys in ((1, QUERIES), (2, 41)):
        q, k, m, w, bias = _tensors(batch, keys)
        wanted = _reference(q, k, m, w, bias * biased, SIZE**-0.5 if scale is None else scale)
        close(run(folded, q, k, m, w, bias), wanted)


def _causal(*args):
    return _attend(*args, causal_mask="TopLeft")


def _read_elsewhere(emit, q, k, m, w, bias):
    values = _values(emit, m, w, bias)
    return op.add(emit(nn.attention(q, k, values)), emit(op.sum(values)))


def _product_read_elsewhere(emit, q, k, m, w, bias):
    y = emit(op.matmul(m, w))
    values = emit(op.reshape(emit(op.add(y, bias)), (*m.ty.shape.values[:2], 1, SIZE)))
    return op.add(emit(nn.attention(q, k, values)), emit(op.sum(y)))


def _activated(emit, q, k, m, w, bias):
    values = emit(nn.relu(_values(emit, m, w, bias)))
    return nn.attention(q, k, values)


def _two_heads(emit, q, k, m, w, bias):
    q, k = (emit(op.reshape(t, (*t.ty.shape.values[:2], 2, SIZE // 2))) for t in (q, k))
    return nn.attention(q, k, _values(emit, m, w, bias, heads=2))


def _of_a_bias_by_rows(emit, q, k, m, w, bias):
    values = emit(op.add(emit(op.matmul(m, w)), emit(op.sum(m, -1, keepdims=True))))
    return nn.attention(q, k, emit(op.reshape(values, (*m.ty.shape.values[:2], 1, SIZE))))


def _with_a_bias(emit, q, k, m, w, bias):
    values = _values(emit, m, w, bias)
    shape = (q.ty.shape.values[0], 1, QUERIES, k.ty.shape.values[1])
    mask = emit(op.full(shape, relax.const(0.5, "float32"), "float32"))
    return nn.attention(q, k, values, bias=mask)


def _keys_that_are_the_values(emit, q, k, m, w, bias):
    values = _values(emit, m, w, bias)
    return nn.attention(q, values, values)


@pytest.mark.parametrize(
    "body",
    [
        _with_a_bias,
        _keys_that_are_the_values,
        _causal,
        _read_elsewhere,
        _product_read_elsewhere,
        _activated,
        _two_heads,
        _of_a_bias_by_rows,
    ],
)
def test_other_values_stay(body):
    before = _made(body=body)
    assert _products(FoldValues()(before)) == _products(before)


def test_values_stay_where_there_may_be_fewer_than_queries():
    before = _made(QUERIES - 1)
    assert _products(FoldValues()(before)) == _products(before)


@pytest.mark.parametrize(("least", "folds"), [(0, False), (1, True)])
def test_values_fold_where_there_is_a_row_to_look_at(least, folds):
    """As many queries as keys, both of a length that the call decides."""
    one = [("q", ["b", "n", 1, SIZE]), ("k", ["b", "n", 1, SIZE]), ("m", ["b", "n", WIDTH])]
    before = _made(least, inputs=one)
    assert (_products(FoldValues()(before)) != _products(before)) == folds


def test_values_that_are_narrower_than_what_they_are_made_of_stay():
    wide = [*INPUTS[:2], ("m", ["b", "n", 2 * SIZE])]
    before = _made(inputs=wide, params=[("w", [2 * SIZE, SIZE]), ("bias", [SIZE])])
    assert _products(FoldValues()(before)) == _products(before)


def test_self_attention_keeps_what_it_can_make_with_its_queries():
    same = [("q", ["b", "n", 1, SIZE]), ("k", ["b", "n", 1, SIZE]), ("m", ["b", "n", SIZE])]
    before = _made(inputs=same, params=[("w", [SIZE, SIZE]), ("bias", [SIZE])])
    assert _products(FoldValues()(before)) == _products(before)


def test_values_of_weights_that_are_no_parameters_stay():
    before = _made(inputs=[*INPUTS, *PARAMS], params=[])
    assert _products(FoldValues()(before)) == _products(before)


def _products(mod):
    assert "matmul" in operators(mod)
    return [
        line.split(" = ")[0].split(": ")[1]
        for line in mod["main"].script().splitlines()
        if "R.matmul(" in line
    ]
