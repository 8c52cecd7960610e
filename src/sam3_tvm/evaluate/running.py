"""``evaluate``: every prompt of a dataset through one or several models."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.components import AbiError
from sam3_tvm.evaluate.average_precision import (
    AveragePrecision,
    ScoredQuery,
    average_precision,
)
from sam3_tvm.evaluate.dataset import Dataset, DatasetError, PictureEntry, Query
from sam3_tvm.evaluate.metrics import box_iou, count, count_others, match
from sam3_tvm.evaluate.report import Detections, Evaluation, Failure, Outcome
from sam3_tvm.evaluate.segmentation import Rle, decode, iou
from sam3_tvm.progress import Progress, silent
from sam3_tvm.runtime.model import Model
from sam3_tvm.runtime.pictures.arguments import PromptError
from sam3_tvm.runtime.pictures.image import ImageError, read_picture

__all__ = ["Detections", "Detector", "ModelDetector", "evaluate"]


# What is a picture's fault, or a prompt's, and not the model's.
_OF_THE_PICTURE = (ImageError, DatasetError)
_OF_THE_PROMPT = (PromptError, AbiError)

# Predictions below it hardly change an AP, and every query has one.
_LEAST_SCORE = 0.01


class Detector(Protocol):
    """What can be evaluated."""

    def __call__(
        self, rgb: NDArray[np.uint8], queries: Sequence[Query], threshold: float
    ) -> list[Detections]:
        """Predictions with a score above the threshold, for every prompt of a picture.

        Args:
            rgb: the picture, uint8 [H, W, 3].
            queries: the prompts.
            threshold: 0 to 1.
        """
        ...


class ModelDetector:
    """A compiled artifact: a picture is encoded once, and its prompts go through together."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __call__(
        self, rgb: NDArray[np.uint8], queries: Sequence[Query], threshold: float
    ) -> list[Detections]:
        visual = self.model.manifest.source.reference.visual_text
        results = self.model.segment(
            self.model.encode_image(rgb),
            text=[visual if q.text is None else q.text for q in queries],
            boxes=[[list(box) for box in q.boxes] for q in queries],
            box_labels=[list(q.labels) for q in queries],
            threshold=threshold,
        )
        return [
            Detections(result.scores, tuple(_rle(one) for one in result.to_coco()))
            for result in results
        ]


def evaluate(
    detectors: Mapping[str, Detector],
    dataset: Dataset,
    threshold: float = 0.5,
    progress: Progress = silent,
) -> dict[str, Evaluation]:
    """Measure models on a dataset.

    Args:
        detectors: the models by name.
        dataset: pictures, prompts and what is to be found.
        threshold: predictions with a higher score count. For mask AP, which goes through all
            thresholds, those above 0.01 do.
        progress: told of each picture.

    Returns:
        What came out, by the same names. A picture that can't be read or is of another size than
        the annotations say, and a prompt that a model doesn't take, such as a box that isn't in the
        picture, are among what failed, for all models: what hours have measured isn't lost for it.

    Raises:
        DatasetError: no prompt could be measured.
    """
    outcomes: dict[str, list[Outcome]] = {name: [] for name in detectors}
    scored: dict[str, list[ScoredQuery]] = {name: [] for name in detectors}
    seconds = dict.fromkeys(detectors, 0.0)
    failed: list[Failure] = []
    numbers: dict[int | str | None, int] = {}
    total = len(dataset.pictures)
    least = min(threshold, _LEAST_SCORE) if dataset.plain else threshold
    for at, picture in enumerate(dataset.pictures):
        progress(picture.path.name, at, total)
        try:
            rgb = _read(picture, dataset)
            try:
                queries, found = picture.queries, _asked(detectors, rgb, picture.queries, least)
            except _OF_THE_PROMPT:
                refused = _refused(detectors, rgb, picture, least)
                failed += refused
                queries = tuple(
                    q for q in picture.queries if all(q is not r.query for r in refused)
                )
                found = _asked(detectors, rgb, queries, least) if queries else {}
        except _OF_THE_PICTURE as error:
            failed.append(Failure(picture, f"{error}"))
            continue
        for name, (answers, taken) in found.items():
            seconds[name] += taken
            for query, detections in zip(queries, answers, strict=True):
                outcomes[name].append(_outcome(picture, query, detections.above(threshold)))
                if dataset.plain:
                    category = numbers.setdefault(query.category, len(numbers))
                    scored[name].append(_scored(at, category, picture, query, detections))
    progress("done", total, total)
    if failed and not any(outcomes.values()):
        raise DatasetError(f"none of {total} pictures could be measured: {failed[0].reason}")
    return {
        name: Evaluation(tuple(done), _ap(scored[name]), seconds[name], tuple(failed))
        for name, done in outcomes.items()
    }


def _asked(
    detectors: Mapping[str, Detector],
    rgb: NDArray[np.uint8],
    queries: Sequence[Query],
    least: float,
) -> dict[str, tuple[list[Detections], float]]:
    """What each model finds, and the seconds that it took."""
    found = {}
    for name, detect in detectors.items():
        started = time.perf_counter()
        answers = detect(rgb, queries, least)
        found[name] = (answers, time.perf_counter() - started)
    return found


def _refused(
    detectors: Mapping[str, Detector],
    rgb: NDArray[np.uint8],
    picture: PictureEntry,
    least: float,
) -> list[Failure]:
    """The prompts of a picture that a model doesn't take, each asked by itself."""
    failed = []
    for query in picture.queries:
        try:
            _asked(detectors, rgb, [query], least)
        except _OF_THE_PROMPT as error:
            failed.append(Failure(picture, f"{picture.path}: prompt {query.id}: {error}", query))
    return failed


def _rle(prediction: Mapping[str, Any]) -> Rle:
    """The mask of an entry in COCO's results format, which has its counts as text for JSON."""
    rle = prediction["segmentation"]
    return {"size": rle["size"], "counts": rle["counts"].encode("ascii")}


def _read(picture: PictureEntry, dataset: Dataset) -> NDArray[np.uint8]:
    rgb = read_picture(picture.path)
    (height, width), (h, w) = rgb.shape[:2], picture.size
    if (height, width) != (h, w):
        raise DatasetError(
            f"{picture.path}: is {width} x {height} pixels, {dataset.annotations} says {w} x {h}"
        )
    return rgb


def _outcome(picture: PictureEntry, query: Query, detections: Detections) -> Outcome:
    masks, targets = list(detections.masks), list(query.targets)
    overlap = iou(masks, targets)
    matched = match(overlap)
    in_crowd = iou(masks, list(query.crowds), crowd=True).max(1, initial=0.0)
    counts = count(overlap, matched, in_crowd)
    others = None
    if positive := [b for b, label in zip(query.boxes, query.labels, strict=True) if label]:
        others = count_others(counts, matched, _given(positive, targets))
    return Outcome(picture, query, detections, counts, others)


def _given(boxes: Sequence[tuple[float, float, float, float]], targets: list[Rle]) -> list[int]:
    """Which targets boxes are around: for each box one, by the IoU with the targets' own boxes."""
    around = np.array([_bounds(t) for t in targets], np.float64).reshape(-1, 4)
    matched = match(box_iou(np.array(boxes, np.float64), around), least=1e-9)
    return [int(target) for target in matched if target >= 0]


def _bounds(rle: Rle) -> tuple[int, int, int, int]:
    """The box of a mask's pixels: x0, y0, x1, y1; all 0 for an empty one."""
    mask = decode(rle)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return (0, 0, 0, 0)
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _scored(
    number: int, category: int, picture: PictureEntry, query: Query, detections: Detections
) -> ScoredQuery:
    return ScoredQuery(
        number,
        category,
        picture.size,
        query.targets,
        query.crowds,
        detections.scores.tolist(),
        detections.masks,
    )


def _ap(queries: Sequence[ScoredQuery]) -> AveragePrecision | None:
    return average_precision(queries) if queries else None
