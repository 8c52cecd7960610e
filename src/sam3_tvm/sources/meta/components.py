"""The ABI's components as modules over Meta's own, which are called as ``Sam3Image`` calls them.

Meta's modules take sequences first, the ABI takes batches first; Meta's masks say True where a
value is padding, the ABI's where it counts. What differs beyond that is an argument: spatial
shapes as integers (:class:`~sam3_tvm.sources.patches.IntegerShapes`), and image numbers that take
every picture as it comes (:class:`_EveryImage`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from sam3_tvm.sizes import Sizes
from sam3_tvm.sources.patches import IntegerShapes

__all__ = ["COMPONENTS"]


def _sequence_first(features: torch.Tensor) -> torch.Tensor:
    """``[B, D, S, S]`` to ``[S * S, B, D]``."""
    return features.flatten(2).permute(2, 0, 1)


class _EveryImage:
    """Stands for the image numbers ``0..B - 1``: features indexed with it are left whole."""

    def to(self, device: torch.device) -> slice:
        return slice(None)


class _VisionEncoder(torch.nn.Module):
    """A picture to features, and where the tracker is wanted, to what its neck takes, too."""

    def __init__(self, model: Any, sizes: Sizes) -> None:
        super().__init__()
        self.tracked = sizes.clicks is not None
        self.vision_backbone = model.backbone.vision_backbone
        # A bound method, without making the text encoder a child of this module, too.
        self.forward_image = model.backbone.forward_image

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        trunk, seen = self.vision_backbone.trunk, []
        # Removes itself.
        with trunk.register_forward_hook(lambda *call: seen.append(call[2][-1])):
            features = tuple(self.forward_image(pixel_values)["backbone_fpn"])
        return (*features, seen[0].flatten(2).transpose(1, 2)) if self.tracked else features


class _TextEncoder(torch.nn.Module):
    def __init__(self, model: Any, sizes: Sizes) -> None:
        super().__init__()
        self.encoder = model.backbone.language_backbone.encoder
        self.resizer = model.backbone.language_backbone.resizer

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        # The mask is for those who read the result: the encoder itself is causal.
        _, tokens = self.encoder(input_ids)
        features: torch.Tensor = self.resizer(tokens)
        return features


class _WithPosition(torch.nn.Module):
    """A component that needs the coarsest level's position encoding, ``[S * S, B, D]``."""

    position: torch.Tensor

    def __init__(self, model: Any, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        encoding = model.backbone.vision_backbone.position_encoding
        position = encoding(torch.zeros(1, 1, sizes.grid, sizes.grid))
        self.register_buffer("position", _sequence_first(position), persistent=False)

    def positions(self, batch: int) -> torch.Tensor:
        return self.position.expand(-1, batch, -1)


class _GeometryEncoder(_WithPosition):
    def __init__(self, model: Any, sizes: Sizes) -> None:
        super().__init__(model, sizes)
        from sam3.model.geometry_encoders import Prompt

        self.geometry_encoder = model.geometry_encoder
        self.make_prompt = Prompt

    def forward(
        self,
        boxes: torch.Tensor,
        box_labels: torch.Tensor,
        box_mask: torch.Tensor,
        points: torch.Tensor,
        point_labels: torch.Tensor,
        point_mask: torch.Tensor,
        fpn_2: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        prompt = self.make_prompt(
            box_embeddings=boxes.transpose(0, 1),
            box_labels=box_labels.transpose(0, 1),
            box_mask=~box_mask,
            point_embeddings=points.transpose(0, 1),
            point_labels=point_labels.transpose(0, 1),
            point_mask=~point_mask,
        )
        features, padding = self.geometry_encoder(
            geo_prompt=prompt,
            img_feats=[_sequence_first(fpn_2)],
            img_sizes=[(self.sizes.grid, self.sizes.grid)],
            img_pos_embeds=[self.positions(fpn_2.shape[0])],
        )
        return features.transpose(0, 1), ~padding


class _GeometryWithoutPoints(torch.nn.Module):
    """For weights that have no layers for points."""

    def __init__(self, model: Any, sizes: Sizes) -> None:
        super().__init__()
        self.whole = _GeometryEncoder(model, sizes)

    def forward(
        self,
        boxes: torch.Tensor,
        box_labels: torch.Tensor,
        box_mask: torch.Tensor,
        fpn_2: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        batch = boxes.shape[0]
        points = (boxes.new_zeros(batch, 0, 2), box_labels[:, :0], box_mask[:, :0])
        features: tuple[torch.Tensor, torch.Tensor]
        features = self.whole(boxes, box_labels, box_mask, *points, fpn_2)
        return features


class _DetrEncoder(_WithPosition):
    def __init__(self, model: Any, sizes: Sizes) -> None:
        super().__init__(model, sizes)
        self.encoder = model.transformer.encoder

    def forward(
        self, fpn_2: torch.Tensor, prompt: torch.Tensor, prompt_mask: torch.Tensor
    ) -> torch.Tensor:
        sequence = prompt.transpose(0, 1)
        out = self.encoder(
            src=[_sequence_first(fpn_2)],
            src_key_padding_mask=None,
            src_pos=[self.positions(fpn_2.shape[0])],
            prompt=sequence,
            prompt_pos=torch.zeros_like(sequence),
            prompt_key_padding_mask=~prompt_mask,
            feat_sizes=[(self.sizes.grid, self.sizes.grid)],
        )
        memory: torch.Tensor = out["memory"]
        return memory.transpose(0, 1)


class _DetrDecoder(_WithPosition):
    def __init__(self, model: Any, sizes: Sizes) -> None:
        super().__init__(model, sizes)
        self.decoder = model.transformer.decoder
        self.dot_prod_scoring = model.dot_prod_scoring
        # A bound method of the model, without making the whole model a child of this module.
        self.run_decoder = model._run_decoder

    def forward(
        self, memory: torch.Tensor, prompt: torch.Tensor, prompt_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        batch = memory.shape[0]
        levels = {
            "level_start_index": None,
            "spatial_shapes": IntegerShapes(self.sizes.grid, self.sizes.grid),
            "valid_ratios": torch.ones(batch, 1, 2),
        }
        out, _ = self.run_decoder(
            pos_embed=self.positions(batch),
            memory=memory.transpose(0, 1),
            src_mask=None,
            out={},
            prompt=prompt.transpose(0, 1),
            prompt_mask=~prompt_mask,
            encoder_out=levels,
        )
        return out["queries"], out["pred_boxes"], out["presence_logit_dec"]


class _Scoring(torch.nn.Module):
    def __init__(self, model: Any, sizes: Sizes) -> None:
        super().__init__()
        self.dot_prod_scoring = model.dot_prod_scoring

    def forward(
        self, queries: torch.Tensor, prompt: torch.Tensor, prompt_mask: torch.Tensor
    ) -> torch.Tensor:
        logits: torch.Tensor = self.dot_prod_scoring(
            queries[None], prompt.transpose(0, 1), ~prompt_mask
        )
        return logits[0, :, :, 0]


class _MaskDecoder(torch.nn.Module):
    def __init__(self, model: Any, sizes: Sizes) -> None:
        super().__init__()
        self.segmentation_head = model.segmentation_head

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
        out = self.segmentation_head(
            backbone_feats=[fpn_0, fpn_1, fpn_2],
            obj_queries=queries[None],
            image_ids=_EveryImage(),
            encoder_hidden_states=memory.transpose(0, 1),
            prompt=prompt.transpose(0, 1),
            prompt_mask=~prompt_mask,
        )
        return out["pred_masks"], out["semantic_seg"]


class _ResizeMasks(torch.nn.Module):
    """Mask logits to the picture's size, as ``Sam3Processor`` does it."""

    def __init__(self, model: Any, sizes: Sizes) -> None:
        super().__init__()

    def forward(self, masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        resized = torch.nn.functional.interpolate(
            masks[:, None], size=size, mode="bilinear", align_corners=False
        )
        return resized[:, 0].sigmoid() > 0.5


COMPONENTS: dict[str, Callable[[Any, Sizes], torch.nn.Module]] = {
    "vision_encoder": _VisionEncoder,
    "text_encoder": _TextEncoder,
    "geometry_encoder": lambda model, sizes: (
        _GeometryEncoder(model, sizes) if sizes.points else _GeometryWithoutPoints(model, sizes)
    ),
    "detr_encoder": _DetrEncoder,
    "detr_decoder": _DetrDecoder,
    "scoring": _Scoring,
    "mask_decoder": _MaskDecoder,
    "resize_masks": _ResizeMasks,
}
"""Makes each component of a ``Sam3Image`` of given sizes, inside ``meta_environment``."""
