"""Sam3Model's parts in the order of its own forward pass, a picture shared by its prompts.

``Sam3Model.forward`` pairs each prompt with a picture of its own, computes the fine feature
levels even where no mask is wanted, and gives the last decoder layer only. Training wants the
opposite of all three. What each part computes is the same; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import transformers.models.sam3.modeling_sam3 as modeling_sam3
from torch import Tensor
from transformers.models.sam3.modeling_sam3 import Sam3Model

from sam3_tvm.sources.patches import IntegerShapes
from training.batches import Batch
from training.pooling import differentiable_roi_align

__all__ = [
    "Detection",
    "Inputs",
    "Masks",
    "detect",
    "draw_masks",
    "features",
    "level",
    "mixed_precision",
]


@dataclass(frozen=True)
class Inputs:
    """The part of a batch that the model sees, as tensors; see ``Batch``.

    ``pixels`` is float32 [B, 3, H, W] from -1 to 1.
    """

    pixels: Tensor
    picture: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    boxes: Tensor
    box_labels: Tensor

    @classmethod
    def of(cls, batch: Batch) -> Inputs:
        """From a batch."""
        return cls(
            torch.from_numpy(batch.pixels).float() / 127.5 - 1,
            torch.from_numpy(batch.prompt_picture),
            torch.from_numpy(batch.input_ids),
            torch.from_numpy(batch.attention_mask),
            torch.from_numpy(batch.boxes),
            torch.from_numpy(batch.box_labels),
        )


@dataclass(frozen=True)
class Detection:
    """What the detector says of P prompts; L decoder layers, Q queries, S x S positions.

    Attributes:
        prompt: features of phrases and boxes; [P, T, D], ``prompt_mask`` bool [P, T].
        memory: the DETR encoder's result; [P, S * S, D].
        queries: of the last layer; [P, Q, D].
        logits: [L, P, Q].
        boxes: cx, cy, w, h; [L, P, Q, 4].
        presence: logits; [L, P].
    """

    prompt: Tensor
    prompt_mask: Tensor
    memory: Tensor
    queries: Tensor
    logits: Tensor
    boxes: Tensor
    presence: Tensor


@dataclass(frozen=True)
class Masks:
    """Mask logits of chosen queries [P, K, G, G] and of the prompt's concept [P, G, G]."""

    instances: Tensor
    concept: Tensor


@contextmanager
def mixed_precision(enabled: bool = True) -> Iterator[None]:
    """bfloat16 where torch deems it safe."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
        yield


def features(model: Sam3Model, pixels: Tensor) -> Tensor:
    """The vision backbone's result, [B, C, S, S], for :func:`level`."""
    backbone = model.vision_encoder.backbone
    side = pixels.shape[-1] // backbone.config.patch_size
    hidden = backbone(pixels).last_hidden_state
    result: Tensor = hidden.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    return result


def level(model: Sam3Model, hidden: Tensor, number: int) -> Tensor:
    """Feature level 0 (finest, [B, D, 4S, 4S]) to 2 ([B, D, S, S]) of the backbone's result."""
    result: Tensor = model.vision_encoder.neck.fpn_layers[number](hidden)
    return result


def _position(model: Sam3Model, like: Tensor) -> Tensor:
    shape = torch.Size((1, *like.shape[1:]))
    encoding: Tensor = model.vision_encoder.neck.position_encoding(
        shape, torch.device("cpu"), torch.float32
    )
    return encoding.expand(like.shape[0], -1, -1, -1)


def _prompt(model: Sam3Model, inputs: Inputs, fpn_2: Tensor) -> tuple[Tensor, Tensor]:
    """Phrases, followed by boxes where there are any; without boxes no geometry at all."""
    text = model.text_encoder(
        input_ids=inputs.input_ids, attention_mask=inputs.attention_mask.long()
    ).last_hidden_state
    text = model.text_projection(text).float()
    (rows,) = torch.where((inputs.box_labels != -10).any(1))
    if not len(rows):
        return text, inputs.attention_mask
    # Few tokens, and RoIAlign has no bfloat16: all of it in float32.
    chosen = fpn_2[inputs.picture[rows]].float()
    labels = inputs.box_labels[rows]
    with mixed_precision(False), differentiable_roi_align():
        geometry = model.geometry_encoder(
            box_embeddings=inputs.boxes[rows],
            box_mask=labels != -10,
            box_labels=labels.clamp(min=0),
            img_feats=(chosen,),
            img_pos_embeds=(_position(model, chosen),),
        )
    extra = geometry.last_hidden_state
    count = len(text)
    own = text.new_zeros(count, *extra.shape[1:]).index_copy(0, rows, extra)
    own_mask = torch.zeros(count, extra.shape[1], dtype=torch.bool)
    own_mask[rows] = geometry.attention_mask
    return torch.cat([text, own], 1), torch.cat([inputs.attention_mask, own_mask], 1)


def _encode(
    model: Sam3Model, fpn_2: Tensor, picture: Tensor, prompt: Tensor, prompt_mask: Tensor
) -> Tensor:
    out = model.detr_encoder(
        vision_features=[fpn_2[picture]],
        text_features=prompt,
        vision_pos_embeds=[_position(model, fpn_2)[:1].expand(len(picture), -1, -1, -1)],
        text_mask=prompt_mask,
    )
    memory: Tensor = out.last_hidden_state
    return memory


def detect(model: Sam3Model, inputs: Inputs, fpn_2: Tensor) -> Detection:
    """Everything up to boxes and scores.

    Args:
        model: the model.
        inputs: pictures and prompts.
        fpn_2: the coarsest level of the pictures; [B, D, S, S].
    """
    prompt, prompt_mask = _prompt(model, inputs, fpn_2)
    memory = _encode(model, fpn_2, inputs.picture, prompt, prompt_mask)
    side = fpn_2.shape[-1]
    position = _position(model, fpn_2)[:1].flatten(2).transpose(1, 2)
    decoder = model.detr_decoder
    out = decoder(
        vision_features=memory,
        text_features=prompt,
        vision_pos_encoding=position.expand(len(memory), -1, -1),
        text_mask=prompt_mask,
        spatial_shapes=IntegerShapes(side, side),
    )
    hidden = out.intermediate_hidden_states
    anchors = modeling_sam3.inverse_sigmoid(out.reference_boxes)
    logits = model.dot_product_scoring(
        decoder_hidden_states=hidden, text_features=prompt, text_mask=prompt_mask
    )
    return Detection(
        prompt=prompt,
        prompt_mask=prompt_mask,
        memory=memory,
        queries=hidden[-1],
        logits=logits.squeeze(-1).float(),
        boxes=(anchors + decoder.box_head(hidden)).sigmoid().float(),
        presence=out.presence_logits.squeeze(-1).float(),
    )


def draw_masks(
    model: Sam3Model,
    found: Detection,
    levels: tuple[Tensor, Tensor, Tensor],
    rows: Tensor,
    picture: Tensor,
    queries: Tensor,
) -> Masks:
    """Masks of some prompts and queries.

    Args:
        model: the model.
        found: what :func:`detect` gave.
        levels: feature levels 0, 1, 2 of pictures.
        rows: the prompts that masks are wanted for; int64 [R].
        picture: the place in ``levels`` of each one's picture; int64 [R].
        queries: the queries that masks are wanted for; int64 [R, K].
    """
    chosen = found.queries[rows].gather(
        1, queries[:, :, None].expand(-1, -1, found.queries.shape[-1])
    )
    out = model.mask_decoder(
        decoder_queries=chosen,
        backbone_features=[features[picture] for features in levels],
        encoder_hidden_states=found.memory[rows],
        prompt_features=found.prompt[rows],
        prompt_mask=found.prompt_mask[rows],
    )
    return Masks(out.pred_masks.float(), out.semantic_seg[:, 0].float())
