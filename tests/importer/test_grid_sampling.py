"""grid_sample against PyTorch in all its combinations, with points far outside."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from import_harness import check, compare, compile_module
from torch.export import Dim

MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")


def sample_all(x: torch.Tensor, grid: torch.Tensor) -> Any:
    return [
        F.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=align)
        for mode, padding, align in product(MODES, PADDINGS, (False, True))
    ]


def picture(*shape: int) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(shape)


def points(*shape: int, reach: float = 3.0) -> torch.Tensor:
    torch.manual_seed(1)
    return (torch.rand(shape) * 2 - 1) * reach


@pytest.fixture(scope="module")
def sampler() -> Any:
    """All 18 combinations; batch, picture and number of points vary."""
    b, h, w, p, q = (Dim(n, min=1, max=64) for n in "bhwpq")
    return compile_module(
        sample_all,
        (picture(2, 3, 5, 7), points(2, 4, 6, 2)),
        ({0: b, 2: h, 3: w}, {0: b, 1: p, 2: q}),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "count"), [((2, 3, 5, 7), (4, 6)), ((1, 3, 1, 9), (1, 1)), ((3, 3, 8, 2), (5, 1))]
)
def test_all_combinations_agree(sampler: Any, shape: Any, count: Any) -> None:
    x, grid = picture(*shape), points(shape[0], *count, 2)
    compare(sampler(x, grid), sample_all(x, grid), rtol=1e-4, atol=1e-5)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(*[st.floats(-9, 9, width=16)] * 2), min_size=1, max_size=8),
    st.integers(2, 9),
    st.integers(2, 9),
)
def test_drawn_points(sampler: Any, drawn: Any, height: int, width: int) -> None:
    x, grid = picture(1, 3, height, width), torch.tensor(drawn).reshape(1, 1, -1, 2)
    # Where rounding puts a point on either side of a pixel's border, both are right.
    edges = (
        (grid + 1) * torch.tensor([width, height]),
        (grid + 1) * torch.tensor([width - 1, height - 1]),
    )
    near = [(e - e.round()).abs().amin(-1) < 1e-4 for e in edges]
    keep = ~(near[0] | near[1])
    grid = torch.where(keep[..., None], grid, torch.tensor(0.123))
    compare(sampler(x, grid), sample_all(x, grid), rtol=1e-3, atol=1e-4)


def test_halfway_points_round_to_even(sampler: Any) -> None:
    x = picture(1, 3, 4, 8)
    # With aligned corners off, k / 8 - 1 lies exactly between the pixels of a row of 8.
    columns = torch.arange(1, 16) / 8 - 1
    grid = torch.stack([columns, torch.full_like(columns, 0.25)], -1).reshape(1, 1, -1, 2)
    compare(sampler(x, grid)[6:10:2], sample_all(x, grid)[6:10:2], rtol=0, atol=0)


def test_points_beyond_any_integer(sampler: Any) -> None:
    x = picture(1, 3, 5, 7)
    grid = torch.tensor([[1e30, 0.0], [-1e30, 1e30], [3e9, -3e9], [0.1, 1e20]]).reshape(1, 1, 4, 2)
    inside = [
        i for i, (_, p, _) in enumerate(product(MODES, PADDINGS, (0, 1))) if p != "reflection"
    ]
    got, want = sampler(x, grid), sample_all(x, grid)
    finite = [i for i in inside if i < 12]  # bicubic weights of such points aren't finite
    compare([got[i] for i in finite], [want[i] for i in finite], rtol=1e-4, atol=1e-5)


def test_sampled_tokens_in_sequence_order() -> None:
    def tokens(x: Any, grid: Any) -> Any:
        return F.grid_sample(x, grid, align_corners=False).squeeze(-1).permute(2, 0, 1)

    check(
        tokens,
        picture(2, 3, 5, 7),
        points(2, 4, 1, 2, reach=1.0),
        dynamic_shapes=({}, {1: Dim("n", min=1, max=64)}),
        also=[(picture(2, 3, 5, 7), points(2, 9, 1, 2))],
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float16, 6e-3)], ids=str
)
def test_dtypes(dtype: torch.dtype, tolerance: float) -> None:
    x, grid = picture(1, 2, 5, 7).to(dtype), points(1, 3, 4, 2, reach=0.9).to(dtype)
    check(
        lambda x, g: F.grid_sample(x, g, align_corners=False),
        x,
        grid,
        rtol=tolerance,
        atol=tolerance,
    )


def test_volumes() -> None:
    def sample(x: Any, grid: Any) -> Any:
        return [
            F.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=align)
            for mode, padding, align in product(MODES[:2], PADDINGS, (False, True))
        ]

    check(sample, picture(2, 3, 4, 5, 6), points(2, 2, 3, 4, 3), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("align", [False, True])
def test_affine_grids(align: bool) -> None:
    def grids(theta: Any, solid: Any) -> Any:
        return (
            F.affine_grid(theta, [2, 3, 4, 5], align),
            F.affine_grid(theta, [2, 3, 1, 6], align),
            F.affine_grid(solid, [2, 1, 3, 4, 5], align),
        )

    check(grids, picture(2, 2, 3), picture(2, 3, 4), atol=1e-5)
