"""Figures that the log shows during training, from scenes kept aside.

They are quick and made by PyTorch on the mask grid. What counts in the end is
``sam3-tvm evaluate``: on the compiled model, at the pictures' own size.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from tokenizers import Tokenizer
from transformers.models.sam3.modeling_sam3 import Sam3Model

from training.batches import Batch, collate
from training.forward import Inputs, detect, draw_masks, features, level, mixed_precision
from training.model import IMAGE, MASK_GRID, TOKENS
from training.samples import KINDS, evaluation_prompts
from training.scenes import draw_scene
from training.step import targets_of

__all__ = ["validate", "validation_batches"]

_SEED = 20261123


def validation_batches(tokenizer: str, scenes: int) -> list[Batch]:
    """Scenes with held-out kinds and their prompts, in batches of some ten pictures."""
    rules = Tokenizer.from_str(tokenizer)
    batches = []
    for start in range(0, scenes, 10):
        rng = np.random.default_rng([_SEED, start])
        drawn = [draw_scene(rng, IMAGE, held_out=True) for _ in range(min(10, scenes - start))]
        prompts = [evaluation_prompts(scene, rng) for scene in drawn]
        batches.append(collate(drawn, prompts, rules, IMAGE, MASK_GRID, TOKENS))
    return batches


def _pairs(predicted: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> list[float]:
    """IoU of masks that belong together; only those of 0.5 or more. bool [N, G, G] each."""
    if not len(predicted) or not len(wanted):
        return []
    a, b = predicted.reshape(len(predicted), 1, -1), wanted.reshape(1, len(wanted), -1)
    iou = (a & b).sum(-1) / np.maximum(1, (a | b).sum(-1))
    rows, columns = linear_sum_assignment(-iou)
    return [float(v) for v in iou[rows, columns] if v >= 0.5]


@torch.no_grad()
def validate(
    model: Sam3Model, batches: list[Batch], threshold: float = 0.5, reduced: bool = True
) -> dict[str, float]:
    """Figures on the given batches.

    Args:
        model: the model.
        batches: from :func:`validation_batches`.
        threshold: a query counts from this score on.
        reduced: whether to compute in bfloat16 where that is safe, as training does.

    Returns:
        "iou": mean IoU of matched masks; "absent": share of absent prompts without any
        answer; "f1_<kind>": F1 of instances at IoU 0.5, for each kind of prompt there is, and
        "f1": over all of them. From 0 to 1.
    """
    ious: list[float] = []
    counts = {kind: np.zeros(3) for kind in KINDS}  # right, predicted, wanted
    silent: list[bool] = []
    for batch in batches:
        inputs, targets = Inputs.of(batch), targets_of(batch)
        with mixed_precision(reduced):
            hidden = features(model, inputs.pixels)
            levels = level(model, hidden, 0), level(model, hidden, 1), level(model, hidden, 2)
            found = detect(model, inputs, levels[2])
        scores = found.logits[-1].sigmoid() * found.presence[-1].sigmoid()[:, None]
        for row, kept in enumerate(scores > threshold):
            kind = KINDS[batch.prompt_kind[row]]
            if kind == "absent":
                silent.append(not bool(kept.any()))
                continue
            (queries,) = torch.where(kept)
            wanted = (targets.masks[row][targets.exists[row]] >= 0.5).numpy()
            predicted = np.zeros((0, *wanted.shape[1:]), bool)
            if len(queries):
                one = torch.tensor([row])
                with mixed_precision(reduced):
                    masks = draw_masks(
                        model, found, levels, one, inputs.picture[one], queries[None]
                    )
                predicted = (masks.instances[0] > 0).numpy()
            right = _pairs(predicted, wanted)
            ious += right
            counts[kind] += len(right), len(predicted), len(wanted)

    def f1(right: float, predicted: float, wanted: float) -> float:
        return 2 * right / max(1.0, predicted + wanted)

    figures = {"f1": f1(*sum(counts.values(), np.zeros(3)))}
    figures |= {f"f1_{kind}": f1(*c) for kind, c in counts.items() if c.any()}
    figures["iou"] = float(np.mean(ious)) if ious else 0.0
    figures["absent"] = float(np.mean(silent)) if silent else 0.0
    return figures
