"""RoIAlign as a torch operator, for machines where torchvision's compiled one doesn't load.

Registered as ``sam3_tvm::roi_align`` with torchvision's arguments, a CPU implementation by
the definition, and a shape rule for ``torch.export``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

__all__ = ["roi_align"]


def _bilinear_samples(features: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """``features [C, H, W]`` at the grid ``y [n] x x [m]``: ``[C, n, m]``.

    A sample more than one pixel outside is zero, a closer one is clamped to the border.
    """
    height, width = features.shape[-2:]

    def corners(
        t: torch.Tensor, extent: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        inside = (t >= -1.0) & (t <= extent)
        t = t.clamp(min=0.0)
        low = t.floor().long().clamp(max=extent - 1)
        high = (low + 1).clamp(max=extent - 1)
        t = torch.where(low >= extent - 1, low.to(t.dtype), t)
        return low, high, t - low, inside

    y0, y1, fy, in_y = corners(y, height)
    x0, x1, fx, in_x = corners(x, width)
    rows0, rows1 = features[:, y0], features[:, y1]
    fy, fx = fy[:, None], fx[None, :]
    value = (1 - fy) * ((1 - fx) * rows0[:, :, x0] + fx * rows0[:, :, x1]) + fy * (
        (1 - fx) * rows1[:, :, x0] + fx * rows1[:, :, x1]
    )
    return value * (in_y[:, None] & in_x[None, :])


@torch.library.custom_op("sam3_tvm::roi_align", mutates_args=())
def _roi_align(
    input: torch.Tensor,
    rois: torch.Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> torch.Tensor:
    """RoIAlign (He et al., "Mask R-CNN", 2017), averaged samples, as torchvision defines it.

    Args:
        input: ``[B, C, H, W]``.
        rois: ``[K, 5]``: index into the batch, then x0, y0, x1, y1.
        spatial_scale: factor from the boxes' coordinates to the feature map's.
        pooled_height, pooled_width: size of the result.
        sampling_ratio: samples per bin and axis, or -1 for ``ceil(roi size / pooled size)``.
        aligned: shift by half a pixel, and don't enlarge boxes below one pixel.

    Returns:
        ``[K, C, pooled_height, pooled_width]``.
    """
    channels = input.shape[1]
    pooled = input.new_zeros((rois.shape[0], channels, pooled_height, pooled_width))
    offset = 0.5 if aligned else 0.0
    for k, (batch, *box) in enumerate(rois.tolist()):
        x0, y0, x1, y1 = (
            float(torch.tensor(v, dtype=input.dtype) * spatial_scale - offset) for v in box
        )
        roi_h, roi_w = y1 - y0, x1 - x0
        if not aligned:
            roi_h, roi_w = max(roi_h, 1.0), max(roi_w, 1.0)
        bin_h, bin_w = roi_h / pooled_height, roi_w / pooled_width
        n = sampling_ratio if sampling_ratio > 0 else math.ceil(bin_h)
        m = sampling_ratio if sampling_ratio > 0 else math.ceil(bin_w)
        if n <= 0 or m <= 0:
            continue
        y = y0 + bin_h * (torch.arange(pooled_height * n, dtype=input.dtype) + 0.5) / n
        x = x0 + bin_w * (torch.arange(pooled_width * m, dtype=input.dtype) + 0.5) / m
        samples = _bilinear_samples(input[int(batch)], y, x)
        pooled[k] = samples.view(channels, pooled_height, n, pooled_width, m).mean((2, 4))
    return pooled


@_roi_align.register_fake
def _(
    input: torch.Tensor,
    rois: torch.Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> torch.Tensor:
    return input.new_empty((rois.shape[0], input.shape[1], pooled_height, pooled_width))


def roi_align(
    features: torch.Tensor,
    boxes: torch.Tensor,
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> torch.Tensor:
    """RoIAlign of the same number of boxes in every picture of a batch.

    Args:
        features: ``[B, C, H, W]``.
        boxes: ``[B, N, 4]``, x0, y0, x1, y1 in the feature map's coordinates divided by
            ``spatial_scale``. N may be 0.
        output_size: side, or height and width, of the result.

    Returns:
        ``[B * N, C, height, width]``.
    """
    height, width = (
        (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    )
    batch, count = boxes.shape[:2]
    index = torch.arange(batch, dtype=boxes.dtype, device=boxes.device)
    rois = torch.cat([index[:, None, None].expand(batch, count, 1), boxes], dim=-1)
    return torch.ops.sam3_tvm.roi_align(
        features, rois.reshape(-1, 5), spatial_scale, height, width, sampling_ratio, aligned
    )
