"""Which layers of a function that computes in int8 do, and what becomes of the others."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tvm
from dispatch_testing import TARGET, build, close, kernels, randoms, run
from kernel_testing import PLAIN_PAIRS, as_bfloat16, quantised
from tvm import relax
from tvm.relax import op as R

from sam3_tvm.arithmetic import BFLOAT16, INT8
from sam3_tvm.compiler import pipeline
from sam3_tvm.compiler.dispatch.linear import DispatchLinear
from sam3_tvm.compiler.graph.arithmetic import excepting, with_arithmetic
from sam3_tvm.compiler.kernels.product import dot
from sam3_tvm.compiler.kernels.product.dot import DOTS, FMA, dot_for
from sam3_tvm.compiler.memory.weights import lift_params

HERE = [d for d in DOTS["int8"] if d.fits(TARGET)]


def computing(mod, arithmetic=INT8):
    return tvm.IRModule({"main": with_arithmetic(mod["main"], arithmetic)})


def linear(emit, x, w, bias):
    return R.add(emit(R.matmul(x, emit(R.permute_dims(w)))), bias)


def activations(x):
    """What a layer takes, in float64."""
    q, scale = quantised(x.reshape(-1, x.shape[-1]))
    return (q * scale[:, None].astype("float64")).reshape(x.shape)


def weights(w):
    """What it multiplies them by."""
    scale = np.abs(w).max(1, keepdims=True) / np.float32(127)
    return np.rint(w / scale) * scale.astype("float64")


@pytest.fixture(params=HERE, ids=lambda d: f"{d.name}-{d.a}")
def instruction(request, monkeypatch):
    monkeypatch.setitem(dot.DOTS, "int8", (request.param,))
    return request.param


def test_a_linear_layer_multiplies_eight_bits_of_both(instruction):
    mod = build([("x", ("b", 5, 70))], [("w", (80, 70)), ("b", (80,))], linear)
    after = DispatchLinear(TARGET)(computing(mod))
    assert kernels(after) == [f"quantise_70_{instruction.a}", "linear_70x80_bias_w8a8"]
    x, w, bias = randoms((2, 5, 70), (80, 70), (80,))
    got = run(after, x, w, bias)
    close(got, activations(x) @ weights(w).T + bias)
    assert np.abs(got - (x @ w.T + bias)).max() > 1e-3, "nothing was rounded"


def test_packing_and_what_offsets_add_move_to_compile_time(instruction):
    mod = build([("x", ("n", 64))], [("w", (72, 64)), ("b", (72,))], linear)
    after, transform = lift_params(DispatchLinear(TARGET)(computing(mod)), ["main"])
    [entry] = [f for f in transform.functions.values() if isinstance(f, relax.Function)]
    dtypes = sorted(str(field.dtype) for field in entry.ret_ty.fields)
    assert dtypes == ["float32", "float32", *(["int32"] if instruction.a_zero else []), "int8"]
    assert kernels(after) == [f"quantise_64_{instruction.a}", "linear_64x72_bias_w8a8"]


def test_what_several_layers_take_is_quantised_once():
    def both(emit, x, w, v):
        first = emit(R.matmul(x, emit(R.permute_dims(w))))
        return R.add(first, emit(R.matmul(x, emit(R.permute_dims(v)))))

    mod = build([("x", ("n", 64))], [("w", (72, 64)), ("v", (72, 64))], both)
    after = DispatchLinear(TARGET)(computing(mod))
    assert after.script().count("R.call_tir(cls.quantise_64") == 1
    x, w, v = randoms((9, 64), (72, 64), (72, 64))
    close(run(after, x, w, v), activations(x) @ (weights(w) + weights(v)).T)


@pytest.mark.parametrize(
    ("n", "k", "suffix"), [(4, 64, ""), (63, 80, "_bfloat16"), (80, 62, "_bfloat16"), (80, 33, "")]
)
def test_small_layers_are_as_in_bfloat16(n, k, suffix, monkeypatch):
    monkeypatch.setitem(dot.DOTS, "bfloat16", (FMA,))
    mod = build([("x", ("b", k))], [("w", (n, k)), ("b", (n,))], linear)
    after = DispatchLinear(TARGET)(computing(mod))
    assert kernels(after)[-1] == f"linear_{k}x{n}_bias{suffix}"
    x, w, bias = randoms((3, k), (n, k), (n,))
    close(run(after, x, w, bias), x @ (as_bfloat16(w) if suffix else w).T + bias)


def norm(emit, x, gamma, beta):
    return emit(R.nn.layer_norm(x, gamma, beta, axes=[-1], epsilon=1e-5))


def normed(x, gamma, beta):
    centred = x - x.mean(-1, keepdims=True, dtype="float64")
    root = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return (centred / root * gamma + beta).astype("float32")


def test_a_norm_writes_what_layers_multiply(instruction):
    def body(emit, x, gamma, beta, w, v):
        y = norm(emit, x, gamma, beta)
        first = emit(R.matmul(y, emit(R.permute_dims(w))))
        rows = emit(R.reshape(y, (-1, 70)))
        other = emit(R.reshape(emit(R.matmul(rows, emit(R.permute_dims(v)))), (-1, 5, 80)))
        return R.add(first, other)

    shapes = [("gamma", (70,)), ("beta", (70,)), ("w", (80, 70)), ("v", (80, 70))]
    mod = build([("x", ("b", 5, 70))], shapes, body)
    after = DispatchLinear(TARGET)(computing(mod))
    text = after.script()
    assert text.count(f"R.call_tir(cls.layer_norm_70_{instruction.a}") == 1
    assert "nn.layer_norm" not in text
    assert "quantise" not in text
    x, gamma, beta, w, v = randoms((2, 5, 70), (70,), (70,), (80, 70), (80, 70))
    want = activations(normed(x, gamma, beta)) @ (weights(w) + weights(v)).T
    got = run(after, x, gamma, beta, w, v)
    # The norm's own rounding decides which byte is nearest: a step of a few terms.
    assert np.abs(got - want).max() <= 0.02 * np.abs(want).max()
    assert np.sqrt(np.mean((got - want) ** 2)) <= 2e-3 * np.sqrt(np.mean(want**2))


@pytest.mark.parametrize("reader", ["the result", "a sum", "a smaller layer"])
def test_a_norm_that_something_else_reads_stays_float32(reader):
    def body(emit, x, gamma, beta, w, v):
        y = norm(emit, x, gamma, beta)
        made = emit(R.matmul(y, emit(R.permute_dims(w))))
        if reader == "the result":
            return R.add(made, y)
        other = R.sum(y) if reader == "a sum" else R.matmul(y, emit(R.permute_dims(v)))
        return R.add(made, emit(R.sum(emit(other))))

    shapes = [("gamma", (70,)), ("beta", (70,)), ("w", (70, 70)), ("v", (9, 70))]
    mod = build([("x", ("b", 70))], shapes, body)
    after = DispatchLinear(TARGET)(computing(mod))
    assert "nn.layer_norm" in after.script()
    assert any(name.startswith("quantise_70") for name in kernels(after))


@pytest.mark.parametrize("pairs", [True, False])
def test_between_two_layers_values_are_bfloat16_where_the_cpu_rounds_to_it(pairs, monkeypatch):
    monkeypatch.setitem(dot.DOTS, "bfloat16", (PLAIN_PAIRS if pairs else FMA,))

    def body(emit, x, w, v):
        wide = emit(R.nn.gelu(emit(R.matmul(x, emit(R.permute_dims(w))))))
        return R.matmul(wide, emit(R.permute_dims(v)))

    mod = build([("x", ("b", 70))], [("w", (200, 70)), ("v", (80, 200))], body)
    after = DispatchLinear(TARGET)(computing(mod))
    of, rounded = ("_of_rounded", "_rounded") if pairs else ("", "")
    named = " ".join(kernels(after))
    assert f"quantise_200{of}_" in named
    assert f"linear_70x200_gelu{rounded}_w8a8" in named
    x, w, v = randoms((9, 70), (200, 70), (80, 200))
    before = activations(x) @ weights(w).T
    wide = before * 0.5 * (1 + np.vectorize(math.erf)(before / math.sqrt(2)))
    wide = as_bfloat16(wide.astype("float32")) if pairs else wide
    want = activations(wide.astype("float32")) @ weights(v).T
    got = run(after, x, w, v)
    assert np.abs(got - want).max() <= 0.02 * np.abs(want).max()
    assert np.sqrt(np.mean((got - want) ** 2)) <= 2e-3 * np.sqrt(np.mean(want**2))


@pytest.mark.parametrize("scheme", [BFLOAT16, INT8])
@pytest.mark.parametrize(("k", "hidden", "n"), [(64, 16, 64), (35, 64, 64), (35, 128, 128)])
def test_a_layer_in_float32_gives_narrow_ones_float32(scheme, k, hidden, n, monkeypatch):
    monkeypatch.setitem(dot.DOTS, "bfloat16", (PLAIN_PAIRS,))

    def body(emit, x, w, v):
        wide = emit(R.nn.relu(emit(R.matmul(x, emit(R.permute_dims(w))))))
        return R.matmul(wide, emit(R.permute_dims(v)))

    mod = build([("x", ("b", k))], [("w", (hidden, k)), ("v", (n, hidden))], body)
    after = DispatchLinear(TARGET)(computing(mod, scheme))
    assert f"linear_{k}x{hidden}_relu" in kernels(after)
    x, w, v = randoms((9, k), (hidden, k), (n, hidden))
    exact = np.maximum(x @ w.T, 0) @ v.T
    assert np.sqrt(np.mean((run(after, x, w, v) - exact) ** 2) / np.mean(exact**2)) < 2e-2


def test_functions_of_scores_and_masks_are_as_in_bfloat16():
    assert INT8.of_function("vision_encoder") is INT8
    for name in ("detr_encoder", "detr_decoder", "scoring", "mask_decoder", "memory_encoder"):
        assert INT8.of_function(name) is BFLOAT16
    assert BFLOAT16.of_function("scoring") is BFLOAT16


def test_a_whole_function_passes_all_phases():
    mod = build([("x", ("n", 64))], [("w", (72, 64)), ("b", (72,))], linear)
    options = pipeline.Options(TARGET, plan_memory=True)
    mod = DispatchLinear(TARGET)(computing(mod))
    assert dot_for(TARGET, INT8).fits(TARGET)
    pipeline.build(mod, options)  # TVM asks of a kernel of one tensor whether it is a reshape


def test_excepted_layers_are_bfloat16_and_the_others_stay_int8():
    def body(emit, x, w, v, u):
        both = emit(R.permute_dims(emit(R.concat([w, v], axis=0))))
        y = emit(R.matmul(x, both))
        return emit(R.matmul(y, emit(R.permute_dims(u))))

    shapes = [("w", (64, 128)), ("v", (64, 128)), ("u", (96, 128))]
    mod = computing(build([("x", ("m", 128))], shapes, body))

    def names(*excepted):
        func = excepting(mod["main"], excepted)
        return [n for n in kernels(DispatchLinear(TARGET)(tvm.IRModule({"main": func})))]

    assert sum("w8a8" in name for name in names()) == 2
    # One of the parameters that a merged layer is made of is enough.
    merged = [name for name in names("v") if name.startswith("linear")]
    # What bytes are made of is rounded where the CPU does so by itself.
    rounded = "_rounded" if dot_for(TARGET, BFLOAT16).pairs else ""
    assert [name.partition("_128x")[2] for name in merged] == [f"128{rounded}_bfloat16", "96_w8a8"]
    assert not any("w8a8" in name or "quantise" in name for name in names("v", "u"))
