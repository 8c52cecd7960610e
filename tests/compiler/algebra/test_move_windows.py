"""Windows and rotary embedding end up inside the attention, and the numbers stay."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from dispatch_testing import TARGET, build, close, kernels, operators, randoms, run
from tvm import relax
from tvm.relax import op as R

from sam3_tvm.abi import abi
from sam3_tvm.compiler.algebra.merge_linears import MergeLinears
from sam3_tvm.compiler.algebra.move_windows import MoveWindows
from sam3_tvm.compiler.dispatch.attention import DispatchAttention
from sam3_tvm.compiler.dispatch.linear import DispatchLinear
from sam3_tvm.compiler.importing import import_component
from sam3_tvm.compiler.pipeline import CANONICAL, Options, run_phase
from sam3_tvm.sources import open_source

HEADS, DIM, HEIGHT, WIDTH, DOWN, ACROSS = 2, 8, 3, 5, 2, 4
CHANNELS, ROWS = HEADS * DIM, HEIGHT * WIDTH
PARAMS = [(f"w{s}", (CHANNELS, CHANNELS)) for s in "qkvo"]
PARAMS += [(f"b{s}", (CHANNELS,)) for s in "qkvo"]
INPUTS = [("x", ("b", DOWN * HEIGHT, ACROSS * WIDTH, CHANNELS))]


def partition(emit, x, pad=None):
    b = x.ty.shape.values[0]
    if pad is not None:
        x = emit(R.nn.pad(x, pad))
    x = emit(R.reshape(x, (b, DOWN, HEIGHT, ACROSS, WIDTH, CHANNELS)))
    x = emit(R.permute_dims(x, [0, 1, 3, 2, 4, 5]))
    return emit(R.reshape(x, (b * (DOWN * ACROSS), HEIGHT, WIDTH, CHANNELS)))


def unpartition(emit, x, b):
    x = emit(R.reshape(x, (b, DOWN, ACROSS, HEIGHT, WIDTH, CHANNELS)))
    x = emit(R.permute_dims(x, [0, 1, 3, 2, 4, 5]))
    return emit(R.reshape(x, (b, DOWN * HEIGHT, ACROSS * WIDTH, CHANNELS)))


def rotate(emit, x, cosine, sine):
    """x cos + pairwise(x) sin on [B, H, L, D], as transformers writes it."""
    shape = list(x.ty.shape.values)
    pairs = emit(R.reshape(x, (*shape[:3], DIM // 2, 2)))
    even, odd = (
        emit(R.strided_slice(pairs, [4], [i], [i + 1], [1], assume_inbound=True)) for i in (0, 1)
    )
    odd = emit(R.negative(emit(R.reshape(odd, (*shape[:3], DIM // 2)))))
    odd = emit(R.reshape(odd, (*shape[:3], DIM // 2, 1)))
    turned = emit(R.reshape(emit(R.concat([odd, even], axis=4)), shape))
    return emit(R.add(emit(R.multiply(x, cosine)), emit(R.multiply(turned, sine))))


def block(emit, x, params, rotary=(None, None), pad=None):
    """Windowed self-attention with its projections and residual."""
    windows = partition(emit, x, pad)
    entries = windows.ty.shape.values[0]
    parts = []
    for i in range(3):
        y = emit(R.add(emit(R.matmul(windows, emit(R.permute_dims(params[i])))), params[4 + i]))
        y = emit(R.permute_dims(emit(R.reshape(y, (entries, ROWS, HEADS, DIM))), [0, 2, 1, 3]))
        if i < 2 and rotary[i] is not None:
            y = rotate(emit, y, *map(relax.const, rotary[i]))
        parts.append(emit(R.permute_dims(y, [0, 2, 1, 3])))
    y = emit(R.reshape(emit(R.nn.attention(*parts)), (entries, HEIGHT, WIDTH, CHANNELS)))
    y = emit(R.add(emit(R.matmul(y, emit(R.permute_dims(params[3])))), params[7]))
    return R.add(x, unpartition(emit, y, x.ty.shape.values[0]))


def tables(seed=0, shape=(ROWS, DIM)):
    """Cosines and sines as [1, L, D], equal for the two of a pair."""
    angles = np.random.default_rng(seed).uniform(-3, 3, (shape[0], shape[1] // 2))
    angles = np.repeat(angles, 2, axis=-1)[None].astype("float32")
    return np.cos(angles), np.sin(angles)


def reference(x, params, rotary=(None, None)):
    b = x.shape[0]

    def windows(y):
        y = y.reshape(b, DOWN, HEIGHT, ACROSS, WIDTH, CHANNELS).swapaxes(2, 3)
        return y.reshape(-1, ROWS, HEADS, DIM).swapaxes(1, 2)

    parts = [windows(x @ params[i].T + params[4 + i]) for i in range(3)]
    for i in range(2):
        if rotary[i] is not None:
            cosine, sine = rotary[i]
            turned = np.stack([-parts[i][..., 1::2], parts[i][..., ::2]], -1)
            parts[i] = parts[i] * cosine + turned.reshape(parts[i].shape) * sine
    scores = parts[0] @ parts[1].swapaxes(-1, -2) * DIM**-0.5
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    y = (weights @ parts[2] / weights.sum(-1, keepdims=True)).swapaxes(1, 2)
    y = y.reshape(b, DOWN, ACROSS, HEIGHT, WIDTH, CHANNELS).swapaxes(2, 3).reshape(x.shape)
    return x + y @ params[3].T + params[7]


def dispatched(mod):
    passes = [MoveWindows(), MergeLinears(), DispatchAttention(TARGET), DispatchLinear(TARGET)]
    return tvm.transform.Sequential(passes)(mod)


def arguments(b):
    return randoms(*[[b if d == "b" else d for d in shape] for _, shape in INPUTS + PARAMS])


@pytest.mark.parametrize(
    ("rotary", "pad"),
    [
        pytest.param(False, None, id="plain", marks=pytest.mark.slow),
        pytest.param(True, [0] * 8, id="rotary, padded by nothing"),
    ],
)
def test_a_block_is_three_kernels_on_the_map(rotary, pad):
    tables_of = (tables(), tables()) if rotary else (None, None)

    def body(emit, x, *params):
        return block(emit, x, params, tables_of, pad)

    after = dispatched(build(INPUTS, PARAMS, body))
    assert kernels(after) == [
        "linear_16x48_bias",
        "attention_2x8_packed_windows_3x5" + ("_rotary" if rotary else ""),
        "linear_16x16_bias_residual",
    ]
    # The operators on parameters: joining, padding and packing.
    assert operators(after) <= {"call_tir", "reshape", "permute_dims", "concat", "nn.pad"}
    for b in (1, 3):
        x, *params = arguments(b)
        close(run(after, x, *params), reference(x, params, tables_of))


def test_the_rewritten_graph():
    def before(emit, x, *params):
        return block(emit, x, params)

    def after(emit, x, *params):
        b = x.ty.shape.values[0]
        parts = []
        for i in range(3):
            w = emit(R.permute_dims(params[i]))
            y = partition(emit, emit(R.add(emit(R.matmul(x, w)), params[4 + i])))
            shape = (b * (DOWN * ACROSS), ROWS, HEADS, DIM)
            y = emit(R.permute_dims(emit(R.reshape(y, shape)), [0, 2, 1, 3]))
            parts.append(emit(R.permute_dims(y, [0, 2, 1, 3])))
        y = emit(R.nn.attention(*parts))
        y = emit(R.reshape(y, (b * (DOWN * ACROSS), HEIGHT, WIDTH, CHANNELS)))
        w = emit(R.permute_dims(params[3]))
        y = emit(R.matmul(unpartition(emit, y, b), w))
        return R.add(x, emit(R.add(y, params[7])))

    got = MoveWindows()(build(INPUTS, PARAMS, before))
    want = relax.transform.Normalize()(build(INPUTS, PARAMS, after))
    tvm.ir.assert_structural_equal(got, want)


@pytest.mark.parametrize("other", ["tables", "one alone"])
def test_queries_and_keys_of_different_rotations_are_rotated_before(other):
    rotary = (tables(), tables(seed=1) if other == "tables" else None)

    def body(emit, x, *params):
        return block(emit, x, params, rotary)

    after = dispatched(build(INPUTS, PARAMS, body))
    assert not any("rotary" in name or "windows" in name for name in kernels(after))
    assert {"negative", "multiply"} <= operators(after)
    x, *params = arguments(2)
    close(run(after, x, *params), reference(x, params, rotary))


def test_windows_of_something_else_than_an_attention_stay():
    def body(emit, x, w):
        windows = partition(emit, x)
        return R.matmul(windows, w)

    before = build(INPUTS, [("w", (CHANNELS, 4))], body)
    before = relax.transform.Normalize()(before)
    tvm.ir.assert_structural_equal(MoveWindows()(before), before)


def test_the_vision_encoder_has_no_pass_over_memory_around_its_attention():
    source = open_source("random:tiny")
    mod, _ = import_component(source, abi(source.sizes)["vision_encoder"])
    mod = dispatched(run_phase(mod, CANONICAL, Options(TARGET)))
    mod["main"] = mod["vision_encoder"]
    found = kernels(mod)
    # Two windowed layers and two global ones: per layer one product for queries, keys, values.
    assert found.count("linear_96x288_bias") == 4
    assert found.count("linear_96x96_bias_residual") == 4
    assert found.count("attention_3x32_packed_windows_4x4_rotary") == 2
    assert found.count("attention_3x32_packed_rotary") == 2
    assert not {"negative", "multiply", "nn.attention"} & operators(mod)
    # Joining weights and tiling the position embedding are for compile time.
    lifted = relax.transform.LiftTransformParams()(tvm.IRModule({"main": mod["main"]}))
    assert not {"concat", "strided_slice"} & operators(lifted)
