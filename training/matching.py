"""Which query is to find which target."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

__all__ = ["corners", "generalised_iou", "match"]

_CLASS, _L1, _GIOU = 2.0, 5.0, 2.0  # DETR's weights


def corners(boxes: Tensor) -> Tensor:
    """cx, cy, w, h to x0, y0, x1, y1; [..., 4]."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU (Rezatofighi et al., 2019), from -1 to 1, of boxes as x0, y0, x1, y1.

    Args:
        a, b: [..., 4], broadcast against each other.
    """
    overlap = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(
        min=0
    )
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    shared, around = overlap.prod(-1), hull.prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    union, around = union.clamp(min=1e-9), around.clamp(min=1e-9)
    return shared / union - (around - union) / around


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, targets: Tensor, wanted: Tensor) -> Tensor:
    """One query for each target, at the least total cost (DETR, Carion et al., 2020).

    The cost of a pair is weighed from the query's probability, the L1 distance and the
    generalised IoU of the boxes.

    Args:
        logits: [L, P, Q].
        boxes: cx, cy, w, h; [L, P, Q, 4].
        targets: likewise; [P, M, 4].
        wanted: which of the targets exist; bool [P, M].

    Returns:
        The query of each target, -1 for those that don't exist; int64 [L, P, M].
    """
    distance = (boxes[:, :, :, None] - targets[None, :, None]).abs().sum(-1)
    overlap = generalised_iou(corners(boxes)[:, :, :, None], corners(targets)[None, :, None])
    cost = _L1 * distance - _GIOU * overlap - _CLASS * logits.sigmoid()[..., None]
    result = torch.full(cost.shape[:2] + targets.shape[1:2], -1)
    costs = cost.numpy()
    for prompt, count in enumerate(wanted.sum(1).tolist()):
        (places,) = torch.where(wanted[prompt])
        for layer in range(len(costs) if count else 0):
            queries, columns = linear_sum_assignment(costs[layer, prompt][:, places.numpy()])
            result[layer, prompt, places[torch.from_numpy(columns)]] = torch.from_numpy(queries)
    return result
