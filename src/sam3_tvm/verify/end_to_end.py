"""Photographs segmented by both sides: masks, boxes and scores compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.runtime.concepts.results import Result
from sam3_tvm.runtime.model import Model
from sam3_tvm.runtime.pictures.encoded import EncodedImage
from sam3_tvm.sources.base import PromptSpec, ReferenceResult
from sam3_tvm.verify.report import Bounds, EndToEndRow

__all__ = ["compare_picture", "end_to_end_row", "mask_iou", "picture_prompts"]


def picture_prompts(rgb: NDArray[np.uint8], points: bool = False) -> list[PromptSpec]:
    """Prompts for a picture: words, words with a box, and boxes of both labels alone; and, with
    ``points``, points of both labels with words and a box."""
    height, width = rgb.shape[:2]

    def box(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        return (x0 * width, y0 * height, x1 * width, y1 * height)

    left, right = box(0.1, 0.2, 0.45, 0.7), box(0.55, 0.4, 0.9, 0.95)
    spots = ((0.3 * width, 0.4 * height), (0.8 * width, 0.1 * height), (0.5 * width, 0.5 * height))
    with_points = PromptSpec("cat", (left,), (1,), spots, (1, 0, 1))
    return [
        PromptSpec("a person's face"),
        PromptSpec("cat", (left,), (1,)),
        PromptSpec(None, (left, right, box(0.0, 0.0, 1.0, 1.0)), (1, 0, 1)),
        *([with_points] if points else ()),
    ]


def compare_picture(
    model: Model,
    name: str,
    image: EncodedImage,
    prompts: Sequence[PromptSpec],
    wanted: Sequence[ReferenceResult],
    bounds: Bounds,
) -> tuple[list[EndToEndRow], list[str]]:
    """Every prompt in a picture, at the usual threshold and at one that keeps something.

    Returns:
        A row of each, and what isn't compared, in words: queries with scores that the arithmetic
        can't tell from 0, which nobody's threshold keeps.
    """
    rows, left_out = [], []
    for prompt, reference in zip(prompts, wanted, strict=True):
        for threshold in dict.fromkeys((0.5, _threshold(reference.scores))):
            if threshold < bounds.margin:
                left_out.append(
                    f"{prompt} in {name} at a threshold of {threshold:.1e}: scores there are "
                    f"within {bounds.margin:g} of 0"
                )
                continue
            result = model.segment(
                image,
                **prompt.arguments,
                threshold=max(0.0, threshold - bounds.margin),
            )
            rows.append(end_to_end_row(name, prompt, threshold, result, reference, bounds))
    return rows, left_out


def _threshold(scores: NDArray[np.float32], most: int = 12) -> float:
    """A threshold that keeps between one query and ``most``, in the widest gap between scores.

    Random weights know nothing of 0.5; and where two scores lie closer than the arithmetic's
    noise, which one is kept says nothing.
    """
    best = np.sort(scores.astype(np.float64))[::-1][: most + 1]
    gaps = best[:-1] - best[1:]
    at = int(np.argmax(gaps))
    return float((best[at] + best[at + 1]) / 2)


def end_to_end_row(
    name: str,
    prompt: PromptSpec,
    threshold: float,
    result: Result,
    reference: ReferenceResult,
    bounds: Bounds,
) -> EndToEndRow:
    """Compare what the reference keeps; ``result`` is ours at the threshold less the margin."""
    kept = np.flatnonzero(reference.scores > threshold)
    allowed = np.flatnonzero(reference.scores > threshold - bounds.margin)
    ours = result.queries[result.scores > threshold]
    same = set(kept) <= set(result.queries) and set(ours) <= set(allowed)
    ious, box_error, score_error = np.ones(1), 0.0, 0.0
    if same and len(kept):
        compared = result[np.isin(result.queries, kept)]
        order = compared.queries
        theirs = reference.masks(order)
        ious = np.array([mask_iou(a, b) for a, b in zip(compared.masks, theirs, strict=True)])
        box_error = float(np.abs(compared.boxes - reference.boxes[order]).max())
        score_error = float(np.abs(compared.scores - reference.scores[order]).max())
    ok = (
        same
        and float(ious.min()) >= bounds.iou
        and box_error <= bounds.box_px
        and score_error <= bounds.score
    )
    return EndToEndRow(
        picture=name,
        prompt=str(prompt),
        threshold=threshold,
        kept=len(ours),
        same_kept=same,
        iou_mean=float(ious.mean()),
        iou_min=float(ious.min()),
        box_error_px=box_error,
        score_error=score_error,
        ok=ok,
    )


def mask_iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; 1 for two empty ones."""
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0
