"""roi_align against its definition, written out sample by sample."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from import_harness import compare, compile_module
from torch.export import Dim


def sample(plane: np.ndarray, y: float, x: float) -> float:
    """Bilinear; 0 beyond one pixel outside the plane, clamped within it."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = (min(max(v, 0.0), n - 1.0) for v, n in ((y, height), (x, width)))
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    ly, lx = y - y0, x - x0
    top = plane[y0, x0] * (1 - lx) + plane[y0, x1] * lx
    bottom = plane[y1, x0] * (1 - lx) + plane[y1, x1] * lx
    return float(top * (1 - ly) + bottom * ly)


def definition(
    data: np.ndarray,
    rois: np.ndarray,
    scale: float,
    out: tuple[int, int],
    ratio: int,
    aligned: bool,
) -> np.ndarray:
    result = np.zeros((len(rois), data.shape[1], *out), dtype="float64")
    f32 = np.float32
    for k, (batch, *corners) in enumerate(rois):
        offset = f32(0.5 if aligned else 0.0)
        x0, y0, x1, y1 = (f32(c) * f32(scale) - offset for c in corners)
        width, height = x1 - x0, y1 - y0
        if not aligned:
            width, height = max(width, f32(1)), max(height, f32(1))
        bin_h, bin_w = height / f32(out[0]), width / f32(out[1])
        ny = ratio if ratio > 0 else math.ceil(bin_h)
        nx = ratio if ratio > 0 else math.ceil(bin_w)
        for c, i, j in itertools.product(range(data.shape[1]), range(out[0]), range(out[1])):
            values = [
                sample(
                    data[int(batch), c],
                    y0 + i * bin_h + (a + 0.5) * bin_h / ny,
                    x0 + j * bin_w + (b + 0.5) * bin_w / nx,
                )
                for a in range(ny)
                for b in range(nx)
            ]
            result[k, c, i, j] = sum(values) / max(len(values), 1)
    return result


@pytest.fixture
def roi_align() -> Iterator[Any]:
    """An operator of torchvision's name and schema; torchvision itself isn't needed."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define(
        "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
        "SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor"
    )

    def shape_only(x: Any, rois: Any, _scale: float, height: Any, width: Any, *_: Any) -> Any:
        return x.new_empty((rois.shape[0], x.shape[1], height, width))

    library.impl("roi_align", shape_only, "Meta")
    yield torch.ops.torchvision.roi_align.default
    library._destroy()


INSIDE = [0, 1.3, 2.2, 9.7, 8.9]
ROIS = torch.tensor(
    [
        INSIDE,
        [1, -6.0, -5.0, 4.0, 3.0],  # leaves at the top left
        [1, 8.0, 7.0, 30.0, 25.0],  # leaves at the bottom right
        [0, 40.0, 40.0, 50.0, 50.0],  # wholly outside
        [0, 3.0, 3.0, 3.0, 3.0],  # a point
        [1, 6.0, 6.0, 2.0, 1.0],  # inverted
    ]
)


def features() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 3, 11, 13)


def test_every_combination_with_any_number_of_regions(roi_align: Any) -> None:
    cases = list(itertools.product((1.0, 0.5, 0.25), (-1, 2), (False, True)))

    def pool(x: Any, rois: Any) -> Any:
        return [roi_align(x, rois, s, 3, 2, ratio, aligned) for s, ratio, aligned in cases]

    x = features()
    run = compile_module(pool, (x, ROIS), ({}, {0: Dim("k", min=0, max=64)}))
    for rois in (ROIS, ROIS[:1], ROIS[:0]):
        want = [
            torch.tensor(definition(x.numpy(), rois.numpy(), s, (3, 2), ratio, aligned)).float()
            for s, ratio, aligned in cases
        ]
        compare(run(x, rois), want, rtol=1e-4, atol=1e-5)


def test_half_precision_features(roi_align: Any) -> None:
    x, rois = features().half(), ROIS[:3].half()
    run = compile_module(lambda x, r: roi_align(x, r, 0.5, 2, 2, -1, True), (x, rois))
    want = definition(x.float().numpy(), rois.float().numpy(), 0.5, (2, 2), -1, True)
    compare(run(x, rois), torch.tensor(want).half(), rtol=2e-3, atol=1e-3)


def test_no_regions_at_all(roi_align: Any) -> None:
    x, rois = features(), ROIS[:0]
    run = compile_module(lambda x, r: roi_align(x, r, 1.0, 2, 2, 2, True), (x, rois))
    compare(run(x, rois), torch.zeros(0, 3, 2, 2), rtol=0, atol=0)
