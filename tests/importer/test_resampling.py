"""Interpolation against PyTorch: every mode, both ways of giving the size, symbolic sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from import_harness import Wrap, check, compare, compile_module
from torch.export import Dim

from sam3_tvm.importer import import_module

MODES = [
    {"mode": "nearest"},
    {"mode": "nearest-exact"},
    {"mode": "bilinear"},
    {"mode": "bilinear", "align_corners": True},
    {"mode": "bilinear", "antialias": True},
    {"mode": "bilinear", "align_corners": True, "antialias": True},
    {"mode": "bicubic"},
    {"mode": "bicubic", "align_corners": True},
    {"mode": "bicubic", "antialias": True},
    {"mode": "bicubic", "align_corners": True, "antialias": True},
]


def picture(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(shape).to(dtype)


@pytest.mark.slow
def test_static_sizes_and_factors() -> None:
    def resize(x: Any) -> Any:
        return [
            [
                F.interpolate(x, size=(13, 5), **mode),
                F.interpolate(x, size=(1, 30), **mode),
                F.interpolate(x, scale_factor=2, **mode),
                F.interpolate(x, scale_factor=(0.3, 1.7), **mode),
                F.interpolate(x, scale_factor=(1.1, 0.6), recompute_scale_factor=True, **mode),
            ]
            for mode in MODES
        ]

    check(resize, picture(2, 3, 7, 9), rtol=1e-4, atol=2e-5)


def resize_all(x: torch.Tensor, like: torch.Tensor) -> Any:
    return [F.interpolate(x, size=like.shape[-2:], **mode) for mode in MODES]


def sizes(batch: int, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture, and a tensor of the size that it is to get."""
    return picture(batch, 2, *shape[:2]), torch.zeros(shape[2:])


DYNAMIC = (
    {0: Dim("b", min=1, max=8), 2: Dim("h", min=1, max=64), 3: Dim("w", min=1, max=64)},
    {0: Dim("p", min=1, max=160), 1: Dim("q", min=1, max=160)},
)


@pytest.fixture(scope="module")
def varying() -> Any:
    """Every mode, compiled once for any size."""
    return compile_module(resize_all, sizes(2, 7, 9, 4, 15), DYNAMIC)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 3), st.tuples(*[st.integers(1, 40), st.integers(2, 40)] * 2))
def test_every_size_may_vary(varying: Any, batch: int, shape: Any) -> None:
    # PyTorch's own antialias repeats one row when a picture's width of 1 is kept.
    args = sizes(batch, *shape)
    compare(varying(*args), resize_all(*args), rtol=1e-4, atol=3e-5)


def test_nearest_agrees_on_every_size(varying: Any) -> None:
    row = torch.arange(61.0).expand(1, 2, 1, 61).contiguous()
    for out in range(1, 130):
        like = torch.zeros(1, out)
        compare(varying(row, like)[:2], resize_all(row, like)[:2], rtol=0, atol=0)


def test_factors_of_a_size_that_varies() -> None:
    def resize(x: Any) -> Any:
        factors = 2, 0.5, 1.5, (0.3, 1.7)
        return [F.interpolate(x, scale_factor=s, **m) for s in factors for m in MODES[2::4]]

    check(
        resize,
        picture(2, 2, 7, 9),
        dynamic_shapes=({0: Dim("b", max=8), 2: Dim("h", min=7), 3: Dim("w", min=4)},),
        also=[(picture(2, 2, 20, 4),), (picture(3, 2, 11, 30),)],
        rtol=1e-4,
        atol=2e-5,
    )


class Resize(torch.nn.Module):
    def forward(self, x: Any, height: int, width: int) -> Any:
        return F.interpolate(x, size=(height, width), mode="bilinear")


def test_sizes_given_as_integers() -> None:
    check(
        Resize(),
        *(picture(1, 2, 7, 9), 4, 15),
        dynamic_shapes=({}, Dim.DYNAMIC, Dim.DYNAMIC),
        also=[(picture(1, 2, 7, 9), 30, 2)],
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float16, 2e-3), (torch.bfloat16, 1.6e-2)],
)
def test_dtypes(dtype: torch.dtype, tolerance: float) -> None:
    # PyTorch has no antialias for half precision on a CPU.
    known = [m for m in MODES if dtype is torch.float64 or "antialias" not in m]

    def resize(x: Any) -> Any:
        return [F.interpolate(x, size=(13, 5), **mode) for mode in known]

    check(resize, picture(1, 2, 7, 9, dtype=dtype), rtol=tolerance, atol=tolerance)


def test_nearest_takes_integers() -> None:
    x = torch.arange(63, dtype=torch.uint8).reshape(1, 1, 7, 9)
    check(lambda x: F.interpolate(x, scale_factor=2), x)


def test_one_and_three_dimensions() -> None:
    def resize(x: Any, y: Any) -> Any:
        return (
            F.interpolate(x, size=5),
            F.interpolate(x, scale_factor=2.5, mode="nearest-exact"),
            F.interpolate(x, scale_factor=2.5, mode="linear"),
            F.interpolate(x, size=4, mode="linear", align_corners=True),
            F.interpolate(y, size=(3, 9, 2)),
            F.interpolate(y, scale_factor=1.5, mode="trilinear"),
        )

    check(resize, picture(2, 3, 8), picture(1, 2, 4, 5, 6), atol=1e-5)


def test_an_interpolation_is_one_function() -> None:
    mod, _ = import_module(
        Wrap(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")), (picture(1, 2, 3, 4),)
    )
    functions = {g.name_hint for g in mod.get_global_vars()}
    assert functions == {"main", "interpolate_bilinear2d"}


def test_a_picture_doubled_by_its_nearest_pixels_stays_an_operator() -> None:
    def operators(**size: Any) -> str:
        mod, _ = import_module(
            Wrap(lambda x: F.interpolate(x, mode="nearest", **size)), (picture(1, 2, 3, 4),)
        )
        return str(mod["main"].script())

    assert "R.image.resize2d" in operators(scale_factor=2)
    assert "R.image.resize2d" in operators(size=(6, 8))
    # Twice the size by another step, and other sizes, have rules of their own.
    assert "R.image.resize2d" not in operators(scale_factor=2.1)
    assert "R.image.resize2d" not in operators(size=(6, 9))
