"""Modules and procedures of the table of lessons (see cases)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
import torch.nn.functional as F
import tvm_ffi

from sam3_tvm.lessons.comparing import compare
from sam3_tvm.lessons.lesson import Case, Importer, Outcome

_generator = torch.Generator().manual_seed(0)


def randn(*shape: int) -> torch.Tensor:
    """Normal numbers, float32, from one seeded stream."""
    return torch.randn(shape, generator=_generator)


# Lesson 1: masks


def masked_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def scaled_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, k, v, scale=0.25)


def softmax_of_masked(x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    return torch.softmax(x.masked_fill(~keep, -torch.inf), -1)


# Lesson 7: sampling

_SAMPLING = (
    ("bilinear", "zeros", False),
    ("bilinear", "border", True),
    ("nearest", "zeros", True),
    ("nearest", "reflection", False),
    ("bicubic", "border", False),
    ("bicubic", "reflection", True),
)


def sample(x: torch.Tensor, grid: torch.Tensor) -> list[torch.Tensor]:
    return [
        F.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=corners)
        for mode, padding, corners in _SAMPLING
    ]


def sample_points(x: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Features at points (n, 2) of a picture x (1, c, h, w), as (n, 1, c)."""
    sampled = F.grid_sample(x, points[None, :, None], align_corners=False)
    return sampled.squeeze(-1).permute(2, 0, 1)


def _axis_samples(start: float, extent: float, bins: int, ratio: int) -> list[list[float]]:
    count = ratio if ratio > 0 else max(int(-(-extent // bins)), 1)
    step = extent / bins / count
    return [[start + (b * count + i + 0.5) * step for i in range(count)] for b in range(bins)]


def _corners(at: float, size: int) -> list[tuple[int, float]]:
    if not -1.0 <= at <= size:
        return []
    at = max(at, 0.0)
    low = min(int(at), size - 1)
    high = min(low + 1, size - 1)
    part = 0.0 if high == low else at - low
    return [(low, 1.0 - part), (high, part)]


def _roi_align(
    input: torch.Tensor,
    rois: torch.Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> torch.Tensor:
    """RoIAlign by its definition (He et al., Mask R-CNN, 2017): the mean over a bin's
    samples, each interpolated bilinearly, zero where a sample lies outside the picture.

    Args:
        input: features (n, c, h, w).
        rois: (k, 5): picture's index, then x0, y0, x1, y1.
    """
    height, width = input.shape[-2:]
    result = input.new_zeros(len(rois), input.shape[1], pooled_height, pooled_width)
    for k, (batch, *corners) in enumerate(rois.tolist()):
        shift = 0.5 if aligned else 0.0
        x0, y0, x1, y1 = (c * spatial_scale - shift for c in corners)
        w, h = (x1 - x0, y1 - y0) if aligned else (max(x1 - x0, 1.0), max(y1 - y0, 1.0))
        rows = _axis_samples(y0, h, pooled_height, sampling_ratio)
        columns = _axis_samples(x0, w, pooled_width, sampling_ratio)
        for (i, ys), (j, xs) in itertools.product(enumerate(rows), enumerate(columns)):
            for y, x in itertools.product(ys, xs):
                for (v, a), (u, b) in itertools.product(_corners(y, height), _corners(x, width)):
                    result[k, :, i, j] += input[int(batch), :, v, u] * (a * b / len(ys) / len(xs))
    return result


def _roi_align_shape(
    input: torch.Tensor, rois: torch.Tensor, scale: float, height: int, width: int, *_: Any
) -> torch.Tensor:
    return input.new_empty(rois.shape[0], input.shape[1], height, width)


@contextmanager
def roi_align_operator() -> Iterator[Any]:
    """roi_align as an operator of torch, for as long as the body runs.

    The CPU wheels of torch come without torchvision, so one of our own stands for torchvision's,
    under its name.
    """
    library = torch.library.Library("torchvision", "FRAGMENT")
    try:
        with suppress(RuntimeError):  # where torchvision is, it has defined it
            library.define(
                "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
                "SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor"
            )
            library.impl("roi_align", _roi_align, "CPU")
            library.impl("roi_align", _roi_align_shape, "Meta")
        yield torch.ops.torchvision.roi_align.default
    finally:
        del library  # takes the operator back


def pool(
    ratios: Sequence[int], aligned: Sequence[bool], scale: float
) -> Callable[[Importer], Outcome]:
    def procedure(importer: Importer) -> Outcome:
        with roi_align_operator() as roi_align:

            def pool(x: torch.Tensor, rois: torch.Tensor) -> list[torch.Tensor]:
                return [
                    roi_align(x, rois, scale, 2, 3, ratio, align)
                    for ratio, align in itertools.product(ratios, aligned)
                ]

            boxes = torch.tensor(
                [[1.2, 0.7, 6.4, 5.1], [-3.0, -2.0, 4.0, 12.0], [2.0, 2.0, 2.5, 2.1]]
            )
            rois = torch.cat([torch.tensor([[0.0], [1.0], [1.0]]), boxes / scale], dim=1)
            return compare(Case("", pool, (randn(2, 3, 6, 7), rois)), importer)

    return procedure


# Lesson 8: order


class _Attend(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


class _Resize(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="bilinear")


def imports_in_any_order(importer: Importer) -> Outcome:
    """Two modules imported in both orders: torch stays as it was, the results are equal."""
    watched = (F, torch.nn.MultiheadAttention, torch.nn.Module, torch.Tensor)
    before = [dict(vars(owner)) for owner in watched]
    pair = ((_Attend(), (randn(1, 4, 8),)), (_Resize(), (randn(1, 2, 3, 3),)))
    first = [importer(module, args, None)[0] for module, args in pair]
    second = [importer(module, args, None)[0] for module, args in reversed(pair)][::-1]
    for owner, attributes in zip(watched, before, strict=True):
        now = vars(owner)
        changed = [n for n, value in attributes.items() if now.get(n) is not value]
        if changed:
            return Outcome("error", f"{owner.__name__}.{changed[0]} was replaced")
    for a, b, (module, _) in zip(first, second, pair, strict=True):
        if not tvm_ffi.structural_equal(a, b):
            return Outcome("error", f"{type(module).__name__} depends on what was imported before")
    return Outcome("right")


# Further rows


class Rotary(torch.nn.Module):
    """Rotary position embedding by complex products, its rotations a buffer."""

    def __init__(self) -> None:
        super().__init__()
        angles = torch.outer(torch.arange(6.0), 0.1 ** torch.arange(4.0))
        turns = torch.polar(torch.ones_like(angles), angles)
        self.register_buffer("turns", turns, persistent=False)

    def forward(self, q: torch.Tensor) -> torch.Tensor:
        pairs = torch.view_as_complex(q.float().reshape(*q.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * self.turns).flatten(3).type_as(q)


class Sliced(torch.nn.Module):
    """Every spelling of a slice."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        n = x.shape[0]
        near = [x[:], x[1:], x[:-1], x[-2:, ::2], x[n - 3 :], x[: n - 2, None]]
        return [*near, x[..., 1:100], x[100:], x[-100:]]


class BooleanParameter(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        chosen = torch.tensor([True, False, True])
        self.chosen = torch.nn.Parameter(chosen, requires_grad=False)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [torch.where(self.chosen, x, 0.0), (x > 0).sum(-1), (self.chosen & (x > 0)).sum()]


def guarded_size(x: torch.Tensor) -> torch.Tensor:
    torch._check(x.shape[0] <= 32)
    return x.reshape(x.shape[0] * 2, -1)


def item_slice(x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
    count = n.item()
    torch._check(count >= 1)  # type: ignore[operator]
    torch._check(count <= 4)  # type: ignore[operator]
    return x[:count] * 2
