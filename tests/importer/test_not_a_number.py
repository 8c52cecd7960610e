"""NaN, infinities and zeros: a model that diverged must look so."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from import_harness import check, compare, compile_module
from torch.nn.attention import SDPBackend, sdpa_kernel

INF, NAN = math.inf, math.nan
EDGES = torch.tensor([-INF, -1e4, -7, -2.5, -1, -0.5, -0.0, 0.0, 0.5, 1, 2.5, 6, 7, 88, INF, NAN])
ROWS = torch.tensor(
    [
        [1.0, NAN, 3, 2],
        [5, 4, NAN, 0],
        [INF, -INF, NAN, NAN],
        [-INF] * 4,
        [INF, INF, 1, 0],
        [NAN] * 4,
        [3, 1, 2, 1],
        [0, 1, -1, 2],
    ]
)
DTYPES = pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        (torch.float32, 1e-5),
        pytest.param(torch.float64, 1e-9, marks=pytest.mark.slow),
        pytest.param(torch.float16, 2e-3, marks=pytest.mark.slow),
        (torch.bfloat16, 1.6e-2),
    ],
    ids=str,
)


@DTYPES
def test_activations(dtype: torch.dtype, tolerance: float) -> None:
    def activations(x: Any) -> Any:
        return (
            *(f(x) for f in (F.relu, F.relu6, F.hardtanh, F.hardsigmoid, F.hardswish, F.elu)),
            *(f(x) for f in (F.selu, F.silu, F.mish, F.softplus, F.logsigmoid, F.softsign)),
            *(F.hardtanh(x, -2, 0.5), F.elu(x, 0.5), F.celu(x, 2.0), F.softplus(x, 2, 5)),
            *(F.leaky_relu(x, 0.3), F.leaky_relu(x, 0.0), F.threshold(x, 0.5, -2.0)),
            *(F.hardshrink(x, 0.6), F.softshrink(x, 0.6), F.glu(x, 0)),
            F.prelu(x, torch.tensor([0.2], dtype=x.dtype)),
        )

    check(activations, EDGES.to(dtype), rtol=tolerance, atol=tolerance)


@DTYPES
def test_bounds_and_numbers_that_are_no_numbers(dtype: torch.dtype, tolerance: float) -> None:
    def bounded(x: Any) -> Any:
        return (
            *(x.clamp(-1, 2), x.clamp(min=-INF), x.clamp(-INF, INF), x.clamp(2, 1)),
            *(x.clamp(min=NAN), torch.maximum(x, x.flip(0)), torch.minimum(x, x.flip(0))),
            *(x * 0.0, x * 0, 0.0 / x, x / 0.0, x / 0, x / INF, x * INF, x + NAN),
            *(torch.add(x, x, alpha=0), torch.tensor(0.0, dtype=x.dtype) * x),
            *(x < INF, x == INF, x == NAN, x != NAN, x != x, x == x),
            *(torch.where(x > 0, x, -INF), x.masked_fill(x > 0, INF), x.masked_fill(x > 0, NAN)),
            *(torch.nan_to_num(x), torch.isclose(x, x.flip(0)), torch.sign(x)),
        )

    check(bounded, EDGES.to(dtype), rtol=tolerance, atol=tolerance)


@DTYPES
def test_divisions_that_round(dtype: torch.dtype, tolerance: float) -> None:
    def divided(x: Any, y: Any) -> Any:
        return (
            *(torch.floor_divide(x, y), torch.remainder(x, y), torch.fmod(x, y)),
            torch.div(x, y, rounding_mode="trunc"),
            *(
                x // INF,
                x // -INF,
                x // 0.0,
                x % INF,
                x % -INF,
                torch.div(x, 0, rounding_mode="trunc"),
            ),
        )

    some = torch.tensor([-INF, -2.5, -1.0, 0.0, 0.5, 1.0, 3.0, INF, NAN], dtype=dtype)
    x, y = (t.reshape(-1) for t in torch.meshgrid(some, some, indexing="ij"))
    check(divided, x.contiguous(), y.contiguous(), rtol=tolerance, atol=tolerance)


@pytest.mark.slow
@DTYPES
def test_order_and_extremes(dtype: torch.dtype, tolerance: float) -> None:
    def ordered(x: Any) -> Any:
        columns = torch.zeros(8, 4, dtype=torch.int64)
        return (
            *torch.sort(x, dim=1, stable=True),
            *torch.sort(x, dim=0, descending=True, stable=True),
            torch.argsort(x, dim=-1, stable=True),
            *(x.topk(2)[0], x.topk(3, 0, largest=False)[0], x.topk(2, sorted=False)[0].amax(1)),
            *(x.median(), x.median(1)[0], x.median(0, keepdim=True)[0]),
            *(x.amax(1), x.amin(), *x.max(1), *x.min(0), x.argmax(1), x.argmin()),
            *(torch.linalg.vector_norm(x, p, dim=1) for p in (INF, -INF)),
            *F.max_pool2d(x[None, None], 2, return_indices=True),
            *F.adaptive_max_pool2d(x[None, None], (3, 2), return_indices=True),
            *(
                torch.zeros_like(x).scatter_reduce(1, columns, x, how, include_self=own)
                for how in ("amax", "amin")
                for own in (True, False)
            ),
        )

    check(ordered, ROWS.to(dtype), rtol=tolerance)


def test_infinite_fills_of_static_and_symbolic_sizes() -> None:
    def filled(x: Any) -> Any:
        return (
            *(torch.full_like(x, -INF), torch.full_like(x, NAN), x.new_full((2,), INF)),
            *(x.new_full((x.shape[0], 2), -INF), torch.full((x.shape[0],), NAN)),
            torch.full((x.shape[0],), 2**40 + 1),
        )

    check(filled, torch.ones(3, 2))
    rows = torch.export.Dim("rows", min=1, max=9)
    check(filled, torch.ones(3, 2), dynamic_shapes=({0: rows},), also=[(torch.ones(5, 2),)])


def test_attention_of_a_row_with_nan() -> None:
    """As by PyTorch's formula; its default kernel gives zeros for a NaN in the query."""
    made = torch.Generator().manual_seed(0)
    inputs = [torch.randn(1, 2, 5, 8, generator=made) for _ in range(3)]
    run = compile_module(F.scaled_dot_product_attention, inputs)
    for place in range(3):
        given = [x.clone() for x in inputs]
        given[place][0, 0, 1] = NAN
        with sdpa_kernel(SDPBackend.MATH):
            wanted = F.scaled_dot_product_attention(*given)
        compare(run(*given), wanted, 1e-5, 1e-6)
