"""Which detections are of which objects that are followed already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.rules import ConceptVideoRules
from sam3_tvm.runtime.video.concepts.overlaps import mask_iou

__all__ = ["Association", "Detections", "associate"]


@dataclass(frozen=True)
class Detections:
    """What all phrases find on a frame.

    Attributes:
        masks: logits, float32 [N, 4S, 4S].
        scores: float32 [N], 0 to 1.
        phrases: int64 [N], the number of the phrase that found each.
    """

    masks: NDArray[np.float32]
    scores: NDArray[np.float32]
    phrases: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Association:
    """Detections beside the objects of a frame.

    Attributes:
        new: detections that are of no object, and sure enough to begin one.
        matched: for each detection the rows of the objects that it overlaps; several may be of
            one detection, and one of several.
        unmatched: rows of objects that are seen, and that no detection confirms.
        empty: rows of objects that aren't seen.
        sure: by row of an object, a detection of a high score that overlaps none more, and it
            much.
    """

    new: list[int]
    matched: list[list[int]]
    unmatched: list[int]
    empty: list[int]
    sure: dict[int, int]


def associate(
    found: Detections,
    masks: NDArray[np.float32],
    phrases: Sequence[int],
    rules: ConceptVideoRules,
) -> Association:
    """Hold detections against objects, by IoU alone, as transformers' ``Sam3VideoModel`` does.

    Args:
        found: the detections.
        masks: logits of the objects' masks, float32 [M, 4S, 4S].
        phrases: the number of each object's phrase: only its detections count.
        rules: thresholds.
    """
    if not len(masks):
        # Whatever their scores: there is nothing that they could be of.
        return Association(list(range(len(found))), [], [], [], {})
    inside = masks > 0
    seen = inside.any((1, 2))
    empty = np.flatnonzero(~seen).tolist()
    if not len(found):
        return Association([], [], np.flatnonzero(seen).tolist(), empty, {})
    ious = mask_iou(found.masks > 0, inside)
    ious[found.phrases[:, None] != np.asarray(phrases, np.int64)] = 0
    confirmed = (ious >= rules.trk_assoc_iou_thresh).any(0)
    overlaps = ious >= rules.assoc_iou_thresh
    new = (found.scores >= rules.new_det_thresh) & ~overlaps.any(1)
    sure = (found.scores >= rules.high_conf_thresh) & ~new & (ious.max(1) >= rules.high_iou_thresh)
    nearest = ious.argmax(1)
    return Association(
        new=np.flatnonzero(new).tolist(),
        matched=[np.flatnonzero(row).tolist() for row in overlaps],
        unmatched=np.flatnonzero(seen & ~confirmed).tolist(),
        empty=empty,
        sure={int(nearest[i]): int(i) for i in np.flatnonzero(sure)},
    )
