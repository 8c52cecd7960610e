"""The figures, from intersections over union alone.

A prediction is *matched* with a target when their masks have an intersection over union of at
least 0.5, one to one. Pairs are taken in the order of their IoU, highest first. Where targets do
not overlap this is the best assignment (the Hungarian algorithm's), since a mask then can't reach
0.5 with two of them but by halving exactly: every target simply gets the best of the predictions
that reach it. So no solver of assignments is needed to run an artifact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MATCHED",
    "Counts",
    "Figures",
    "box_iou",
    "count",
    "count_others",
    "figures",
    "match",
    "quality",
]

#: The least intersection over union of a matched pair.
MATCHED = 0.5


@dataclass(frozen=True)
class Counts:
    """One prompt's outcome.

    Attributes:
        targets: objects to be found.
        predictions: objects that were predicted, without those that don't count (in crowds).
        ious: of the matched pairs.
    """

    targets: int
    predictions: int
    ious: tuple[float, ...]


@dataclass(frozen=True)
class Figures:
    """What several prompts amount to; NaN where there is nothing to find or to divide by.

    Attributes:
        prompts, targets, predictions, matched: how many.
        precision: matched of all predictions.
        recall: matched of all targets.
        f1: their harmonic mean, 2 matched / (predictions + targets).
        matched_iou: mean IoU of matched pairs.
        target_iou: mean over all targets, with 0 for those that were missed.
        absent: prompts without any target.
        rejected: share of these for which nothing was predicted.
    """

    prompts: int
    targets: int
    predictions: int
    matched: int
    precision: float
    recall: float
    f1: float
    matched_iou: float
    target_iou: float
    absent: int
    rejected: float


def match(iou: NDArray[np.float64], least: float = MATCHED) -> NDArray[np.int64]:
    """Pair rows with columns one to one, pairs of higher IoU first.

    Args:
        iou: [P, T].
        least: pairs below it are not made.

    Returns:
        For each row its column, or -1: int64 [P].
    """
    matched = np.full(len(iou), -1, np.int64)
    rows, columns = np.nonzero(iou >= least)
    taken: set[int] = set()
    for at in np.argsort(-iou[rows, columns], kind="stable"):
        row, column = int(rows[at]), int(columns[at])
        if matched[row] < 0 and column not in taken:
            matched[row] = column
            taken.add(column)
    return matched


def count(
    iou: NDArray[np.float64],
    matched: NDArray[np.int64],
    in_crowd: NDArray[np.float64],
) -> Counts:
    """The outcome of one prompt.

    Args:
        iou: of predictions with targets, [P, T].
        matched: what :func:`match` made of it.
        in_crowd: the largest share of each prediction that lies in one region of uncounted
            objects, [P]. Predictions that match nothing and lie in one by half or more don't
            count (COCO's rule for ``iscrowd`` at IoU 0.5).
    """
    pairs = np.flatnonzero(matched >= 0)
    ignored = int(np.count_nonzero((matched < 0) & (in_crowd >= MATCHED)))
    ious = iou[pairs, matched[pairs]]
    return Counts(iou.shape[1], len(matched) - ignored, tuple(ious.tolist()))


def count_others(counts: Counts, matched: NDArray[np.int64], given: Sequence[int]) -> Counts:
    """The outcome without the objects that the prompt itself pointed at.

    Args:
        counts: the outcome with them.
        matched: what :func:`match` gave, [P].
        given: indices of the targets that the prompt's positive boxes are around. They are no
            targets, and what matches them is no prediction; a second prediction of one remains,
            as one too many.
    """
    columns = matched[matched >= 0]
    kept = ~np.isin(columns, list(given))
    ious = tuple(iou for iou, keep in zip(counts.ious, kept, strict=True) if keep)
    found = len(columns) - len(ious)
    return Counts(counts.targets - len(set(given)), counts.predictions - found, ious)


def figures(outcomes: Sequence[Counts]) -> Figures:
    """Sum up prompts. Objects count alike, whatever prompt they belong to (micro average)."""
    targets = sum(c.targets for c in outcomes)
    predictions = sum(c.predictions for c in outcomes)
    ious = [iou for c in outcomes for iou in c.ious]
    absent = [c for c in outcomes if c.targets == 0]
    return Figures(
        prompts=len(outcomes),
        targets=targets,
        predictions=predictions,
        matched=len(ious),
        precision=_ratio(len(ious), predictions) if targets else math.nan,
        recall=_ratio(len(ious), targets),
        f1=_ratio(2 * len(ious), predictions + targets) if targets else math.nan,
        matched_iou=_ratio(math.fsum(ious), len(ious)),
        target_iou=_ratio(math.fsum(ious), targets),
        absent=len(absent),
        rejected=_ratio(sum(c.predictions == 0 for c in absent), len(absent)),
    )


def quality(counts: Counts) -> float:
    """How well one prompt was answered, 0 to 1: panoptic quality, 1 for silence about nothing.

    The sum of matched IoUs over the mean of the numbers of predictions and targets (Kirillov et
    al., "Panoptic Segmentation", CVPR 2019, equation 1).
    """
    objects = counts.predictions + counts.targets
    return 2 * math.fsum(counts.ious) / objects if objects else 1.0


def box_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of boxes x0, y0, x1, y1: [N, 4] and [M, 4] to float64 [N, M]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = (high - low).clip(0).prod(-1)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(-1), (b[:, 2:] - b[:, :2]).prod(-1)
    union = area_a[:, None] + area_b[None, :] - common
    result: NDArray[np.float64] = np.divide(
        common, union, out=np.zeros_like(common), where=union > 0
    )
    return result


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
