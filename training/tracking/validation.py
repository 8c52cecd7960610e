"""Figures that the log shows while the tracker learns, from clips kept aside.

They are quick, and made by PyTorch on the mask grid of objects whose masks are shown on the first
frame. What counts in the end is :mod:`training.tracking.evaluate`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from training.model import IMAGE, MASK_GRID
from training.tracking.batches import ClipBatch, ClipDrawing, ClipPlan
from training.tracking.forward import Passage

__all__ = ["validate", "validation_batches"]

_SEED = 20261128
_CLIPS = 3  # of a batch
_PLAN = ClipPlan(_CLIPS, 12, 2, {"mask": 1.0})


def validation_batches(clips: int) -> list[ClipBatch]:
    """Clips of twelve frames, in batches of some three."""
    drawing = ClipDrawing(IMAGE, MASK_GRID, _SEED)
    return [drawing.batch(number, _PLAN) for number in range(-(-clips // _CLIPS))]


@torch.no_grad()
def validate(passage: Passage, batches: Sequence[ClipBatch]) -> dict[str, float]:
    """Figures on the given batches.

    Returns:
        "iou": of the masks behind the first frame, a mean over all objects and frames on which they
        are seen, 0 where they are said not to be there; "back": that of the frames behind one on
        which they weren't seen; "there": how often it is said rightly whether an object is there,
        a mean of those that are and those that aren't. From 0 to 1.
    """
    ious, back = [], []
    right: tuple[list[bool], list[bool]] = [], []
    for batch in batches:
        gone = batch.seen[:, 0] != 1
        for frame, answer in enumerate(passage(batch)):
            seen, there = batch.seen[:, frame], (answer.there > 0).numpy()
            if frame == 0:
                continue
            inside = (answer.masks[:, 0] > 0).numpy() & there[:, None, None]
            wanted = batch.masks[:, frame] >= 128
            union = (inside | wanted).sum((1, 2))
            iou = (inside & wanted).sum((1, 2)) / np.maximum(1, union)
            ious += iou[seen == 1].tolist()
            back += iou[(seen == 1) & gone].tolist()
            for value in (0, 1):
                right[value].extend((there == bool(value))[seen == value].tolist())
            gone |= seen == 0

    def mean(values: Sequence[float]) -> float:
        return float(np.mean(values)) if values else 0.0

    return {
        "iou": mean(ious),
        "back": mean(back),
        "there": (mean(right[0]) + mean(right[1])) / 2,
    }
