"""RoIAlign with a gradient, which ``sam3_tvm::roi_align`` lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import torch
import transformers.models.sam3.modeling_sam3 as modeling_sam3
from torch import Tensor

__all__ = ["differentiable_roi_align", "pool", "sampling_weights"]


def sampling_weights(low: Tensor, high: Tensor, bins: int, cells: int) -> Tensor:
    """How much each cell counts in each bin along one axis.

    RoIAlign (He et al., "Mask R-CNN", 2017) averages bilinear samples, which are products of
    a weight along y and one along x. Samples, their number and the border's rules are
    torchvision's, with ``sampling_ratio`` -1 and ``aligned`` False.

    Args:
        low, high: ends of K regions, in cells; [K].
        bins: bins along the axis.
        cells: cells along the axis.

    Returns:
        [K, bins, cells].
    """
    extent = (high - low).clamp(min=1.0)
    width = extent / bins
    count = width.ceil().clamp(min=1.0)
    most = int(count.max()) if len(count) else 1
    sample = torch.arange(most, dtype=low.dtype)
    # [K, bins, samples]
    place = (sample + 0.5) / count[:, None, None] + torch.arange(bins, dtype=low.dtype)[:, None]
    place = low[:, None, None] + place * width[:, None, None]
    counts = (sample < count[:, None])[:, None] & (place >= -1.0) & (place <= cells)
    place = place.clamp(0.0, cells - 1.0)
    hat = (1 - (place[..., None] - torch.arange(cells, dtype=low.dtype)).abs()).clamp(min=0.0)
    return (hat * counts[..., None]).sum(2) / count[:, None, None]


def pool(features: Tensor, boxes: Tensor, size: int) -> Tensor:
    """RoIAlign of N regions in each picture, with a gradient for the features.

    Args:
        features: [B, C, H, W].
        boxes: x0, y0, x1, y1 in cells; [B, N, 4].
        size: bins along each axis.

    Returns:
        [B * N, C, size, size].
    """
    count = boxes.shape[1]
    x0, y0, x1, y1 = boxes.detach().reshape(-1, 4).T
    rows = sampling_weights(y0, y1, size, features.shape[2]).unflatten(0, (-1, count))
    columns = sampling_weights(x0, x1, size, features.shape[3]).unflatten(0, (-1, count))
    pooled = torch.einsum("bniy,bcyx,bnjx->bncij", rows, features, columns)
    return pooled.flatten(0, 1)


def _roi_align(features: Tensor, boxes: Sequence[Tensor], size: int) -> Tensor:
    return pool(features, torch.stack(list(boxes)), size)


@contextmanager
def differentiable_roi_align() -> Iterator[None]:
    """Let transformers' SAM 3 use :func:`pool` for ``torchvision.ops.roi_align`` meanwhile."""
    absent = object()
    before = vars(modeling_sam3).get("torchvision", absent)
    stand_in = SimpleNamespace(ops=SimpleNamespace(roi_align=_roi_align))
    modeling_sam3.torchvision = stand_in
    try:
        yield
    finally:
        if before is absent:
            del modeling_sam3.torchvision
        else:
            modeling_sam3.torchvision = before
