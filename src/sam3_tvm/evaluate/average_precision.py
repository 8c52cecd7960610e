"""Mask AP by COCO's own evaluation (pycocotools)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.evaluate.segmentation import Rle

__all__ = ["AveragePrecision", "ScoredQuery", "average_precision"]

# COCO counts so many predictions of a category in a picture, those of the highest scores.
_MOST_PREDICTIONS = 100


@dataclass(frozen=True)
class AveragePrecision:
    """Mask AP, 0 to 1, mean over categories; NaN without any target.

    Attributes:
        ap: mean over IoU 0.50, 0.55 ... 0.95.
        ap50, ap75: at IoU 0.5, at 0.75.
    """

    ap: float
    ap50: float
    ap75: float


@dataclass(frozen=True)
class ScoredQuery:
    """What one category's prompt in one picture asked for, and every prediction.

    Attributes:
        picture, category: numbers that tell pictures and categories apart.
        size: height and width of the picture.
        targets, crowds: masks.
        scores, masks: of the predictions.
    """

    picture: int
    category: int
    size: tuple[int, int]
    targets: Sequence[Rle]
    crowds: Sequence[Rle]
    scores: Sequence[float]
    masks: Sequence[Rle]


def average_precision(queries: Sequence[ScoredQuery]) -> AveragePrecision:
    """AP, AP50 and AP75 over masks.

    A category is looked for only where a query does it. If those are the pictures that have it,
    as the prompts of a plain annotation file are, then false alarms elsewhere don't count, and
    the figure is above the one of COCO's leaderboard.

    Args:
        queries: at most one for each picture and category.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for query in queries:
        where = {"image_id": query.picture, "category_id": query.category}
        for crowd, masks in enumerate((query.targets, query.crowds)):
            # Numbers from 1: COCOeval takes a match with annotation 0 for none.
            annotations += [
                {**where, **_mask(m), "iscrowd": crowd, "id": len(annotations) + i}
                for i, m in enumerate(masks, 1)
            ]
        results += [
            {**where, **_mask(m), "score": score, "id": len(results) + i}
            for i, (score, m) in enumerate(zip(query.scores, query.masks, strict=True), 1)
        ]
    sizes = {q.picture: q.size for q in queries}
    common = {
        "images": [{"id": p, "height": h, "width": w} for p, (h, w) in sorted(sizes.items())],
        "categories": [{"id": category} for category in sorted({q.category for q in queries})],
    }
    # It prints what it is at.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(
            _indexed(COCO(), {**common, "annotations": annotations}),
            _indexed(COCO(), {**common, "annotations": results}),
            "segm",
        )
        evaluation.params.maxDets = [_MOST_PREDICTIONS]
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    # [IoU threshold, recall, category, area range, number of predictions], -1 for no target
    precision = evaluation.eval["precision"]
    thresholds = evaluation.params.iouThrs
    return AveragePrecision(
        _mean(precision),
        _mean(precision[np.isclose(thresholds, 0.5)]),
        _mean(precision[np.isclose(thresholds, 0.75)]),
    )


def _mask(rle: Rle) -> dict[str, Any]:
    from pycocotools import mask as coco

    return {"segmentation": rle, "area": float(coco.area(rle)), "iscrowd": 0}


def _indexed(coco: Any, dataset: dict[str, Any]) -> Any:
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _mean(precision: NDArray[np.float64]) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")
