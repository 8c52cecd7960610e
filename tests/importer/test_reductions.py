"""Reductions over axes and dtypes."""

from __future__ import annotations

import pytest
import torch
from import_harness import check
from torch.export import Dim

N = Dim("n", min=2, max=9)
X = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(1))


def reduce_floats(x):
    return (
        *(x.sum(), x.sum(0), x.sum((-1, 0), keepdim=True), x.sum(dtype=torch.float64)),
        *(x.mean(), x.mean(-1), x.mean((0, 2), keepdim=True)),
        *(x.prod(), x.prod(-2), x.prod(1, keepdim=True)),
        *((x > 0).any(), (x > 0).all(), (x > 0).any(-1), (x > 0).all(0, keepdim=True)),
        *(x.max(), x.min(), x.amax(1), x.amin((-1, 0)), x.amax((0, 1), keepdim=True)),
        *(*x.max(-1), *x.min(0, keepdim=True), *torch.aminmax(x)),
        *(x.argmax(), x.argmin(-1), x.argmax(0, keepdim=True)),
        *(x.cumsum(0), x.cumsum(-1), x.cumprod(1)),
        *(x.var(), x.var(-1, unbiased=False), x.std((0, 1)), x.std(-1, correction=2)),
        *(*torch.var_mean(x, -1), *torch.std_mean(x), torch.count_nonzero(x, 0)),
        *(x.norm(), x.norm(dim=-1), x.norm(p=1, dim=0), x.norm(p=float("inf"), dim=2)),
        torch.linalg.vector_norm(x, ord=3, dim=(0, 1)),
        *(x.logsumexp(-1), x.softmax(-1), x.softmax(0), x.log_softmax(1)),
        torch.nn.functional.normalize(x, dim=-1),
    )


@pytest.mark.slow
def test_floats():
    check(reduce_floats, X)


def test_floats_over_a_symbolic_axis():
    others = [(torch.randn(7, 3, 6),), (torch.randn(2, 3, 6),)]
    check(reduce_floats, X, dynamic_shapes=({0: N},), also=others, rtol=1e-4)


@pytest.mark.slow
def test_halves_are_summed_in_float32():
    check(reduce_floats, X.half(), rtol=4e-3, atol=4e-3)
    check(lambda x: (x.sum(), x.mean(0), x.cumsum(0)), torch.full((400,), 1.0).bfloat16())


def reduce_ints(x):
    return (
        *(x.sum(), x.sum(0), x.sum(-1, dtype=torch.float32), x.prod(-1), x.float().mean()),
        *(x.max(), x.amin(-1), x.amax(0), *x.max(1, keepdim=True), *x.min(-1)),
        *(x.any(), x.all(-1), x.cumsum(1)),
    )


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool])
def test_ints_and_bools(dtype):
    x = (X * 3).abs() if dtype in (torch.uint8, torch.bool) else X * 3
    check(reduce_ints, x.long().to(dtype))


def test_positions_of_ints():
    def forward(x):
        return x.argmax(-1), x.argmin(0), x.argmax(), x.mean(dtype=torch.float32), x.cumprod(-1)

    check(forward, (X * 3).int())


def test_nan_and_infinities():
    x = X.clone()
    x[0, 0, 0], x[2, 1, 1] = float("nan"), float("inf")
    x[1] = -float("inf")

    def forward(x):
        return x.max(), x.amax(-1), x.min(0), x.amin(0), x.argmax(-1), x.logsumexp(-1)

    check(forward, x)


def test_the_extreme_of_nothing_but_the_smallest():
    smallest = torch.full((2, 3), torch.iinfo(torch.int32).min, dtype=torch.int32)
    check(lambda x: (x.argmax(-1), x.amax(-1)), smallest)
    check(lambda x: (x.argmax(-1), x.amax(-1)), torch.full((2, 3), -float("inf")))


def test_0d_tensors():
    def forward(x):
        extremes = *x.max(0), x.argmax(), x.amax()
        return x.sum(-1), x.softmax(0), x.any(), x.cumsum(0), x.mean(), x.prod(0), *extremes

    check(forward, torch.tensor(2.5))
