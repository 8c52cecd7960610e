"""Which of the masks that the click decoder proposes answer a click."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.manifest import ClickRules

__all__ = ["choose_masks"]


def choose_masks(
    masks: NDArray[np.float32],
    iou: NDArray[np.float32],
    multimask: bool,
    rules: ClickRules,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Choose among the masks that are proposed for each object.

    The first mask is meant for prompts that leave no doubt, the others for a click that could
    mean several things, such as a shirt or its wearer. Asked for one mask, SAM 2 and 3 take the
    first if it is stable, else the best of the others (section D.1 of the SAM 2 paper,
    https://arxiv.org/abs/2408.00714).

    Args:
        masks: logits [N, K, h, w] of K proposals.
        iou: their predicted IoU [N, K].
        multimask: all but the first, rather than one.
        rules: what counts as stable.

    Returns:
        Logits [N, K - 1, h, w] or [N, 1, h, w], and their predicted IoU.
    """
    if multimask:
        return masks[:, 1:], iou[:, 1:]
    inner = np.count_nonzero(masks[:, 0] > rules.stability_delta, axis=(1, 2))
    outer = np.count_nonzero(masks[:, 0] > -rules.stability_delta, axis=(1, 2))
    # An empty mask is stable. In float32, as the reference divides.
    stability = inner.astype(np.float32) / np.maximum(outer, 1).astype(np.float32)
    stable = np.where(outer > 0, stability, 1) >= np.float32(rules.stability_threshold)
    taken = np.where(stable, 0, 1 + iou[:, 1:].argmax(1))
    rows = np.arange(len(masks))
    return masks[rows, taken][:, None], iou[rows, taken][:, None]
