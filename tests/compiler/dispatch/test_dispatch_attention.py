"""Which attentions get the kernel, which transpositions vanish, and that the numbers stay."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from dispatch_testing import TARGET, build, close, kernels, operators, randoms, run
from tvm import relax
from tvm.relax import op as R

from sam3_tvm.compiler.dispatch.attention import DispatchAttention

HEADS_FIRST = [0, 2, 1, 3]


def dispatched(mod):
    return DispatchAttention(TARGET)(mod)


def attend(q, k, v, bias=0.0, scale=None):
    """softmax(q k^T scale + bias) v on [..., L, D] in float64; rows of -inf give zeros."""
    s = q.astype("float64") @ np.swapaxes(k, -1, -2) * (scale or q.shape[-1] ** -0.5) + bias
    top = np.maximum(s.max(-1, keepdims=True), -1e30)
    p = np.exp(s - top)
    return p @ v / np.maximum(p.sum(-1, keepdims=True), 1e-30)


def heads_second(x):
    return x.transpose(HEADS_FIRST)


def test_plain_attention():
    mod = build(
        [("q", ("b", "n", 2, 16)), ("k", ("b", "m", 2, 16)), ("v", ("b", "m", 2, 24))],
        [],
        lambda emit, q, k, v: R.nn.attention(q, k, v, scale=0.3),
    )
    after = dispatched(mod)
    assert kernels(after) == ["attention_2x16"]
    assert operators(after) == {"call_tir"}
    for b, n, m in [(1, 1, 1), (2, 7, 131)]:
        q, k, v = randoms((b, n, 2, 16), (b, m, 2, 16), (b, m, 2, 24))
        want = heads_second(attend(*map(heads_second, (q, k, v)), scale=0.3))
        close(run(after, q, k, v), want)


def test_transpositions_around_it_are_absorbed():
    def body(emit, q, k, v):
        q, k, v = (emit(R.permute_dims(x, HEADS_FIRST)) for x in (q, k, v))
        return R.permute_dims(emit(R.nn.attention(q, k, v)), HEADS_FIRST)

    shape = ("b", 3, "n", 8)
    after = dispatched(build([("q", shape), ("k", shape), ("v", shape)], [], body))
    assert kernels(after) == ["attention_3x8_bhld"]
    assert operators(after) == {"call_tir"}
    q, k, v = randoms(*[(2, 3, 50, 8)] * 3)
    close(run(after, q, k, v), attend(q, k, v))


def test_transpositions_that_cancel_leave_the_original():
    def body(emit, x):
        x = emit(R.permute_dims(emit(R.permute_dims(x, HEADS_FIRST)), HEADS_FIRST))
        y = emit(R.nn.attention(x, x, x))
        return R.permute_dims(emit(R.permute_dims(y, HEADS_FIRST)), HEADS_FIRST)

    after = dispatched(build([("x", ("b", "n", 3, 8))], [], body))
    assert kernels(after) == ["attention_3x8"]
    assert operators(after) == {"call_tir"}
    (x,) = randoms((2, 20, 3, 8))
    close(run(after, x), heads_second(attend(*[heads_second(x)] * 3)))


def test_operands_in_orders_of_their_own():
    def body(emit, q, k, v):
        q = emit(R.permute_dims(q, [1, 2, 0, 3]))  # stored as H, B, L, D
        k = emit(R.permute_dims(k, [1, 0, 2, 3]))  # stored as L, B, H, D
        v = emit(R.permute_dims(v, [0, 3, 1, 2]))  # stored as B, H, D, L: stays transposed
        return R.permute_dims(emit(R.nn.attention(q, k, v)), [1, 0, 2, 3])

    inputs = [("q", (3, "b", "n", 8)), ("k", ("m", "b", 3, 8)), ("v", ("b", 3, 8, "m"))]
    after = dispatched(build(inputs, [], body))
    assert kernels(after) == ["attention_3x8_hbld_lbhd_blhd"]
    assert operators(after) == {"call_tir", "permute_dims"}
    q, k, v = randoms((3, 2, 9, 8), (5, 2, 3, 8), (2, 3, 8, 5))
    v_as_used = v.transpose(0, 3, 1, 2)
    want = attend(q.transpose(1, 0, 2, 3), k.transpose(1, 2, 0, 3), heads_second(v_as_used))
    close(run(after, q, k, v), want.transpose(2, 0, 1, 3))


def test_a_transposed_result_that_is_also_used_as_it_is_stays():
    def body(emit, x):
        y = emit(R.nn.attention(x, x, x))
        return R.add(emit(R.permute_dims(y, [0, 2, 1, 3])), emit(R.sum(y)))

    after = dispatched(build([("x", ("b", "n", 3, 8))], [], body))
    assert kernels(after) == ["attention_3x8"]
    assert "permute_dims" in operators(after)
    (x,) = randoms((1, 4, 3, 8))
    y = attend(*[heads_second(x)] * 3)
    close(run(after, x), y + y.sum())


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        (("b", 1, 1, "m"), "attention_2x16_bias_bk"),
        (("b", 2, "n", "m"), "attention_2x16_bias_bhqk"),
        ((1, 2, "n", "m"), "attention_2x16_bias_hqk"),
        ((1, 1, "n", 1), "attention_2x16_bias_q"),
        ((1, 1, 1, 1), "attention_2x16_bias"),
    ],
)
def test_bias_is_broadcast_and_masked_rows_give_zeros(shape, name):
    def body(emit, q, k, v, bias):
        return R.nn.attention(q, k, v, bias)

    kv = ("b", "m", 2, 16)
    inputs = [("q", ("b", "n", 2, 16)), ("k", kv), ("v", kv), ("bias", shape)]
    after = dispatched(build(inputs, [], body))
    assert kernels(after) == [name]
    sizes = {"b": 3, "n": 10, "m": 140}
    q, k, v, bias = randoms(
        (3, 10, 2, 16), (3, 140, 2, 16), (3, 140, 2, 16), [sizes.get(d, d) for d in shape]
    )
    bias[..., bias.shape[-1] // 2 :] = -np.inf
    bias[-1, -1, -1] = -np.inf
    got = run(after, q, k, v, bias)
    close(got, heads_second(attend(*map(heads_second, (q, k, v)), bias)))
    assert not np.isnan(got).any()


def guarded(emit, q, k, v, bias, seen, order=HEADS_FIRST):
    """Attention as the importer writes it for a mask that may hide every key of a query."""
    sees = emit(R.max(emit(R.astype(seen, "int8")), axis=-1, keepdims=True))
    sees = emit(R.permute_dims(emit(R.astype(sees, "bool")), order))
    y = emit(R.nn.attention(q, k, v, bias))
    return R.permute_dims(emit(R.where(sees, y, relax.const(0.0, "float32"))), HEADS_FIRST)


QKV = [(name, ("b", 6, 2, 16)) for name in "qkv"]


def test_guard_of_a_boolean_mask_is_dropped():
    def body(emit, q, k, v, mask):
        zero, hidden = relax.const(0.0, "float32"), relax.const(-np.inf, "float32")
        return guarded(emit, q, k, v, emit(R.where(mask, zero, hidden)), mask)

    after = dispatched(build([*QKV, ("mask", ("b", 1, 6, 6), "bool")], [], body))
    assert kernels(after) == ["attention_2x16_blhd_bhld_bias_bqk"]
    assert operators(after) == {"call_tir", "where"}  # the bias itself
    q, k, v = randoms(*[(2, 6, 2, 16)] * 3)
    mask = np.random.default_rng(1).random((2, 1, 6, 6)) < 0.4
    mask[:, :, 2] = False
    bias = np.where(mask, 0, -np.inf)
    close(run(after, q, k, v, mask), attend(*map(heads_second, (q, k, v)), bias))


def test_guard_of_a_float_mask_is_dropped():
    def body(emit, q, k, v, bias):
        seen = emit(R.greater(bias, relax.const(-np.inf, "float32")))
        return guarded(emit, q, k, v, bias, seen)

    after = dispatched(build([*QKV, ("bias", ("b", 2, 6, 6))], [], body))
    assert kernels(after) == ["attention_2x16_blhd_bhld_bias_bhqk"]
    assert operators(after) == {"call_tir"}


@pytest.mark.parametrize("other", ["mask", "values", "axes"])
def test_a_where_that_is_no_guard_of_the_bias_stays(other):
    def body(emit, q, k, v, mask, another):
        hidden = relax.const(-1.0 if other == "values" else -np.inf, "float32")
        bias = emit(R.where(mask, relax.const(0.0, "float32"), hidden))
        order = [0, 1, 2, 3] if other == "axes" else HEADS_FIRST
        return guarded(emit, q, k, v, bias, another if other == "mask" else mask, order)

    masks = [(name, ("b", 1, 1, 6), "bool") for name in ("mask", "another")]
    after = dispatched(build([*QKV, *masks], [], body))
    assert kernels(after) == ["attention_2x16_bias_bk"]
    assert {"where", "max"} <= operators(after)
    q, k, v = randoms(*[(1, 6, 2, 16)] * 3)
    yes = np.ones((1, 1, 1, 6), bool)
    got = run(after, q, k, v, yes, ~yes)
    want = attend(*map(heads_second, (q, k, v)))
    close(got, 0 * want if other == "mask" else want)


def box_bias(emit, down, across, first=1, order=(0, 3, 1, 2), value=0.0):
    """[B, H, Q, R C] as transformers makes it of [B, Q, R, H] and [B, Q, C, H]."""
    b, q, rows, heads = down.ty.shape.values
    columns = across.ty.shape.values[2]
    down = emit(R.reshape(down, relax.ShapeExpr([b, q, rows, 1, heads])))
    across = emit(R.reshape(across, relax.ShapeExpr([b, q, 1, columns, heads])))
    flat = relax.ShapeExpr([b, q, rows * columns, heads])
    bias = emit(R.reshape(emit(R.add(down, across)), flat))
    bias = emit(R.permute_dims(bias, list(order)))
    return emit(R.nn.pad(bias, [0, 0, 0, 0, first, 0, 0, 0], "constant", value)) if first else bias


BOX_TABLES = [("down", ("b", 7, 3, 2)), ("across", ("b", 7, 5, 2))]


@pytest.mark.parametrize("first", [0, 1, 2])
def test_separable_bias_is_never_an_array(first):
    def body(emit, q, k, v, down, across):
        return R.nn.attention(q, k, v, box_bias(emit, down, across, first))

    kv = ("b", 15, 2, 16)
    inputs = [("q", ("b", 7 + first, 2, 16)), ("k", kv), ("v", kv), *BOX_TABLES]
    after = dispatched(build(inputs, [], body))
    suffix = f"_from_{first}" if first else ""
    assert kernels(after) == [f"attention_2x16_bias_3x5{suffix}"]
    assert operators(after) == {"call_tir", "reshape"}
    q, k, v, down, across = randoms(
        (2, 7 + first, 2, 16), (2, 15, 2, 16), (2, 15, 2, 16), (2, 7, 3, 2), (2, 7, 5, 2)
    )
    bias = np.zeros((2, 2, 7 + first, 15))
    total = down[:, :, :, None] + across[:, :, None]
    bias[:, :, first:] = total.reshape(2, 7, 15, 2).transpose(0, 3, 1, 2)
    got = run(after, q, k, v, down, across)
    close(got, heads_second(attend(*map(heads_second, (q, k, v)), bias)))


@pytest.mark.parametrize("other", ["value", "order", "batch"])
def test_a_bias_that_is_not_separable_stays_an_array(other):
    order = (0, 3, 2, 1) if other == "order" else (0, 3, 1, 2)
    rows = 15 if other == "order" else 7  # so that the shapes agree

    def body(emit, q, k, v, down, across):
        bias = box_bias(emit, down, across, 1, order, 1.0 if other == "value" else 0.0)
        return R.nn.attention(q, k, v, bias)

    batch = 1 if other == "batch" else 2
    kv = (2, rows if other == "order" else 15, 2, 16)
    inputs = [("q", (2, 16 if other == "order" else 8, 2, 16)), ("k", kv), ("v", kv)]
    tables = [("down", (batch, rows, 3, 2)), ("across", (batch, rows, 5, 2))]
    after = dispatched(build([*inputs, *tables], [], body))
    (name,) = kernels(after)
    assert name in ("attention_2x16_bias_bhqk", "attention_2x16_bias_hqk")
    assert "pad" in " ".join(operators(after))


@pytest.mark.parametrize("wide", ["and", "broadcast"])
def test_mask_expanded_to_every_query_stays_narrow(wide):
    def expand(emit, mask, b, m):
        if wide == "broadcast":
            return emit(R.broadcast_to(mask, relax.ShapeExpr([b, 1, 6, m])))
        return emit(R.logical_and(relax.const(np.ones((1, 1, 6, 1), bool)), mask))

    def body(emit, q, k, v, mask):
        b, _, _, m = mask.ty.shape.values
        seen = expand(emit, mask, b, m)
        zero, hidden = relax.const(0.0, "float32"), relax.const(-np.inf, "float32")
        bias = emit(R.where(seen, zero, hidden))
        first = emit(guarded(emit, q, k, v, bias, seen))
        second = emit(R.permute_dims(emit(R.negative(first)), HEADS_FIRST))
        return guarded(emit, second, k, v, bias, seen)

    kv = ("b", "m", 2, 16)
    inputs = [("q", ("b", 6, 2, 16)), ("k", kv), ("v", kv), ("mask", ("b", 1, 1, "m"), "bool")]
    after = dispatched(build(inputs, [], body))
    assert [n.split("_bias_")[1] for n in kernels(after)] == ["bk", "bk"]
    assert after.script().count("R.where") == 1
    assert "max" not in operators(after)
    q, k, v = randoms((3, 6, 2, 16), (3, 40, 2, 16), (3, 40, 2, 16))
    mask = np.random.default_rng(1).random((3, 1, 1, 40)) < 0.4
    mask[1] = False
    bias = np.where(mask, 0, -np.inf)
    q, k, v = map(heads_second, (q, k, v))
    close(
        run(after, *map(heads_second, (q, k, v)), mask), attend(-attend(q, k, v, bias), k, v, bias)
    )


def test_mask_that_a_constant_changes_stays_wide():
    table = np.ones((1, 1, 6, 1), bool)
    table[0, 0, 3] = False

    def body(emit, q, k, v, mask):
        seen = emit(R.logical_and(relax.const(table), mask))
        zero, hidden = relax.const(0.0, "float32"), relax.const(-np.inf, "float32")
        return R.nn.attention(q, k, v, emit(R.where(seen, zero, hidden)))

    after = dispatched(build([*QKV, ("mask", ("b", 1, 1, 6), "bool")], [], body))
    assert kernels(after) == ["attention_2x16_bias_bqk"]


@pytest.mark.parametrize("causal", ["TopLeft", "BottomRight"])
def test_causal_mask(causal):
    mod = build(
        [("q", ("b", 5, 2, 16)), ("k", ("b", 9, 2, 16)), ("v", ("b", 9, 2, 16))],
        [],
        lambda emit, q, k, v: R.nn.attention(q, k, v, causal_mask=causal),
    )
    after = dispatched(mod)
    assert kernels(after) == ["attention_2x16_causal"]
    q, k, v = randoms((1, 5, 2, 16), (1, 9, 2, 16), (1, 9, 2, 16))
    last = np.arange(5)[:, None] + (4 if causal == "BottomRight" else 0)
    bias = np.where(np.arange(9) <= last, 0, -np.inf)
    close(run(after, q, k, v), heads_second(attend(*map(heads_second, (q, k, v)), bias)))


@pytest.mark.parametrize(
    ("dtype", "key_heads", "window"),
    [("float16", 2, None), ("float32", 1, None), ("float32", 2, 4)],
    ids=["float16", "grouped", "window"],
)
def test_what_the_kernel_cannot_do_stays_as_it_is(dtype, key_heads, window):
    def body(emit, q, k, v):
        causal = "TopLeft" if window else None
        return R.nn.attention(q, k, v, causal_mask=causal, window_size=window)

    kv = ("b", "n", key_heads, 16)
    inputs = [("q", ("b", "n", 2, 16), dtype), ("k", kv, dtype), ("v", kv, dtype)]
    before = build(inputs, [], body)
    tvm.ir.assert_structural_equal(dispatched(before), before)


def test_a_function_without_attention_stays_as_it_is():
    before = build([("x", ("n", 4))], [], lambda emit, x: R.permute_dims(x))
    tvm.ir.assert_structural_equal(dispatched(before), before)
