"""Pooling against PyTorch: windows at the edges, counts, positions, infinities, any sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from import_harness import check
from torch.export import Dim


def picture(*shape: int) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(shape)


def test_maxima() -> None:
    def pool(x: Any, y: Any, z: Any) -> Any:
        return (
            F.max_pool2d(x, 2),
            F.max_pool2d(x, (3, 2), stride=(2, 1), padding=1),
            F.max_pool2d(x, 3, stride=2, padding=1, dilation=2),
            F.max_pool2d(x, 2, stride=3, padding=1, ceil_mode=True),
            F.max_pool2d(x, 3, stride=2, ceil_mode=True, return_indices=True),
            F.max_pool2d(x[0], 2),
            F.max_pool1d(y, 3, stride=2, padding=1, ceil_mode=True),
            F.max_pool3d(z, 2, ceil_mode=True),
            F.adaptive_max_pool2d(x, (3, 4), return_indices=True),
        )

    check(pool, picture(2, 3, 7, 8), picture(2, 3, 9), picture(1, 2, 3, 4, 5))


def test_maxima_of_infinities_and_nan() -> None:
    x = picture(1, 1, 6, 6)
    x[0, 0, :2, :2] = -torch.inf
    x[0, 0, 3, 4] = torch.nan
    check(lambda x: F.max_pool2d(x, 2), x)
    check(lambda x: F.max_pool2d(x, 2, return_indices=True), torch.full((1, 1, 4, 4), -torch.inf))


def test_maxima_of_integers() -> None:
    x = torch.arange(-18, 18).reshape(1, 1, 6, 6)
    check(lambda x: F.max_pool2d(x, 3, padding=1), x)


def test_means() -> None:
    def pool(x: Any, y: Any, z: Any) -> Any:
        return (
            F.avg_pool2d(x, 2),
            F.avg_pool2d(x, 3, stride=2, padding=1),
            F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False),
            F.avg_pool2d(x, 3, stride=2, padding=1, ceil_mode=True),
            F.avg_pool2d(x, 2, stride=3, ceil_mode=True, count_include_pad=False),
            F.avg_pool2d(x, 2, divisor_override=3),
            F.avg_pool2d(x[0], (2, 3)),
            F.avg_pool1d(y, 4, stride=3, padding=2, ceil_mode=True),
            F.avg_pool3d(z, 2, padding=1),
            F.adaptive_avg_pool1d(y, 4),
            F.adaptive_avg_pool2d(x, (3, 5)),
            F.adaptive_avg_pool2d(x, (1, None)),
            F.adaptive_avg_pool3d(z, (2, 3, 2)),
        )

    check(pool, picture(2, 3, 7, 8), picture(2, 3, 9), picture(1, 2, 3, 4, 5))


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)],
    ids=str,
)
def test_dtypes(dtype: torch.dtype, tolerance: float) -> None:
    check(
        lambda x: (F.max_pool2d(x, 2), F.avg_pool2d(x, 4), F.adaptive_avg_pool2d(x, 1)),
        picture(1, 2, 12, 16).to(dtype),
        rtol=tolerance,
        atol=tolerance,
    )


def test_sides_vary() -> None:
    def pool(x: Any) -> Any:
        return (
            F.max_pool2d(x, 3, stride=2, padding=1),
            F.avg_pool2d(x, 2),
            F.adaptive_avg_pool2d(x, (3, 2)),
        )

    check(
        pool,
        picture(2, 3, 8, 9),
        dynamic_shapes=({2: Dim("h", min=4, max=32), 3: Dim("w", min=4, max=32)},),
        also=[(picture(2, 3, 13, 6),), (picture(2, 3, 4, 31),)],
    )
