"""Non-maximum suppression by masks: one object where several marks mean the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.runtime.pictures.arguments import PromptError, brief, is_number
from sam3_tvm.runtime.pictures.masks import run_lengths

__all__ = ["check_nms", "suppressed"]


def check_nms(nms: Any) -> None:
    """Refuse what is no intersection over union.

    Raises:
        PromptError: no number, or not between 0 and 1.
    """
    if isinstance(nms, bool | np.bool_) or not is_number(nms) or not 0 <= nms <= 1:
        raise PromptError(
            f"nms is the IoU of masks beyond which the better alone stays, 0 to 1, not {brief(nms)}"
        )


def suppressed(masks: Iterable[NDArray[np.bool_]], nms: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: each mask goes if it overlaps a better one that stays.

    Args:
        masks: bool [H, W] each, best first; taken one at a time.
        nms: a mask goes if its intersection over union with one before it is greater. An empty
            mask overlaps nothing.

    Returns:
        Which masks stay, ascending.
    """
    from pycocotools import mask as coco

    runs: list[Any] = []
    kept: list[int] = []
    for row, mask in enumerate(masks):
        new = run_lengths(mask)
        if runs and coco.iou([new], runs, [0] * len(runs)).max() > nms:
            continue
        runs.append(new)
        kept.append(row)
    return np.array(kept, np.intp)
