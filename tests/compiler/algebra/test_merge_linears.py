"""Which projections become one product, and that the numbers stay."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from dispatch_testing import TARGET, build, close, kernels, operators, randoms, run
from tvm import relax
from tvm.relax import op as R

from sam3_tvm.compiler.algebra.merge_linears import MergeLinears
from sam3_tvm.compiler.dispatch.attention import DispatchAttention
from sam3_tvm.compiler.dispatch.linear import DispatchLinear

HEADS, DIM = 2, 8
SIZE = HEADS * DIM


def project(emit, x, w, bias=None, transposed=True):
    y = emit(R.matmul(x, emit(R.permute_dims(w)) if transposed else w))
    return y if bias is None else emit(R.add(y, bias))


def heads(emit, y):
    b, rows, _ = y.ty.shape.values
    return emit(R.reshape(y, (b, rows, HEADS, DIM)))


def attend(q, k, v):
    q, k, v = (a.reshape(*a.shape[:2], HEADS, DIM).swapaxes(1, 2) for a in (q, k, v))
    scores = q @ k.swapaxes(-1, -2) * DIM**-0.5
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return (weights @ v / weights.sum(-1, keepdims=True)).swapaxes(1, 2)


def weights(suffixes, bias=True):
    found = [(f"w{s}", (SIZE, 12)) for s in suffixes]
    return found + [(f"b{s}", (SIZE,)) for s in suffixes] if bias else found


def merged(mod):
    return DispatchLinear(TARGET)(DispatchAttention(TARGET)(MergeLinears()(mod)))


@pytest.mark.parametrize("bias", [True, False])
def test_queries_keys_and_values_become_one_product(bias):
    def body(emit, x, *params):
        biases = params[3:] if bias else [None] * 3
        q, k, v = (
            heads(emit, project(emit, x, w, b)) for w, b in zip(params[:3], biases, strict=True)
        )
        return R.nn.attention(q, k, v)

    after = merged(build([("x", ("b", "n", 12))], weights("qkv", bias), body))
    assert kernels(after) == [
        f"linear_12x48{'_bias' if bias else ''}",
        "attention_2x8_packed",
    ]
    assert "strided_slice" not in operators(after)
    for b, n in [(1, 1), (3, 7)]:
        x, *params = randoms((b, n, 12), *[(SIZE, 12)] * 3, *[(SIZE,)] * (3 if bias else 0))
        biases = params[3:] if bias else [0] * 3
        want = attend(*(x @ w.T + c for w, c in zip(params[:3], biases, strict=True)))
        close(run(after, x, *params), want)


def test_the_rewritten_graph():
    """Before and after, operator by operator, for weights that are stored transposed."""

    def before(emit, x, y, wq, wk, wv, bk, bv):
        q = heads(emit, project(emit, x, wq, transposed=False))
        k = heads(emit, project(emit, y, wk, bk, transposed=False))
        v = heads(emit, project(emit, y, wv, bv, transposed=False))
        return R.nn.attention(q, k, v)

    def after(emit, x, y, wq, wk, wv, bk, bv):
        q = heads(emit, project(emit, x, wq, transposed=False))
        both = emit(R.matmul(y, emit(R.concat([wk, wv], axis=1))))
        both = emit(R.add(both, emit(R.concat([bk, bv], axis=0))))
        k, v = (
            heads(
                emit, emit(R.strided_slice(both, [2], [at], [at + SIZE], [1], assume_inbound=True))
            )
            for at in (0, SIZE)
        )
        return R.nn.attention(q, k, v)

    inputs = [("x", ("b", "n", 12)), ("y", ("b", "m", 12))]
    params = [(f"w{s}", (12, SIZE)) for s in "qkv"] + [("bk", (SIZE,)), ("bv", (SIZE,))]
    got = MergeLinears()(build(inputs, params, before))
    tvm.ir.assert_structural_equal(got, relax.transform.Normalize()(build(inputs, params, after)))


def test_only_layers_that_read_the_same_rows_are_merged():
    def body(emit, x, position, *params):
        moved = emit(R.add(x, position))
        q, k, v = (
            heads(emit, project(emit, rows, w, b))
            for rows, w, b in zip((moved, moved, x), params[:3], params[3:], strict=True)
        )
        return R.nn.attention(q, k, v)

    inputs = [("x", ("b", "n", 12)), ("position", ("b", "n", 12))]
    after = merged(build(inputs, weights("qkv"), body))
    assert sorted(kernels(after)) == [
        "attention_2x8_packed",
        "linear_12x16_bias",
        "linear_12x32_bias",
    ]
    x, position, *params = randoms(*[(2, 5, 12)] * 2, *[(SIZE, 12)] * 3, *[(SIZE,)] * 3)
    moved = x + position
    want = attend(
        *(a @ w.T + c for a, w, c in zip((moved, moved, x), params[:3], params[3:], strict=True))
    )
    close(run(after, x, position, *params), want)


@pytest.mark.parametrize("reason", ["activation", "also used", "made weight", "no bias on one"])
def test_layers_that_the_attention_cannot_read_in_place_stay(reason):
    def body(emit, x, wq, wk, wv, bq, bk, bv):
        if reason == "made weight":
            wk = emit(R.multiply(wk, wv))
        q = project(emit, x, wq, bq)
        k = project(emit, x, wk, None if reason == "no bias on one" else bk)
        if reason == "activation":
            k = emit(R.nn.relu(k))
        v = heads(emit, project(emit, emit(R.nn.relu(x)), wv, bv))
        y = emit(R.nn.attention(heads(emit, q), heads(emit, k), v))
        return R.add(y, heads(emit, k)) if reason == "also used" else y

    before = build([("x", ("b", "n", 12))], weights("qkv"), body)
    before = relax.transform.Normalize()(before)
    tvm.ir.assert_structural_equal(MergeLinears()(before), before)
