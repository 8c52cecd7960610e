"""The tracker on clips, with gradients: the modules that are compiled, called as a film calls them.

All objects of a batch are passed together, frame by frame. The rules are those of the runtime
(``runtime/video``) for the configuration of :mod:`training.tracking.model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoModel,
)

from sam3_tvm.sources.huggingface.clicks import ClickDecoder, PromptEncoder
from sam3_tvm.sources.huggingface.video import (
    EnlargeMasks,
    MemoryAttention,
    MemoryEncoder,
    ShownMask,
    WithoutMemory,
    video_rules,
)
from training.tracking.batches import ClipBatch

__all__ = ["Answer", "Levels", "Passage", "backbone_features"]

_THERE = 10.0  # the logit of an object that is shown


@dataclass(frozen=True)
class Levels:
    """Features of F frames: [F, D / 8, 4S, 4S], [F, D / 4, 2S, 2S] and [F, D, S, S]."""

    fine: Tensor
    middle: Tensor
    coarse: Tensor

    def of(self, rows: Tensor) -> Levels:
        """Those of some frames."""
        return Levels(self.fine[rows], self.middle[rows], self.coarse[rows])


@dataclass(frozen=True)
class Answer:
    """What the decoder says of N objects on a frame: all masks that it proposes, [N, 4, 4S, 4S],
    their predicted IoU [N, 4], logits that the objects are there [N], and whether they were
    shown on this frame."""

    masks: Tensor
    iou: Tensor
    there: Tensor
    prompted: bool


def backbone_features(tracker: Sam3TrackerVideoModel, pixels: Tensor) -> Tensor:
    """The frozen backbone's result, [F, C, S, S], of pixels from -1 to 1, [F, 3, I, I]."""
    backbone = tracker.vision_encoder.backbone
    side = pixels.shape[-1] // backbone.config.patch_size
    with torch.no_grad():
        hidden: Tensor = backbone(pixels).last_hidden_state
    return hidden.unflatten(1, (side, side)).permute(0, 3, 1, 2)


def _folded(scaled: Tensor, first: nn.Conv2d, second: nn.Conv2d, last: nn.Conv2d) -> Tensor:
    """Three convolutions (1 x 1, 3 x 3, 1 x 1) without anything between them, as one.

    The last has few outputs: this takes some twentieth of the products. The first one's bias is
    the weight of a further input of ones, as the second pads what it has been added to.
    """
    ones = torch.ones_like(scaled[:, :1])
    entering = torch.cat([first.weight[:, :, 0, 0], first.bias[:, None]], 1)
    leaving = last.weight[:, :, 0, 0]
    weight = torch.einsum("om,mnyx,ni->oiyx", leaving, second.weight, entering)
    bias = leaving @ second.bias + last.bias
    return functional.conv2d(torch.cat([scaled, ones], 1), weight, bias, padding=1)


@dataclass
class _Remembered:
    """A frame that was passed.

    Attributes:
        frame: its number.
        memory: [N, S * S, C].
        pointer: [N, D].
        shown: whether each object was shown on it; bool [N].
    """

    frame: int
    memory: Tensor
    pointer: Tensor
    shown: Tensor


class Passage:
    """Passes clips through a tracker.

    Args:
        tracker: in evaluation mode, in which it chooses masks as it does in use.
    """

    def __init__(self, tracker: Sam3TrackerVideoModel) -> None:
        self._tracker = tracker
        self._rules = video_rules(tracker)
        self._prompts = PromptEncoder(tracker)
        self._decoder = ClickDecoder(tracker, tracker)
        self._without_memory = WithoutMemory(tracker)
        self._attention = MemoryAttention(tracker)
        self._enlarge = EnlargeMasks(tracker)
        self._shown = ShownMask(tracker)
        self._memory = MemoryEncoder(tracker)

    def levels(self, backbone: Tensor) -> Levels:
        """What the tracker's neck makes of the backbone's features, [F, C, S, S]."""
        neck, decoder = self._tracker.vision_encoder.neck, self._tracker.mask_decoder
        found = []
        lasts = (decoder.conv_s0, decoder.conv_s1)
        for layer, last in zip(neck.fpn_layers[:2], lasts, strict=True):
            scaled = backbone
            for part in layer.scale_layers:
                scaled = part(scaled)
            found.append(_folded(scaled, layer.proj1, layer.proj2, last))
        return Levels(found[0], found[1], neck.fpn_layers[2](backbone))

    def _levels(self, batch: ClipBatch) -> Levels:
        pixels = torch.from_numpy(batch.pixels).flatten(0, 1).float() / 127.5 - 1
        return self.levels(backbone_features(self._tracker, pixels))

    def __call__(self, batch: ClipBatch) -> list[Answer]:
        """The answers on each frame of a batch of clips."""
        frames = batch.pixels.shape[1]
        levels, clip = self._levels(batch), torch.from_numpy(batch.clip)
        answers: list[Answer] = []
        passed: list[_Remembered] = []
        for frame in range(frames):
            own = levels.of(clip * frames + frame)
            shown = torch.full((len(clip),), frame in (0, batch.again))
            if frame == 0:
                answer, mask, pointer = self._show(own, batch)
            else:
                answer, mask, pointer = self._track(own, passed, frame)
            if 0 < frame == batch.again:
                _, mask = self._taken(batch, frame)
            answers.append(answer)
            if frame + 1 < frames:
                there = torch.where(shown, _THERE, answer.there)
                memory = self._memory(own.coarse, mask, there[:, None], shown)
                passed.append(_Remembered(frame, memory, pointer, shown))
        return answers

    def correct(self, batch: ClipBatch) -> tuple[Answer, Answer]:
        """The answers on pictures, and those with a click where the first went most wrong."""
        own = self._levels(batch).of(torch.from_numpy(batch.clip))
        first, _, _ = self._show(own, batch)
        wanted = torch.from_numpy(batch.masks[:, 0]).float()[:, None] / 255
        guess = first.masks[:, :1].detach()
        wrong = functional.avg_pool2d((guess.sigmoid() - wanted).abs(), 5, 1, 2)
        place = wrong.flatten(1).argmax(1)
        side = wanted.shape[-1]
        point = torch.stack([place % side + 0.5, place // side + 0.5], 1) / side
        label = (wanted.flatten(1).gather(1, place[:, None]) >= 0.5).long()
        points, labels = point[:, None], label
        if batch.kind != "mask":
            points = torch.cat([torch.from_numpy(batch.points), points], 1)
            labels = torch.cat([torch.from_numpy(batch.labels), labels], 1)
        given = torch.ones(len(points), dtype=torch.bool)
        sparse, dense = self._prompts(points, labels, guess, given)
        second, _ = self._decode(own, self._without_memory(own.coarse), sparse, dense, True)
        return first, second

    def _taken(self, batch: ClipBatch, frame: int) -> tuple[Tensor, Tensor]:
        """Masks that show objects, for the prompt encoder and for memories."""
        side = self._tracker.image_size
        rough = torch.from_numpy(batch.shown[:, frame]).float()[:, None]
        prior, _, enlarged = self._shown(
            functional.interpolate(rough, (side, side), mode="bilinear", align_corners=False)
        )
        return prior, enlarged

    def _show(self, own: Levels, batch: ClipBatch) -> tuple[Answer, Tensor, Tensor]:
        if batch.kind == "mask":
            prior, mask = self._taken(batch, 0)
            sparse, dense = self._nothing(len(prior), prior)
            answer, pointers = self._decode(own, own.coarse, sparse, dense, True)
            return answer, mask, _chosen(pointers, _best(answer))
        points, labels = torch.from_numpy(batch.points), torch.from_numpy(batch.labels)
        sparse, dense = self._prompts(points, labels, *self._no_mask(len(points)))
        answer, pointers = self._decode(own, self._without_memory(own.coarse), sparse, dense, True)
        least, most = self._rules.multimask_points
        chosen = torch.zeros(len(points), dtype=torch.long)
        if least <= points.shape[1] <= most:
            chosen = _best(answer)
        return answer, self._kept(answer, chosen), _chosen(pointers, chosen)

    def _track(
        self, own: Levels, passed: Sequence[_Remembered], frame: int
    ) -> tuple[Answer, Tensor, Tensor]:
        first, *rest = passed
        kept = [first, *(one for one in rest if self._looked_at(one, frame))]
        ages = [torch.where(one.shown, 0, frame - one.frame) for one in kept]
        oldest = self._rules.pointer_frames - 1
        offsets = torch.tensor([frame - one.frame for one in passed]) / oldest
        conditioned = self._attention(
            own.coarse,
            torch.stack([one.memory for one in kept], 1),
            torch.stack(ages, 1),
            torch.stack([one.pointer for one in passed], 1),
            offsets.expand(len(own.coarse), -1),
        )
        sparse, dense = self._nothing(len(own.coarse))
        answer, pointers = self._decode(own, conditioned, sparse, dense, False)
        first_mask = torch.zeros(len(own.coarse), dtype=torch.long)
        return answer, self._kept(answer, first_mask), _chosen(pointers, first_mask)

    def _looked_at(self, one: _Remembered, frame: int) -> bool:
        return bool(one.shown.any()) or frame - one.frame <= self._rules.last_frames

    def _no_mask(self, count: int) -> tuple[Tensor, Tensor]:
        side = self._tracker.prompt_encoder.mask_input_size[0]
        return torch.zeros(count, 1, side, side), torch.zeros(count, dtype=torch.bool)

    def _nothing(self, count: int, prior: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """An empty prompt, with a mask or without."""
        masks, given = self._no_mask(count)
        if prior is not None:
            masks, given = prior, ~given
        points = torch.zeros(count, 1, 2)
        found: tuple[Tensor, Tensor] = self._prompts(
            points, torch.full((count, 1), -1), masks, given
        )
        return found

    def _decode(
        self, own: Levels, conditioned: Tensor, sparse: Tensor, dense: Tensor, prompted: bool
    ) -> tuple[Answer, Tensor]:
        masks, iou, there, pointers = self._decoder(
            own.fine, own.middle, conditioned, sparse, dense
        )
        return Answer(masks, iou, there[:, 0], prompted), pointers

    def _kept(self, answer: Answer, chosen: Tensor) -> Tensor:
        """The masks from which memories are made."""
        mask = _chosen(answer.masks, chosen)[:, None]
        absent = answer.there[:, None, None, None] <= 0
        enlarged: Tensor = self._enlarge(torch.where(absent, self._rules.absent_logit, mask))
        return enlarged


def _best(answer: Answer) -> Tensor:
    """The mask of the highest predicted IoU, of all but the first."""
    return 1 + answer.iou[:, 1:].argmax(1)


def _chosen(values: Tensor, index: Tensor) -> Tensor:
    return values[torch.arange(len(index)), index]
