"""Running extremes and logs of sums, and searches in sorted sequences."""

from __future__ import annotations

import math

import pytest
import torch
from import_harness import check
from torch.export import Dim

N = Dim("n", min=1, max=12)
X = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(1))


def scans(x):
    return (
        *torch.cummax(x, 0),
        *torch.cummax(x, -1),
        *torch.cummin(x, 1),
        *torch.cummin(x.flatten(), 0),
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int64, torch.bool])
def test_running_extremes(dtype):
    check(scans, (X * 2).round().to(dtype))


def test_running_extremes_and_logs_with_nan_infinities_and_a_symbolic_axis():
    def forward(x):
        logs = torch.logcumsumexp(x, 0), torch.logcumsumexp(x, -1)
        return *scans(x), *logs, torch.logcumsumexp(x[0, 0, 0], 0)

    odd = X.clone()
    odd[1, 1, 2], odd[2, 0, 0], odd[0, 2, 1:3] = math.nan, math.inf, -math.inf
    odd[3, 2] = torch.tensor([-math.inf, -math.inf, 1, math.inf, math.inf, 100])
    others = [(odd,), (torch.randn(1, 3, 6),), (torch.randn(12, 3, 6),)]
    check(forward, X, dynamic_shapes=({0: N},), also=others)


def test_scans_of_nothing_and_of_one_number():
    def forward(x, y):
        return *torch.cummax(x, 1), torch.logcumsumexp(x, 0), *torch.cummin(y, 0)

    check(forward, torch.randn(2, 0, 3), torch.tensor(1.5))


EDGES = torch.tensor([-1.0, 0.0, 0.0, 1.0, 2.5])
VALUES = torch.tensor([[-2.0, -1.0, 0.0, 0.5], [1.0, 2.5, 3.0, math.nan]])


def test_places_in_one_sequence():
    def forward(edges, x):
        order = torch.tensor([4, 3, 2, 1, 0])
        return (
            *(torch.searchsorted(edges, x), torch.searchsorted(edges, x, right=True)),
            *(
                torch.searchsorted(edges, x, side=side, out_int32=True)
                for side in ("left", "right")
            ),
            torch.searchsorted(edges.flip(0), x, sorter=order),
            *(torch.searchsorted(edges, 0.0), torch.searchsorted(edges, 1, right=True)),
        )

    columns = Dim("columns", min=1, max=9)
    others = [(EDGES, torch.randn(2, 9)), (EDGES, torch.randn(2, 1))]
    check(forward, EDGES, VALUES, dynamic_shapes=({}, {1: columns}), also=others)


def test_places_in_a_sequence_per_row():
    def forward(edges, x):
        return torch.searchsorted(edges, x), torch.searchsorted(edges, x, right=True)

    rows = Dim("rows", min=1, max=9)
    edges = torch.randn(2, 7).sort(-1).values
    others = [(torch.randn(9, 7).sort(-1).values, torch.randn(9, 4))]
    check(forward, edges, VALUES, dynamic_shapes=({0: rows}, {0: rows}), also=others)
    check(forward, torch.arange(5), torch.tensor([[-1, 0, 4, 9]]).repeat(2, 1))
    check(forward, torch.zeros(0), VALUES)
