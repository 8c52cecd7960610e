"""How much masks overlap, and which give way where they do.

All as transformers' ``Sam3VideoModel`` and ``Sam3VideoProcessor`` have it. What depends on several
objects is decided among those of one phrase.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "give_pixels",
    "groups",
    "mask_iou",
    "non_maximum_suppression",
    "recently_occluded",
    "suppress_shrunk",
]

ABSENT = np.float32(-10.0)
"""The logit of every pixel of a mask that gives way."""

# A mask that keeps less than this share of its pixels against others gives way as a whole.
_LEAST_SHARE = np.float32(0.3)


def groups(phrases: Sequence[int]) -> Iterator[NDArray[np.intp]]:
    """The rows of the objects of each phrase."""
    numbers = np.asarray(phrases, np.int64)
    for phrase in np.unique(numbers):
        yield np.flatnonzero(numbers == phrase)


def mask_iou(masks: NDArray[np.bool_], others: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Intersection over union of each pair; 0 of two empty masks.

    Args:
        masks: bool [N, h, w].
        others: bool [M, h, w].

    Returns:
        float32 [N, M].
    """
    # Whole numbers below 2^24, which float32 adds exactly.
    ours = masks.reshape(len(masks), masks[0].size if len(masks) else 0).astype(np.float32)
    theirs = others.reshape(len(others), others[0].size if len(others) else 0).astype(np.float32)
    if not (len(ours) and len(theirs)):
        return np.zeros((len(ours), len(theirs)), np.float32)
    both = ours @ theirs.T
    either = ours.sum(1)[:, None] + theirs.sum(1) - both
    iou: NDArray[np.float32] = both / np.maximum(either, np.float32(1))
    return iou


def non_maximum_suppression(
    masks: NDArray[np.bool_], scores: NDArray[np.float32], threshold: float
) -> NDArray[np.intp]:
    """Which masks are kept: from the highest score down, those that overlap no kept one by more.

    Args:
        masks: bool [N, h, w].
        scores: float32 [N].
        threshold: the IoU above which the lower score goes.

    Returns:
        Their rows, rising.
    """
    ious = mask_iou(masks, masks)
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable"):
        if not (ious[row, kept] > threshold).any():
            kept.append(int(row))
    return np.array(sorted(kept), np.intp)


def recently_occluded(
    masks: NDArray[np.bool_],
    last_occluded: NDArray[np.int64],
    phrases: Sequence[int],
    threshold: float,
    reverse: bool,
) -> NDArray[np.bool_]:
    """Which objects give way to one that they overlap: of two the one that was hidden later.

    Of two of which none was ever hidden both stay.

    Args:
        masks: bool [N, h, w].
        last_occluded: the last frame on which each was hidden; -1 for never.
        phrases: the number of each object's phrase.
        threshold: the IoU from which two overlap.
        reverse: whether frames come in falling order.

    Returns:
        bool [N].
    """
    suppressed = np.zeros(len(masks), np.bool_)
    for rows in groups(phrases):
        overlap = mask_iou(masks[rows], masks[rows]) >= threshold
        np.fill_diagonal(overlap, False)
        mine, other = last_occluded[rows, None], last_occluded[None, rows]
        # Backwards a lower number is later. One that was never hidden has the lowest, and so gives
        # way then to one that was, as in transformers.
        later = mine < other if reverse else mine > other
        suppressed[rows] = (overlap & later & (other > -1)).any(1)
    return suppressed


def suppress_shrunk(logits: NDArray[np.float32], phrases: Sequence[int]) -> NDArray[np.float32]:
    """Masks without those that others leave little of, where each pixel goes to the highest logit.

    Others keep all of their pixels.

    Args:
        logits: float32 [N, h, w].
        phrases: the number of each object's phrase.

    Returns:
        float32 [N, h, w], another array.
    """
    kept = logits.copy()
    for rows in groups(phrases):
        if len(rows) < 2:
            continue
        ours = logits[rows]
        inside = ours > 0
        winner = ours.argmax(0)
        left = inside & (winner == np.arange(len(rows))[:, None, None])
        before = np.maximum(inside.sum((1, 2)), 1).astype(np.float32)
        share = left.sum((1, 2)).astype(np.float32) / before
        for row in rows[share < _LEAST_SHARE]:
            kept[row] = np.minimum(kept[row], ABSENT)
    return kept


def give_pixels(
    masks: NDArray[np.bool_], ranks: Sequence[float], phrases: Sequence[int | None]
) -> None:
    """Leave each pixel to one object of a phrase, that of the highest rank; in place.

    Args:
        masks: bool [N, H, W].
        ranks: of each; of equals the first goes before.
        phrases: the number of each object's phrase; None for one that keeps all of its pixels.
    """
    for phrase in {phrase for phrase in phrases if phrase is not None}:
        rows = [row for row, of in enumerate(phrases) if of == phrase]
        best = np.zeros(masks.shape[1:], np.float32)
        owner = np.full(masks.shape[1:], -1, np.int32)
        for row in rows:
            better = masks[row] & (np.float32(ranks[row]) > best)
            best[better], owner[better] = ranks[row], row
        for row in rows:
            masks[row] &= owner == row
