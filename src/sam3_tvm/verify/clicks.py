"""Objects of photographs clicked on both sides: masks and their predicted IoU compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.runtime.model import Model
from sam3_tvm.runtime.pictures.encoded import EncodedImage
from sam3_tvm.sources.base import ClickReferenceResult, ClickSpec
from sam3_tvm.verify.end_to_end import mask_iou
from sam3_tvm.verify.report import Bounds, ClickRow

__all__ = ["click_prompts", "compare_click"]


def click_prompts(rgb: NDArray[np.uint8]) -> list[ClickSpec]:
    """Clicks for a picture: 1, 3 and 9 points, a box, both, one mask, and a refinement."""
    height, width = rgb.shape[:2]
    # A walk around the middle, of both labels.
    turns = 2 * np.pi * np.arange(9) / 9
    across = (0.5 + 0.35 * np.cos(2 * turns) * np.cos(turns)) * width
    down = (0.5 + 0.35 * np.sin(3 * turns)) * height
    points = tuple(zip(across.tolist(), down.tolist(), strict=True))
    labels = (1, 1, 0) * 3
    box = (0.2 * width, 0.3 * height, 0.7 * width, 0.9 * height)
    return [
        ClickSpec(points[:1], labels[:1]),
        ClickSpec(points[:1], labels[:1], multimask=False),
        ClickSpec(points[:3], labels[:3]),
        ClickSpec(points, labels),
        ClickSpec(box=box),
        ClickSpec(points[:2], labels[:2], box, multimask=False),
        ClickSpec(points[:3], labels[:3], refined=True),
    ]


def compare_click(
    model: Model,
    name: str,
    image: EncodedImage,
    prompt: ClickSpec,
    wanted: ClickReferenceResult,
    bounds: Bounds,
) -> ClickRow:
    """One object clicked in one picture, beside the reference's answer."""

    def answer(mask: NDArray[np.float32] | None) -> Any:
        points, labels = list(prompt.points) or None, list(prompt.labels) or None
        return model.click(image, points, labels, prompt.box, mask, prompt.multimask)

    result = answer(None)
    if prompt.refined:
        result = answer(result.logits[result.best])
    same = result.masks.shape == wanted.masks.shape
    ious = np.zeros(1)
    error = float("inf")
    if same:
        pairs = zip(result.masks, wanted.masks, strict=True)
        ious = np.array([mask_iou(ours, theirs) for ours, theirs in pairs])
        error = float(np.abs(result.iou - wanted.iou).max())
    return ClickRow(
        picture=name,
        prompt=str(prompt),
        masks=len(result),
        iou_mean=float(ious.mean()),
        iou_min=float(ious.min()),
        score_error=error,
        ok=float(ious.min()) >= bounds.iou and error <= bounds.score,
    )
