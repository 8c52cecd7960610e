"""Attention as timm's and Meta's vision transformers write it becomes the kernels of any other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import tvm
from dispatch_testing import TARGET, build, close, kernels, operators, randoms, run
from tvm import relax
from tvm.relax import op as R

from sam3_tvm.compiler.algebra.merge_linears import MergeLinears
from sam3_tvm.compiler.algebra.move_windows import MoveWindows
from sam3_tvm.compiler.algebra.reorder_views import ReorderViews
from sam3_tvm.compiler.dispatch.attention import DispatchAttention
from sam3_tvm.compiler.dispatch.linear import DispatchLinear
from sam3_tvm.compiler.pipeline import CANONICAL, Options, run_phase
from sam3_tvm.importer import import_module

HEADS, DIM, SIDE, CUT = 2, 8, 4, 3
CHANNELS, ROWS = HEADS * DIM, SIDE * SIDE


class Windowed(torch.nn.Module):
    """Windows of a map, rotated in complex numbers; one product for queries, keys, values."""

    def __init__(self, turned: bool = True) -> None:
        super().__init__()
        self.qkv = torch.nn.Linear(CHANNELS, 3 * CHANNELS)
        self.proj = torch.nn.Linear(CHANNELS, CHANNELS)
        angles = torch.rand(ROWS, DIM // 2) * 6
        self.turn = torch.nn.Buffer(torch.polar(torch.ones_like(angles), angles))
        self.turned = turned

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        if not self.turned:
            return x
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * self.turn).flatten(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b = x.shape[0]
        y = x.view(b, CUT, SIDE, CUT, SIDE, CHANNELS).permute(0, 1, 3, 2, 4, 5)
        y = y.reshape(-1, SIDE, SIDE, CHANNELS)
        n = y.shape[0]
        qkv = self.qkv(y).reshape(n, ROWS, 3, HEADS, DIM)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = torch.nn.functional.scaled_dot_product_attention(self.rotate(q), self.rotate(k), v)
        y = y.view(n, HEADS, SIDE, SIDE, DIM).permute(0, 2, 3, 1, 4).reshape(n, SIDE, SIDE, -1)
        y = self.proj(y).reshape(b, CUT, CUT, SIDE, SIDE, CHANNELS).permute(0, 1, 3, 2, 4, 5)
        return x + y.reshape(x.shape)


@pytest.mark.parametrize(
    "turned",
    [pytest.param(True, id="rotary"), pytest.param(False, id="plain", marks=pytest.mark.slow)],
)
def test_a_block_is_three_kernels_on_the_map(turned):
    torch.manual_seed(0)
    module = Windowed(turned).eval()
    side = CUT * SIDE
    x = torch.randn(2, side, side, CHANNELS)
    mod, params = import_module(module, (x,), ({0: torch.export.Dim("batch", min=1, max=4)},))
    mod = run_phase(mod, CANONICAL, Options(TARGET))
    passes = [MoveWindows(), MergeLinears()]
    passes += [DispatchAttention(TARGET), DispatchLinear(TARGET)]
    after = tvm.transform.Sequential(passes)(mod)
    assert kernels(after) == [
        "linear_16x48_bias",
        "attention_2x8_packed_windows_4x4" + ("_rotary" if turned else ""),
        "linear_16x16_bias_residual",
    ]
    assert not {"multiply", "concat", "strided_slice"} & operators(after)
    weights = [p.numpy() for p in params.values()]
    for batch in (1, 3):
        x = torch.randn(batch, side, side, CHANNELS)
        with torch.no_grad():
            close(run(after, x.numpy(), *weights), module(x).numpy())


def reordered(inputs, body):
    before = build(inputs, [], body)
    return relax.transform.Normalize()(before), ReorderViews()(before)


def test_a_part_of_a_transposed_product_is_cut_from_the_product():
    def body(emit, x):
        y = emit(R.permute_dims(emit(R.reshape(x, (6, 4, 3, 5))), [2, 1, 0, 3]))
        part = emit(R.strided_slice(y, [0], [1], [2], [1], assume_inbound=True))
        return R.reshape(part, (4, 6, 5))

    before, after = reordered([("x", (2, 3, 4, 15))], body)
    # The last axis is cut at 5..10, and nothing of three times the size is transposed.
    assert "R.strided_slice(x, (3,), (5,), (10,), (1,)" in after.script()
    (x,) = randoms((2, 3, 4, 15))
    np.testing.assert_array_equal(run(before, x), run(after, x))


def test_an_axis_is_split_after_a_transposition_that_keeps_its_parts_together():
    def body(emit, x):
        return R.permute_dims(emit(R.reshape(x, (2, 3, 4, 5, 6))), [4, 2, 3, 1, 0])

    before, after = reordered([("x", (2, 3, 20, 6))], body)
    assert "R.permute_dims(x, axes=[3, 2, 1, 0])" in after.script()
    (x,) = randoms((2, 3, 20, 6))
    np.testing.assert_array_equal(run(before, x), run(after, x))


@pytest.mark.parametrize("other", ["parts apart", "another step", "part of an inner axis"])
def test_what_is_no_such_view_stays(other):
    def body(emit, x):
        if other == "parts apart":
            return R.permute_dims(emit(R.reshape(x, (6, 4, 3, 5))), [0, 2, 1, 3])
        axes = [1, 2, 0, 3] if other == "part of an inner axis" else [2, 0, 1, 3]
        y = emit(R.permute_dims(emit(R.reshape(x, (6, 4, 3, 5))), axes))
        stop, step = (3, 2) if other == "another step" else (1, 1)
        part = emit(R.strided_slice(y, [0], [0], [stop], [step], assume_inbound=True))
        return R.reshape(part, (-1, 5))  # One entry, or two.

    before, after = reordered([("x", (6, 4, 15))], body)
    tvm.ir.assert_structural_equal(before, after)
