"""What each position of a feature map lies on: supervision that needs no detector.

A detector of random features sits on a plateau: no query finds anything, so none is told what
would be better. Positions that know their thing's colour, shape, centre and extent break it.
The heads are for training only and are not exported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.batches import Batch
from training.colours import COLOURS
from training.losses import Targets
from training.scenes import SIZES
from training.shapes import SHAPES

__all__ = ["DenseHeads", "DenseTruth", "memory_loss"]

_BLOCKS = 8
_PARTS = (len(COLOURS) + 1, len(SHAPES) + 1, len(SIZES) + 1, 3, 4, _BLOCKS**2)


# What each counts. Shapes are the hardest to tell, and would drown in the noise of the others.
_KINDS = {"colour": 1.0, "shape": 3.0, "size": 1.0, "filled": 1.0}


@dataclass(frozen=True)
class DenseTruth:
    """What B pictures hold at each of the G x G cells of the mask grid.

    Attributes:
        thing: the thing of each cell (index of the batch) or -1; int64 [B, G, G].
        attributes: colour, shape, size, filled of the batch's things; int64 [N, 4].
        boxes: cx, cy, w, h; [N, 4].
        outlines: each thing within its box, covered parts of 8 x 8 blocks; [N, 64].
    """

    thing: Tensor
    attributes: Tensor
    boxes: Tensor
    outlines: Tensor

    @classmethod
    def of(cls, batch: Batch) -> DenseTruth:
        """From a batch."""
        masks = torch.from_numpy(batch.thing_masks)
        picture = torch.from_numpy(batch.thing_picture)
        thing = torch.full((len(batch.pixels), *masks.shape[1:]), -1)
        # A picture's things don't overlap: each is its visible part.
        for i, mask in enumerate(masks):
            thing[picture[i]][mask >= 128] = i
        boxes = torch.from_numpy(batch.thing_boxes)
        # 2 x 2 samples in each of a box's blocks.
        steps = (torch.arange(2 * _BLOCKS) + 0.5) / (2 * _BLOCKS) - 0.5
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        places = boxes[:, None, None, :2] + torch.stack([x, y], -1) * boxes[:, None, None, 2:]
        samples = functional.grid_sample(
            masks[:, None].float() / 255, 2 * places - 1, align_corners=False
        )
        outlines = functional.avg_pool2d(samples, 2).flatten(1)
        return cls(thing, torch.from_numpy(batch.thing_attributes), boxes, outlines)

    def first(self, pictures: int) -> DenseTruth:
        """That of the first pictures."""
        return replace(self, thing=self.thing[:pictures])

    def coarse(self, factor: int) -> Tensor:
        """The thing of each block of ``factor`` x ``factor`` cells, int64 [B, G', G'].

        A block belongs to a thing of which any of its four middle cells are part.
        """
        if factor == 1:
            return self.thing
        half = factor // 2
        middle = [
            self.thing[:, half - i :: factor, half - j :: factor] for i in (0, 1) for j in (0, 1)
        ]
        return torch.stack(middle).amax(0)


class DenseHeads(nn.Module):
    """Linear heads on the three feature levels, and on the DETR encoder's memory.

    Args:
        width: channels of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList([nn.Conv2d(width, sum(_PARTS), 1) for _ in range(3)])
        self.memory = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def loss(self, number: int, features: Tensor, truth: DenseTruth) -> dict[str, Tensor]:
        """Losses of feature level ``number`` (0 finest), [B, D, H, W]: numbers by name."""
        thing = truth.coarse(truth.thing.shape[-1] // features.shape[-1])
        found = self.levels[number](features).float().permute(0, 2, 3, 1)
        on_thing = thing >= 0
        # Every thing counts alike, be it small or large, and all together as the background.
        cells = torch.bincount(thing[on_thing], minlength=len(truth.boxes))
        share = 0.5 / (cells > 0).sum() / cells[thing.clamp(min=0)]
        weight = torch.where(on_thing, share, 0.5 / (~on_thing).sum()).flatten()
        *kinds, boxes, outlines = found.split(_PARTS, dim=-1)
        losses = {}
        for i, (name, logits) in enumerate(zip(_KINDS, kinds, strict=True)):
            label = torch.where(on_thing, truth.attributes[thing.clamp(min=0), i] + 1, 0)
            entropy = functional.cross_entropy(
                logits.flatten(0, 2), label.flatten(), reduction="none"
            )
            losses[f"{name}_{number}"] = _KINDS[name] * (entropy * weight).sum()
        own, weight = thing[on_thing], weight[on_thing.flatten()]
        _, y, x = torch.where(on_thing)
        place = (torch.stack([x, y], dim=-1) + 0.5) / features.shape[-1]
        wanted = torch.cat([truth.boxes[own, :2] - place, truth.boxes[own, 2:]], dim=-1)
        distance = (boxes[on_thing] - wanted).abs().sum(-1)
        losses[f"extent_{number}"] = 4 * (distance * weight).sum()
        entropy = functional.binary_cross_entropy_with_logits(
            outlines[on_thing], truth.outlines[own], reduction="none"
        )
        losses[f"outline_{number}"] = 8 * (entropy.mean(-1) * weight).sum()
        return losses


def memory_loss(heads: DenseHeads, memory: Tensor, targets: Targets) -> Tensor:
    """How well each position of the encoder's memory knows whether it is on a target.

    Args:
        heads: the heads.
        memory: [P, S * S, D].
        targets: of the P prompts.
    """
    side = int(memory.shape[1] ** 0.5)
    union = (targets.masks * targets.exists[:, :, None, None]).amax(1)
    wanted = functional.adaptive_avg_pool2d(union, side).flatten(1)
    logits = heads.memory(memory.float()).squeeze(-1)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return 3 * entropy.mean()
