"""Normalisation against PyTorch: optional weights, several dimensions, dtypes, large means."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from import_harness import Wrap, check
from torch.export import Dim

from sam3_tvm.importer import import_module

DTYPES = [
    (torch.float64, 1e-12),
    (torch.float32, 2e-5),
    (torch.float16, 2e-3),
    (torch.bfloat16, 1.6e-2),
]


def sample(dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(s).to(dtype) for s in shapes]


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES, ids=str)
def test_every_norm(dtype: torch.dtype, tolerance: float) -> None:
    def norms(x: Any, w: Any, b: Any, y: Any, u: Any, v: Any) -> Any:
        last = x.shape[-1:]
        return (
            F.layer_norm(x, last, w[0], b[0]),
            F.layer_norm(x, last, w[0]),
            F.layer_norm(x, last, None, b[0], eps=0.1),
            F.layer_norm(x, x.shape[-2:], w, b),
            F.layer_norm(x, x.shape[-2:]),
            F.rms_norm(x, last, w[0]),
            F.rms_norm(x, last, eps=0.1),
            F.rms_norm(x, x.shape[-2:], w),
            F.group_norm(y, 3, u, v),
            F.group_norm(y, 2),
            F.group_norm(y[..., 0], 3, u, None, eps=0.1),
            F.instance_norm(y, weight=u, bias=v),
            F.batch_norm(y, v, u * u, u, v),
            F.batch_norm(y, v, u * u, eps=0.1),
            F.batch_norm(y, None, None, u, v, training=True),
        )

    args = sample(dtype, (2, 3, 8), (3, 8), (3, 8), (2, 6, 4, 5), (6,), (6,))
    check(norms, *args, rtol=tolerance, atol=tolerance)


def test_saved_statistics() -> None:
    def norms(x: Any, w: Any, b: Any) -> Any:
        return (
            torch.native_layer_norm(x, x.shape[-2:], None, None, 1e-5),
            torch.native_layer_norm(x, x.shape[-1:], None, None, 1e-5)[0],
            torch.native_group_norm(x, w, b, 2, 6, 20, 3, 1e-5),
        )

    check(norms, *sample(torch.float32, (2, 6, 4, 5), (6,), (6,)), rtol=2e-5, atol=2e-5)


def test_sizes_vary() -> None:
    b, n, h = (Dim(name, min=1, max=16) for name in "bnh")

    def norms(x: Any, y: Any, w: Any) -> Any:
        return (
            F.layer_norm(x, (6,), w),
            F.layer_norm(x, x.shape[-1:]),
            F.group_norm(y, 3, w),
            F.batch_norm(y, w, w * w),
        )

    def args(b: int, n: int, h: int) -> Any:
        return sample(torch.float32, (b, n, 6), (b, 6, h, 4), (6,))

    check(
        norms,
        *args(2, 3, 4),
        dynamic_shapes=({0: b, 1: n}, {0: b, 2: h}, None),
        also=[args(1, 1, 2), args(3, 7, 5)],
        rtol=2e-5,
        atol=2e-5,
    )


def test_layer_norm_survives_a_large_mean() -> None:
    (x,) = sample(torch.float32, (4, 256))
    check(lambda x: F.layer_norm(x, (256,)), x + 1000, rtol=1e-3, atol=1e-3)


def test_modules_unmodified() -> None:
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm2d(6)
    norm(torch.randn(4, 6, 5, 5))
    check(
        torch.nn.Sequential(norm, torch.nn.GroupNorm(2, 6), torch.nn.BatchNorm2d(6, affine=False)),
        torch.randn(2, 6, 4, 5),
        rtol=2e-5,
        atol=2e-5,
    )


def test_norms_stay_one_operator_each() -> None:
    def norms(x: Any, w: Any) -> Any:
        return F.layer_norm(x, (6,), w), F.group_norm(x.mT, 3, w), F.rms_norm(x, (6,))

    mod, _ = import_module(Wrap(norms), sample(torch.float32, (2, 3, 6), (6,)))
    text = mod.script()
    for name in ("layer_norm", "group_norm", "rms_norm"):
        assert text.count(f"R.nn.{name}(") == 1
    assert "R.mean" not in text
