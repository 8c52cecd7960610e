"""One step's loss, from a batch to numbers by name."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.models.sam3.modeling_sam3 import Sam3Model

from training.batches import Batch
from training.dense import DenseHeads, DenseTruth, memory_loss
from training.forward import Inputs, detect, draw_masks, features, level, mixed_precision
from training.losses import Targets, detection_losses, mask_losses
from training.matching import match

__all__ = ["batch_losses", "select", "targets_of"]


def targets_of(batch: Batch) -> Targets:
    """What the prompts of a batch ask for."""
    index = torch.from_numpy(batch.targets)
    things = index.clamp(min=0)
    masks = torch.from_numpy(batch.thing_masks)[things].float() / 255
    return Targets(torch.from_numpy(batch.thing_boxes)[things], masks, index >= 0)


def select(targets: Targets, rows: Tensor) -> Targets:
    """Those of some prompts."""
    return Targets(targets.boxes[rows], targets.masks[rows], targets.exists[rows])


def batch_losses(
    model: Sam3Model, heads: DenseHeads, batch: Batch, fine_pictures: int
) -> dict[str, Tensor]:
    """Every loss of a batch, unweighted, by the names of ``losses.WEIGHTS``.

    Args:
        model: the model.
        heads: the heads of the dense losses.
        batch: with prompts: the detector's losses; without: the dense ones of all levels.
        fine_pictures: the finer feature levels, and the masks of prompts, are learned on so many
            pictures, the first ones.
    """
    inputs, truth = Inputs.of(batch), DenseTruth.of(batch)
    if not len(batch.prompt_picture):
        with mixed_precision():
            hidden = features(model, inputs.pixels)
            losses = heads.loss(2, level(model, hidden, 2), truth)
            some, few = hidden[:fine_pictures], truth.first(fine_pictures)
            for number in (0, 1):
                fine = heads.loss(number, level(model, some, number), few)
                # By their share of the pictures: else their noise would lead.
                share = fine_pictures / len(hidden)
                losses |= {name: share * loss for name, loss in fine.items()}
            return losses
    targets = targets_of(batch)
    with mixed_precision():
        hidden = features(model, inputs.pixels)
        fpn_2 = level(model, hidden, 2)
        found = detect(model, inputs, fpn_2)
    matched = match(found.logits.detach(), found.boxes.detach(), targets.boxes, targets.exists)
    losses = detection_losses(found, targets, matched)
    losses["memory"] = memory_loss(heads, found.memory, targets)
    dense = heads.loss(2, fpn_2.float(), truth)
    losses["dense"] = torch.stack(list(dense.values())).sum()

    (rows,) = torch.where((inputs.picture < fine_pictures) & targets.present)
    if len(rows):
        with mixed_precision():
            some = hidden[:fine_pictures]
            levels3 = level(model, some, 0), level(model, some, 1), fpn_2[:fine_pictures]
            queries = matched[-1, rows].clamp(min=0)
            masks = draw_masks(model, found, levels3, rows, inputs.picture[rows], queries)
        losses |= mask_losses(masks, select(targets, rows))
    return losses
