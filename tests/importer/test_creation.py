"""New tensors and casts."""

from __future__ import annotations

import pytest
import torch
from import_harness import check
from torch.export import Dim

X = torch.randn(4, 3, 6)
DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


def create(x):
    n = x.shape[0]
    ranges = (
        *(torch.arange(n), torch.arange(2, n + 5, 2), torch.arange(5, -n, -1)),
        *(torch.arange(0, 1, 0.1), torch.arange(0.5, n), torch.arange(n, dtype=torch.float32)),
    )
    filled = (
        *(torch.zeros(n, 2), torch.ones_like(x), torch.full((n,), 2.5), x.new_full((2, n), 7)),
        *(x.new_zeros(3), torch.full_like(x, 3, dtype=torch.int32), torch.empty(n).fill_(3.0)),
        *(torch.zeros_like(x, dtype=torch.bool), x.new_ones(n)),
    )
    patterns = (
        *(torch.eye(n), torch.eye(3, n, dtype=torch.int64), torch.linspace(0, 10, 5)),
        *(torch.tril(x), torch.triu(x, 1), torch.tril(x > 0, -1), torch.triu(torch.ones(n, n), 1)),
        torch.nn.functional.one_hot((x[0, 0] > 0).long(), 4),
    )
    return *ranges, *filled, *patterns


def test_creation_with_static_sizes():
    check(create, X)


def test_creation_with_symbolic_sizes():
    others = [(torch.randn(7, 3, 6),), (torch.randn(2, 3, 6),)]
    check(create, X, dynamic_shapes=({0: Dim("n", min=2, max=9)},), also=others)


def test_fills_and_ends_that_are_tensors():
    def forward(x, a, b):
        return torch.full((2,), x.sum().item()), torch.linspace(a, b, 5), x.clone().fill_(a)

    check(forward, torch.randn(3), torch.tensor(-1.0), torch.tensor(3.0))


SMALL = torch.tensor([-2.7, -1, -0.5, 0, 0.5, 1.5, 2.7, 130, 300])


@pytest.mark.parametrize(
    "x",
    [
        torch.cat([SMALL, torch.tensor([-129, 70000, 1e-9])]),
        torch.tensor([-2.7, 300.5, float("nan")], dtype=torch.float64),
        SMALL.half(),
        SMALL.bfloat16(),
        torch.tensor([-3, 0, 1, 300, 70000, -129]),
        SMALL > 0,
        torch.tensor([0, 1, 200], dtype=torch.uint8),
    ],
    ids=lambda x: str(x.dtype),
)
def test_casts(x):
    check(lambda x: [*(x.to(d) for d in DTYPES), x.to(torch.zeros(1, dtype=torch.int64))], x)


def test_casts_of_what_no_int_holds():
    values = [3e9, -3e9, 1e20, -1e20, float("nan"), float("inf"), 2147483520.0]
    check(lambda x: (x.int(), x.long(), x.bool()), torch.tensor(values))
