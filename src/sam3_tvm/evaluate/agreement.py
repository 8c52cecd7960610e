"""Whether two models find the same objects, which their figures alone don't say.

Objects are matched by their masks, as predictions are with targets, and never by the query that
found them: which query answers for an object may change with the arithmetic, while the object, its
outline and its score stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sam3_tvm.evaluate.metrics import match
from sam3_tvm.evaluate.report import Outcome
from sam3_tvm.evaluate.segmentation import iou

__all__ = ["Agreement", "agreement"]


@dataclass(frozen=True)
class Agreement:
    """What two models found for the same prompts; NaN where they found nothing together.

    Attributes:
        prompts: how many.
        same: of them, for how many each object of either has one of the other's.
        objects: found by both: pairs of masks with an IoU of at least 0.5.
        iou_mean, iou_min: of these pairs' masks.
        score_mean, score_max: how far the scores of a pair differ.
    """

    prompts: int
    same: int
    objects: int
    iou_mean: float
    iou_min: float
    score_mean: float
    score_max: float


def agreement(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Agreement:
    """Compare two models' outcomes of the same prompts, in the same order."""
    same, ious, differences = 0, [], []
    for a, b in zip(ours, theirs, strict=True):
        overlap = iou(list(a.detections.masks), list(b.detections.masks))
        matched = match(overlap)
        pairs = [(i, int(j)) for i, j in enumerate(matched) if j >= 0]
        same += len(pairs) == len(a.detections.masks) == len(b.detections.masks)
        for i, j in pairs:
            ious.append(float(overlap[i, j]))
            differences.append(abs(float(a.detections.scores[i]) - float(b.detections.scores[j])))
    nothing = [float("nan")]
    return Agreement(
        prompts=len(ours),
        same=same,
        objects=len(ious),
        iou_mean=float(np.mean(ious or nothing)),
        iou_min=min(ious or nothing),
        score_mean=float(np.mean(differences or nothing)),
        score_max=max(differences or nothing),
    )
