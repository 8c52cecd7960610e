"""Kernels cut by other sizes than the defaults: the results stay, and so does what is right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from kernel_testing import RUNNABLE, assert_close, compiled, empty

from sam3_tvm.compiler.kernels.attention.attention import AttentionSpec, attention_kernel
from sam3_tvm.compiler.kernels.conv.direct import conv_kernel
from sam3_tvm.compiler.kernels.conv.shape import ConvShape
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.kernels.product.linear import linear_kernel, linear_layout
from sam3_tvm.compiler.targets.cpu import CpuTarget
from sam3_tvm.compiler.targets.tiles import Tiles

ODD = Tiles(
    gemm_rows=30,
    gemm_columns=80,
    gemm_depth=40,
    strassen_rows=50,
    strassen_depth=100,
    task_queries=50,
    block_keys=40,
    strip_steps=50,
)
SMALLEST = Tiles(*[1] * len(Tiles().to_json()))


def normal(*shape: int):
    return np.random.default_rng(len(shape)).standard_normal(shape, np.float32)


@pytest.fixture(params=[ODD, SMALLEST], ids=["odd", "smallest"])
def target(request):
    return replace(CpuTarget.parse(RUNNABLE[-1]), tiles=request.param)


# The first is small enough for the ordinary product, the second large enough for Strassen's.
@pytest.mark.parametrize(("m", "k", "n"), [(37, 100, 130), (150, 512, 576)])
def test_a_linear_layer(target, m, k, n):
    x, weight = normal(m, k), normal(n, k)
    packed = linear_layout(target).array(weight)
    got = compiled(linear_kernel(target, n, k, Epilogue()), target)(x, packed, empty(m, n))
    want = x.astype(np.float64) @ weight.astype(np.float64).T
    assert_close(got, want, 2e-6 if k < 512 else 1e-5)


def test_attention(target):
    q, k, v = normal(2, 70, 3, 16), normal(2, 150, 3, 16), normal(2, 150, 3, 16)
    spec = AttentionSpec(3, 16, 16, 0.25)
    got = compiled(attention_kernel(target, spec), target)(q, k, v, empty(*q.shape))
    scores = np.einsum("bqhd,bkhd->bhqk", q, k, dtype=np.float64) * 0.25
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    assert_close(got, np.einsum("bhqk,bkhd->bqhd", weights, v))


def test_a_convolution(target):
    shape = ConvShape(24, 8, 9, 13, kernel=(3, 3), padding=(1, 1, 1, 1))
    other = replace(target, tiles=Tiles())
    functions = [conv_kernel(t, shape, Epilogue()) for t in (target, other)]
    shapes = [[int(n) for n in f.params[1].ty.shape] for f in functions]
    assert shapes[0] == shapes[1], "the layout of weights doesn't depend on the tiles"
    x, weight = normal(1, 24, 9, 13), normal(*shapes[0])
    got, want = (
        compiled(f, t)(x, weight, empty(1, 8, 9, 13))
        for f, t in zip(functions, (target, other), strict=True)
    )
    assert_close(got, want)
