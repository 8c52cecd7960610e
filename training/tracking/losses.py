"""What the tracker's answers are measured by: SAM 2's losses (Ravi et al., 2024)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from training.losses import focal, overlap
from training.tracking.batches import ClipBatch
from training.tracking.forward import Answer, Passage

__all__ = ["ABSENT", "WEIGHTS", "answer_losses", "batch_losses", "clip_losses"]

WEIGHTS = {"focal": 20.0, "dice": 1.0, "iou": 1.0, "there": 1.0}
"""What each term counts in the sum."""

ABSENT = 4.0
"""So often count frames on which an object isn't there, which are one in fifteen. Learned logits
are lower for it by the logarithm, which the export adds again: else objects that come back aren't
believed."""


def batch_losses(passage: Passage, batch: ClipBatch) -> dict[str, Tensor]:
    """Losses of a batch, unweighted: of clips as they are tracked; of pictures twice, the second
    time with a click where the first answer went most wrong."""
    if batch.pixels.shape[1] > 1:
        return clip_losses(enumerate(passage(batch)), batch)
    return clip_losses(((0, answer) for answer in passage.correct(batch)), batch)


def clip_losses(answers: Iterable[tuple[int, Answer]], batch: ClipBatch) -> dict[str, Tensor]:
    """Losses of a batch's answers, each with its frame, unweighted, by the names of ``WEIGHTS``.

    Masks count where an object is seen; whether it is there, where that is beyond doubt.
    """
    sums: dict[str, list[Tensor]] = {name: [] for name in WEIGHTS}
    masks, seen = torch.from_numpy(batch.masks), torch.from_numpy(batch.seen)
    for frame, answer in answers:
        losses = answer_losses(answer, masks[:, frame].float() / 255, seen[:, frame])
        for name, loss in losses.items():
            sums[name].append(loss)
    return {name: torch.cat(losses).mean() for name, losses in sums.items()}


def answer_losses(answer: Answer, wanted: Tensor, seen: Tensor) -> dict[str, Tensor]:
    """Losses of each object on a frame; see :func:`clip_losses`.

    The first mask is learned everywhere; of the others, where objects are shown, the one that is
    best (as by SAM), and every mask's predicted IoU.

    Args:
        answer: of N objects.
        wanted: what part of each cell they cover; [N, 4S, 4S].
        seen: 1 where an object is seen, 0 where it isn't, -1 in between; [N].
    """
    rows = seen == 1
    masks = answer.masks[rows] if answer.prompted else answer.masks[rows, :1]
    truth = wanted[rows][:, None].expand_as(masks)
    by_focal = focal(masks, truth).mean((2, 3))
    by_dice = overlap(masks, truth)
    chosen = torch.zeros(len(masks), dtype=torch.long)
    first = torch.arange(len(masks))
    pairs = [(by_focal[first, chosen], by_dice[first, chosen])]
    if answer.prompted:
        cost = WEIGHTS["focal"] * by_focal + WEIGHTS["dice"] * by_dice
        chosen = 1 + cost[:, 1:].detach().argmin(1)
        pairs.append((by_focal[first, chosen], by_dice[first, chosen]))
    with torch.no_grad():
        inside, covered = masks > 0, truth >= 0.5
        shared = (inside & covered).sum((2, 3))
        iou = shared / (inside | covered).sum((2, 3)).clamp(min=1)
    predicted = answer.iou[rows][:, : masks.shape[1]]
    known = seen >= 0
    present = (seen[known] == 1).float()
    there = functional.binary_cross_entropy_with_logits(
        answer.there[known],
        present,
        torch.where(present > 0, 1.0, ABSENT),
        reduction="none",
    )
    return {
        "focal": torch.cat([pair[0] for pair in pairs]),
        "dice": torch.cat([pair[1] for pair in pairs]),
        "iou": (predicted - iou).abs().flatten(),
        "there": there,
    }
