"""The detector of transformers' ``Sam3Model``, unmodified, cut into components."""

from __future__ import annotations

import torch
import transformers.models.sam3.modeling_sam3 as modeling_sam3
from transformers.models.sam3.modeling_sam3 import Sam3Model

from sam3_tvm.sizes import Sizes
from sam3_tvm.sources.patches import IntegerShapes

__all__ = [
    "DetrDecoder",
    "DetrEncoder",
    "GeometryEncoder",
    "MaskDecoder",
    "ResizeMasks",
    "Scoring",
    "TextEncoder",
    "VisionEncoder",
]


def _position_encoding(model: Sam3Model, sizes: Sizes) -> torch.Tensor:
    """The constant position encoding of the coarsest level, ``[1, D, S, S]``."""
    shape = torch.Size((1, sizes.hidden, sizes.grid, sizes.grid))
    encoding: torch.Tensor = model.vision_encoder.neck.position_encoding(
        shape, torch.device("cpu"), torch.float32
    )
    return encoding


class VisionEncoder(torch.nn.Module):
    """A picture's features at three scales, and the backbone's where clicks take them."""

    def __init__(self, model: Sam3Model, backbone: bool) -> None:
        super().__init__()
        self.vision_encoder = model.vision_encoder
        self.backbone = backbone

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        out = self.vision_encoder(pixel_values)
        # The fourth, coarsest level is computed by the neck and used by nobody.
        fpn = tuple(out.fpn_hidden_states[:3])
        return (*fpn, out.last_hidden_state) if self.backbone else fpn


class TextEncoder(torch.nn.Module):
    """A phrase's features."""

    def __init__(self, model: Sam3Model) -> None:
        super().__init__()
        self.text_encoder = model.text_encoder
        self.text_projection = model.text_projection

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask)
        projected: torch.Tensor = self.text_projection(hidden.last_hidden_state)
        return projected


class _WithPosition(torch.nn.Module):
    """A component that needs the coarsest level's position encoding."""

    position: torch.Tensor

    def __init__(self, model: Sam3Model, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.register_buffer("position", _position_encoding(model, sizes), persistent=False)

    def position_map(self, batch: int) -> torch.Tensor:
        return self.position.expand(batch, -1, -1, -1)


class GeometryEncoder(_WithPosition):
    """Boxes' features, and which of them count."""

    def __init__(self, model: Sam3Model, sizes: Sizes) -> None:
        super().__init__(model, sizes)
        self.geometry_encoder = model.geometry_encoder

    def forward(
        self,
        boxes: torch.Tensor,
        box_labels: torch.Tensor,
        box_mask: torch.Tensor,
        fpn_2: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        out = self.geometry_encoder(
            box_embeddings=boxes,
            box_mask=box_mask,
            box_labels=box_labels,
            img_feats=(fpn_2,),
            img_pos_embeds=(self.position_map(fpn_2.shape[0]),),
        )
        return out.last_hidden_state, out.attention_mask


class DetrEncoder(_WithPosition):
    """The coarsest features, having looked at the prompt."""

    def __init__(self, model: Sam3Model, sizes: Sizes) -> None:
        super().__init__(model, sizes)
        self.detr_encoder = model.detr_encoder

    def forward(
        self, fpn_2: torch.Tensor, prompt: torch.Tensor, prompt_mask: torch.Tensor
    ) -> torch.Tensor:
        out = self.detr_encoder(
            vision_features=[fpn_2],
            text_features=prompt,
            vision_pos_embeds=[self.position_map(fpn_2.shape[0])],
            text_mask=prompt_mask,
        )
        hidden: torch.Tensor = out.last_hidden_state
        return hidden


class DetrDecoder(_WithPosition):
    """The last layer's queries, their boxes, and whether there is any object."""

    def __init__(self, model: Sam3Model, sizes: Sizes) -> None:
        super().__init__(model, sizes)
        self.detr_decoder = model.detr_decoder

    def forward(
        self, memory: torch.Tensor, prompt: torch.Tensor, prompt_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        position = self.position_map(memory.shape[0]).flatten(2).transpose(1, 2)
        out = self.detr_decoder(
            vision_features=memory,
            text_features=prompt,
            vision_pos_encoding=position,
            text_mask=prompt_mask,
            spatial_shapes=IntegerShapes(self.sizes.grid, self.sizes.grid),
        )
        queries = out.intermediate_hidden_states[-1]
        # Sam3Model.forward refines the last layer's boxes once more with the shared head.
        anchors = modeling_sam3.inverse_sigmoid(out.reference_boxes[-1])
        boxes = (anchors + self.detr_decoder.box_head(queries)).sigmoid()
        return queries, boxes, out.presence_logits[-1]


class Scoring(torch.nn.Module):
    """Logits of how well queries fit the prompt."""

    def __init__(self, model: Sam3Model) -> None:
        super().__init__()
        self.dot_product_scoring = model.dot_product_scoring

    def forward(
        self, queries: torch.Tensor, prompt: torch.Tensor, prompt_mask: torch.Tensor
    ) -> torch.Tensor:
        scores: torch.Tensor = self.dot_product_scoring(
            decoder_hidden_states=queries[None], text_features=prompt, text_mask=prompt_mask
        )
        return scores[0, :, :, 0]


class MaskDecoder(torch.nn.Module):
    """Logits of the queries' masks, and of the prompt's as one."""

    def __init__(self, model: Sam3Model) -> None:
        super().__init__()
        self.mask_decoder = model.mask_decoder

    def forward(
        self,
        queries: torch.Tensor,
        fpn_0: torch.Tensor,
        fpn_1: torch.Tensor,
        fpn_2: torch.Tensor,
        memory: torch.Tensor,
        prompt: torch.Tensor,
        prompt_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        out = self.mask_decoder(
            decoder_queries=queries,
            backbone_features=[fpn_0, fpn_1, fpn_2],
            encoder_hidden_states=memory,
            prompt_features=prompt,
            prompt_mask=prompt_mask,
        )
        return out.pred_masks, out.semantic_seg


class ResizeMasks(torch.nn.Module):
    """Mask logits to the picture's size, as transformers' post-processing does it."""

    def forward(self, masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        resized = torch.nn.functional.interpolate(
            masks.sigmoid()[None], size=size, mode="bilinear", align_corners=False
        )
        return resized[0] > 0.5
