"""Values that are bfloat16 in memory, since nothing but layers and attentions reads them."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from dispatch_testing import TARGET, build, kernels, randoms, run
from kernel_testing import PLAIN_PAIRS, as_bfloat16
from tvm import relax
from tvm.relax import op as R

from sam3_tvm.arithmetic import BFLOAT16, INT8
from sam3_tvm.compiler.dispatch.attention import DispatchAttention
from sam3_tvm.compiler.dispatch.linear import DispatchLinear
from sam3_tvm.compiler.graph.arithmetic import with_arithmetic
from sam3_tvm.compiler.kernels.product import dot

HEADS, SIZE = 2, 32
WIDTH = HEADS * SIZE


@pytest.fixture(params=["here", "plain"], autouse=True)
def pairs(request, monkeypatch):
    """Pairs by this CPU's instruction, where it has one, and in plain arithmetic."""
    if request.param == "plain":
        monkeypatch.setitem(dot.DOTS, "bfloat16", (PLAIN_PAIRS,))
    elif not any(d.pairs and d.fits(TARGET) for d in dot.DOTS["bfloat16"]):
        pytest.skip("this CPU doesn't multiply bfloat16")


def dispatched(mod, arithmetic=BFLOAT16):
    mod = tvm.IRModule({"main": with_arithmetic(mod["main"], arithmetic)})
    attentions = {}
    return DispatchLinear(TARGET, attentions)(DispatchAttention(TARGET, attentions)(mod))


def layer(emit, x, w):
    return emit(R.matmul(x, emit(R.permute_dims(w))))


def block(after=lambda emit, result, projections: result, bias=None):
    """Attention between four layers; ``after`` makes the result of it and of what they gave."""

    def body(emit, x, *weights):
        b, n = x.ty.shape.values[:2]
        projections = [layer(emit, x, w) for w in weights[:3]]
        heads = [emit(R.reshape(p, (b, n, HEADS, SIZE))) for p in projections]
        given = () if bias is None else (bias(emit, heads),)
        attended = emit(R.nn.attention(*heads, *given, scale=0.25))
        joined = emit(R.reshape(attended, (b, n, WIDTH)))
        return after(emit, layer(emit, joined, weights[3]), [*projections, joined])

    return build([("x", ("b", "n", WIDTH))], [(name, (WIDTH, WIDTH)) for name in "qkvo"], body)


def expected(x, *weights):
    """In float64, of operands that are rounded wherever the kernels round them."""
    b, n, _ = x.shape
    q, k, v = (as_bfloat16(as_bfloat16(x) @ as_bfloat16(w).T) for w in weights[:3])
    q, k, v = (a.reshape(b, n, HEADS, SIZE).transpose(0, 2, 1, 3) for a in (q, k, v))
    scores = q @ np.swapaxes(k, -1, -2) * 0.25
    p = np.exp(scores - scores.max(-1, keepdims=True))
    y = (p / p.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(b, n, WIDTH)
    return as_bfloat16(y) @ as_bfloat16(weights[3]).T


def relative(got, want):
    """The rms error over the rms value."""
    return np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2))


def names(mod):
    return [n for n in kernels(mod) if n.startswith(("linear", "attention"))]


def operands(seed=0):
    x, *weights = randoms((2, 37, WIDTH), *[(WIDTH, WIDTH)] * 4)
    return x, *(w * WIDTH**-0.5 for w in weights)


def test_an_attention_reads_and_gives_what_its_layers_round():
    after = dispatched(block())
    assert [n.rstrip("_0123456789") for n in names(after)] == [
        *["linear_64x64_rounded_bfloat"] * 3,
        "attention_2x32_of_rounded_rounded_bfloat",
        "linear_64x64_of_rounded_bfloat",
    ]
    arrays = operands()
    assert relative(run(after, *arrays), expected(*arrays)) < 4e-3


def test_no_rows_give_none():
    after = dispatched(block())
    x, *weights = operands()
    assert run(after, x[:, :0], *weights).shape == (2, 0, WIDTH)


@pytest.mark.parametrize("which", range(4))
def test_what_something_else_reads_too_stays_float32(which):
    def also(emit, result, values):
        return R.concat([result, values[which]], axis=-1)

    after = dispatched(block(also))
    made = [n.rstrip("_0123456789") for n in names(after)]
    rounded = [f"linear_64x64{'' if i == which else '_rounded'}_bfloat" for i in range(3)]
    assert made[:3] == rounded
    assert made[3] == "attention_2x32_of_rounded" + ("" if which == 3 else "_rounded") + "_bfloat"
    x, *weights = operands()
    result, value = np.split(run(after, x, *weights), 2, axis=-1)
    assert relative(result, expected(x, *weights)) < 4e-3
    if which < 3:
        assert relative(value, as_bfloat16(x) @ as_bfloat16(weights[which]).T) < 1e-5


@pytest.mark.parametrize("other", ["layer", "attention"])
def test_a_value_of_two_readers_is_bfloat16_if_both_attend(other):
    def body(emit, x, w, v, o, p):
        b, n = x.ty.shape.values[:2]
        shared, value = layer(emit, x, w), layer(emit, x, v)
        heads, values = (emit(R.reshape(t, (b, n, HEADS, SIZE))) for t in (shared, value))
        first = emit(R.nn.attention(heads, heads, values, scale=0.25))
        joined = layer(emit, emit(R.reshape(first, (b, n, WIDTH))), o)
        if other == "layer":
            return R.add(joined, layer(emit, shared, p))
        second = emit(R.nn.attention(heads, values, values, scale=0.25))
        return R.add(joined, layer(emit, emit(R.reshape(second, (b, n, WIDTH))), p))

    mod = build([("x", ("b", "n", WIDTH))], [(name, (WIDTH, WIDTH)) for name in "wvop"], body)
    after = dispatched(mod)
    made = [n.rstrip("_0123456789") for n in names(after)]
    assert made[0] == f"linear_64x64{'_rounded' if other == 'attention' else ''}_bfloat"
    assert made[1] == "linear_64x64_rounded_bfloat"
    x, w, v, o, p = operands()
    got = run(after, x, w, v, o, p)
    want = expected(x, w, w, v, o)
    if other == "layer":
        want = want + as_bfloat16(as_bfloat16(x) @ as_bfloat16(w).T) @ as_bfloat16(p).T
    else:
        want = want + expected(x, w, v, v, p)
    assert relative(got, want) < 5e-3


def test_what_a_bias_is_made_of_stays_float32():
    def bias(emit, heads):
        return emit(R.sum(heads[1], axis=[1, 3], keepdims=True))

    after = dispatched(block(bias=bias))
    made = [n.rstrip("_0123456789") for n in names(after)]
    assert made[:3] == [f"linear_64x64{r}_bfloat" for r in ("_rounded", "", "_rounded")]


def test_int8_layers_give_an_attention_bfloat16_and_quantise_what_it_gives():
    after = dispatched(block(), INT8)
    assert [n.rstrip("_0123456789") for n in names(after)] == [
        *["linear_64x64_rounded_w8a"] * 3,
        "attention_2x32_of_rounded_rounded_bfloat",
        "linear_64x64_w8a",
    ]
    arrays = operands()
    assert relative(run(after, *arrays), expected(*arrays)) < 4e-2


def test_without_pairs_nothing_is_rounded(monkeypatch):
    monkeypatch.setitem(dot.DOTS, "bfloat16", (dot.FMA,))
    assert not any("rounded" in n for n in names(dispatched(block())))
    assert isinstance(dispatched(block())["main"], relax.Function)
