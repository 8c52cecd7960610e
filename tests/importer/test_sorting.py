"""Sorting and what needs order: dtypes, axes, ties, empty and symbolic sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from import_harness import check
from torch.export import Dim

ROWS, COLUMNS = Dim("rows", min=1, max=20), Dim("columns", min=3, max=20)


def ordered(x: Any) -> Any:
    return (
        *torch.sort(x, dim=1, stable=True),
        *torch.sort(x, dim=-2, descending=True, stable=True),
        *(x.topk(2)[0], x.topk(1, -2, largest=False)[0]),
    )


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.int64], ids=str)
def test_integers(dtype: torch.dtype) -> None:
    x = torch.randint(0, 100, (5, 6)).to(dtype)
    check(lambda x: (*ordered(x), x.median(), x.median(1)[0]), x)


def test_symbolic_sizes() -> None:
    check(
        lambda x: (*ordered(x), x.median(), x.median(1)[0], x.topk(x.shape[1])[0]),
        torch.randn(3, 4),
        dynamic_shapes=({0: ROWS, 1: COLUMNS},),
        also=[(torch.randn(1, 7),), (torch.randn(6, 3),)],
    )


def test_nothing_and_a_single_entry() -> None:
    check(
        lambda x: (x.topk(0), x[:0].topk(2), x[:0].sort(), x[0, 0].topk(1), x[0, 0].median(0)),
        torch.randn(3, 4),
    )


def test_buckets() -> None:
    inf, nan = float("inf"), float("nan")
    edges = torch.tensor([-1.0, 0, 2, 2, 5])
    x = torch.tensor([-inf, -1, -0.5, 0, 2, 3, 5, 6, inf, nan])

    def buckets(x: Any, edges: Any) -> Any:
        return torch.bucketize(x, edges), torch.bucketize(x, edges, right=True, out_int32=True)

    def further(x: Any, edges: Any) -> Any:
        return (
            *(torch.bucketize(2.0, edges), torch.bucketize(x[:0], edges)),
            *(
                torch.bucketize(x, edges[:0]),
                torch.bucketize(x.reshape(2, 5)[:, 1:4].long(), edges),
            ),
        )

    check(lambda x, e: (*buckets(x, e), *further(x, e)), x, edges)
    sizes = ({0: ROWS}, {0: Dim("edges", min=1, max=9)})
    check(buckets, x, edges, dynamic_shapes=sizes, also=[(torch.randn(5), torch.zeros(1))])


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64], ids=str)
def test_membership(dtype: torch.dtype) -> None:
    check(
        lambda x, y: (
            *(
                torch.isin(x, y),
                torch.isin(x, y, invert=True),
                torch.isin(x, y, assume_unique=True),
            ),
            *(torch.isin(x, 3), torch.isin(x, 3, invert=True), torch.isin(3, y)),
        ),
        torch.arange(12).reshape(3, 4).to(dtype),
        torch.tensor([1, 3, 5]).to(dtype),
    )
