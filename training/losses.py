"""What the detector's answers are measured by: the losses of DETR and SAM 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.forward import Detection, Masks
from training.matching import corners, generalised_iou

__all__ = [
    "WEIGHTS",
    "Targets",
    "detection_losses",
    "focal",
    "mask_losses",
    "overlap",
    "total",
]

WEIGHTS = {
    "class": 2.0,
    "presence": 1.0,
    "l1": 5.0,
    "giou": 2.0,
    "mask": 5.0,
    "dice": 2.0,
    "concept": 1.0,
    "memory": 1.0,
    "dense": 1.0,
}
"""What each term counts in the sum."""

_FOCUS = 2.0


@dataclass(frozen=True)
class Targets:
    """What P prompts ask for, M things at most.

    Attributes:
        boxes: cx, cy, w, h; [P, M, 4], anything where there is no target.
        masks: the covered part of each cell, 0 to 1; [P, M, G, G].
        exists: bool [P, M].
    """

    boxes: Tensor
    masks: Tensor
    exists: Tensor

    @property
    def present(self) -> Tensor:
        """Whether there is what a prompt asks for; bool [P]."""
        return self.exists.any(1)


def focal(logits: Tensor, truth: Tensor) -> Tensor:
    """Focal loss (Lin et al., 2017) of each element, both classes alike.

    With unequal weights of the classes, as is usual, a probability of 0.5 would no longer
    mean that both are equally likely; the runtime's threshold is 0.5.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return entropy * (truth - logits.sigmoid()).abs() ** _FOCUS


def detection_losses(found: Detection, targets: Targets, matched: Tensor) -> dict[str, Tensor]:
    """Losses of scores and boxes, summed over the decoder's layers.

    Queries are judged only where there is something to find: their score is conditional on
    presence, with which it is multiplied in the end.

    Args:
        found: L layers, P prompts, Q queries.
        targets: of the prompts.
        matched: the query of each target or -1; [L, P, M].

    Returns:
        "class", "presence", "l1", "giou": numbers. All but presence are sums over pairs,
        divided by the number of targets.
    """
    layers = len(matched)
    layer, prompt, target = torch.where(matched >= 0)
    query = matched[layer, prompt, target]
    count = max(1, len(query) / layers)

    truth = torch.zeros_like(found.logits)
    truth[layer, prompt, query] = 1.0
    present = targets.present
    classes = focal(found.logits, truth)[:, present].sum() / count

    boxes, wanted = found.boxes[layer, prompt, query], targets.boxes[prompt, target]
    presence = functional.binary_cross_entropy_with_logits(
        found.presence, present.float().expand_as(found.presence)
    )
    return {
        "class": classes,
        "presence": presence * layers,
        "l1": (boxes - wanted).abs().sum() / count,
        "giou": (1 - generalised_iou(corners(boxes), corners(wanted))).sum() / count,
    }


def mask_losses(masks: Masks, targets: Targets) -> dict[str, Tensor]:
    """Losses of masks; ``masks`` are those of the queries that match the targets.

    Args:
        masks: of R prompts with M queries each, matched or not.
        targets: of the same R prompts.

    Returns:
        "mask" (cross-entropy) and "dice" (V-Net's, Milletari et al., 2016), means over the
        targets; "concept", both of the map of all targets together.
    """
    logits, truth = masks.instances[targets.exists], targets.masks[targets.exists]
    union = (targets.masks * targets.exists[:, :, None, None]).amax(1)
    return {
        "mask": _entropy(logits, truth),
        "dice": _dice(logits, truth),
        "concept": _entropy(masks.concept, union) + _dice(masks.concept, union),
    }


def _entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy per cell, less that of the truth itself, which is not 0 on edges."""
    entropy = functional.binary_cross_entropy_with_logits(logits, truth)
    return entropy - functional.binary_cross_entropy(truth, truth)


def _dice(logits: Tensor, truth: Tensor) -> Tensor:
    return overlap(logits, truth).mean()


def overlap(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - dice coefficient of each mask, where 0 is best also for soft truth.

    Args:
        logits, truth: [..., G, G].
    """
    chance, truth = logits.sigmoid().flatten(-2), truth.flatten(-2)
    apart = (chance - truth).abs().sum(-1)
    return apart / (chance.sum(-1) + truth.sum(-1) + 1.0)


def total(losses: Mapping[str, Tensor], changed: Mapping[str, float] | None = None) -> Tensor:
    """The weighted sum; a loss without a weight of its own counts once.

    Args:
        losses: by name.
        changed: weights other than those of :data:`WEIGHTS`.
    """
    weights = {**WEIGHTS, **(changed or {})}
    return torch.stack([weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()
