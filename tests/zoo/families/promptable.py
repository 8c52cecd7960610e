"""Promptable segmentation: SAM to SAM 3, whole and in parts, with the trackers' memory."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from sam3_tvm.sources.huggingface.patches import patched
from sam3_tvm.sources.patches import IntegerShapes
from tests.zoo.entry import Entry, Input, drawn, features, flags, image, integers, model, tokens

__all__ = ["ENTRIES"]

_TRANSFORMERS = "transformers.models"


def _part(family: str, cls: str, config: str, **settings: Any) -> Callable[[], torch.nn.Module]:
    """Builds a part of a model that has no configuration class attached."""

    def build() -> torch.nn.Module:
        configs = importlib.import_module(f"{_TRANSFORMERS}.{family}.configuration_{family}")
        models = importlib.import_module(f"{_TRANSFORMERS}.{family}.modeling_{family}")
        return getattr(models, cls)(getattr(configs, config)(**settings))

    return build


class _Adapter(torch.nn.Module):
    """Gives a module its tensors in the structure that it takes."""

    def __init__(self, module: torch.nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.module = module
        self.call = call

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.call(self.module, *inputs)


def _adapted(
    build: Callable[[], torch.nn.Module], call: Callable[..., Any]
) -> Callable[[], torch.nn.Module]:
    return lambda: _Adapter(build(), call)


_SAM = {
    "vision_config": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "mlp_dim": 48,
        "output_channels": 16,
        "image_size": 64,
        "patch_size": 8,
        "window_size": 3,
        "global_attn_indexes": [1],
        "num_pos_feats": 8,
        "use_rel_pos": True,
    },
    "prompt_encoder_config": {
        "hidden_size": 16,
        "image_size": 64,
        "patch_size": 8,
        "mask_input_channels": 8,
        "image_embedding_size": 8,
    },
    "mask_decoder_config": {
        "hidden_size": 16,
        "mlp_dim": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
    },
}
_HIERA = {
    "model_type": "sam2_hiera_det_model",
    "hidden_size": 8,
    "image_size": [64, 64],
    "blocks_per_stage": [1, 2, 2, 1],
    "embed_dim_per_stage": [8, 16, 32, 64],
    "num_attention_heads_per_stage": [1, 2, 2, 4],
    "window_size_per_stage": [4, 4, 2, 2],
    "global_attention_blocks": [4],
    "window_positional_embedding_background_size": [4, 4],
}
_SAM2 = {
    "vision_config": {
        "backbone_config": _HIERA,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 32,
    },
    "prompt_encoder_config": {
        "hidden_size": 32,
        "image_size": 64,
        "patch_size": 16,
        "mask_input_channels": 8,
    },
    "mask_decoder_config": {
        "hidden_size": 32,
        "mlp_dim": 24,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
    },
}
_EDGE = {
    **{key: _SAM2[key] for key in ("prompt_encoder_config", "mask_decoder_config")},
    "vision_config": {
        "backbone_config": {
            "model_type": "resnet",
            "embedding_size": 8,
            "hidden_sizes": [8, 16, 24, 32],
            "depths": [1, 1, 1, 1],
            "layer_type": "basic",
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
        },
        "backbone_channel_list": [32, 24, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 32,
    },
}
_POINTS = {
    "pixel_values": image(64),
    "input_points": Input(lambda b, g: 64 * torch.rand((b, 1, 2, 2), generator=g)),
    "input_labels": integers(0, 2, 1, 2),
}
_BOXES = {
    "pixel_values": image(64),
    "input_boxes": Input(
        lambda b, g: torch.rand((b, 1, 4), generator=g) * 32 + torch.tensor([0.0, 0.0, 32.0, 32.0])
    ),
}
_MASKS = {
    "pixel_values": image(64),
    "input_masks": drawn(1, 16, 16),
}

_VIT3 = {
    "model_type": "sam3_vit_model",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 7,
    "window_size": 4,
    "global_attn_indexes": [2],
    "pretrain_image_size": 28,
}
_VISION3 = {
    "backbone_config": _VIT3,
    "fpn_hidden_size": 32,
    "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
}
_DETR3 = {
    "hidden_size": 32,
    "num_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
_TEXT3 = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "projection_dim": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 8,
    "eos_token_id": 3,
    "bos_token_id": 2,
    "pad_token_id": 1,
}
_MASKS3 = {"hidden_size": 32, "num_attention_heads": 4, "num_upsampling_stages": 2}
_PHRASE_MASK = Input(lambda b, _: torch.tensor([[1] * 6 + [0] * 2]).repeat(b, 1))
_MEMORY = {
    "memory_attention_hidden_size": 32,
    "memory_attention_num_layers": 2,
    "memory_attention_feed_forward_hidden_size": 48,
    "memory_attention_rope_feat_sizes": [6, 6],
    "memory_encoder_hidden_size": 32,
    "memory_encoder_output_channels": 64,
    "mask_downsampler_embed_dim": 32,
    "memory_fuser_embed_dim": 32,
    "memory_fuser_intermediate_dim": 48,
}
# Memory is (tokens, batch, channels): 36 tokens a frame, and four of object pointers.
_RECALL = {
    "current_vision_features": drawn(36, 32, axis=1),
    "memory": drawn(76, 64, axis=1),
    "current_vision_position_embeddings": drawn(36, 32, axis=1),
    "memory_posision_embeddings": drawn(76, 64, axis=1),
}
_REMEMBER = {"vision_features": drawn(32, 6, 6), "masks": drawn(1, 96, 96)}


def _recall(**further: int) -> Callable[..., Any]:
    def call(module: torch.nn.Module, *inputs: torch.Tensor) -> Any:
        return module(*inputs, num_object_pointer_tokens=4, **further)

    return call


def _memory_attention(name: str, family: str, prefix: str, **also: int) -> Entry:
    build = _part(family, f"{prefix}MemoryAttention", f"{prefix}Config", **_MEMORY, **also)
    return Entry(name, _adapted(build, _recall()), _RECALL)


def _memory_encoder(name: str, family: str, prefix: str) -> Entry:
    build = _part(family, f"{prefix}MemoryEncoder", f"{prefix}Config", **_MEMORY)
    return Entry(name, build, _REMEMBER)


class _Stages(torch.nn.Module):
    """A ResNet's stages in the form in which EdgeTAM has those of its own backbone, from timm."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        import transformers

        self.backbone = transformers.ResNetBackbone(config)

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> Any:
        stages = list(self.backbone(pixel_values).feature_maps)
        return SimpleNamespace(last_hidden_state=stages, hidden_states=None)


def _edge_tam() -> torch.nn.Module:
    edge_tam = model("EdgeTamModel", **_EDGE)()
    edge_tam.vision_encoder.backbone = _Stages(edge_tam.config.vision_config.backbone_config)
    return edge_tam


def _geometry(encoder: torch.nn.Module, boxes, mask, labels, fine, position) -> Any:
    with patched(importlib.import_module(f"{_TRANSFORMERS}.sam3.modeling_sam3")):
        return encoder(boxes, mask, labels, (fine,), (position,))


def _fuse(encoder: torch.nn.Module, fine, text, position, mask) -> Any:
    return encoder([fine], text, [position], mask)


def _decode(decoder: torch.nn.Module, vision, text, position, mask) -> Any:
    return decoder(vision, text, position, mask, spatial_shapes=IntegerShapes(8, 8))


def _text() -> torch.nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    return CLIPTextModelWithProjection(CLIPTextConfig(**_TEXT3))


def _masks(decoder: torch.nn.Module, queries, fine, middle, coarse, hidden, text, mask) -> Any:
    return decoder(queries, [fine, middle, coarse], hidden, text, mask)


_BOX_PROMPTS = Input(
    lambda b, g: (
        torch.rand((b, 3, 4), generator=g) * torch.tensor([0.4, 0.4, 0.4, 0.4])
        + torch.tensor([0.3, 0.3, 0.1, 0.1])
    )
)


def _whole(
    name: str, cls: str, inputs: dict[str, Input], settings: dict[str, Any], **options: Any
) -> Entry:
    return Entry(name, model(cls, **settings), inputs, "transformers", options=options)


ENTRIES = [
    _whole("SAM, points", "SamModel", _POINTS, _SAM, multimask_output=True),
    _whole("SAM, boxes", "SamModel", _BOXES, _SAM, multimask_output=False),
    _whole("SAM, masks", "SamModel", {**_MASKS, "input_masks": drawn(1, 32, 32)}, _SAM),
    _whole(
        "SAM-HQ",
        "SamHQModel",
        _POINTS,
        {
            **_SAM,
            "mask_decoder_config": {**_SAM["mask_decoder_config"], "vit_dim": 32},
        },
        multimask_output=True,
    ),
    Entry(
        "SAM 2 vision",
        model("Sam2VisionModel", **_SAM2["vision_config"]),
        {"pixel_values": image(64)},
        "transformers",
    ),
    _whole("SAM 2, points", "Sam2Model", _POINTS, _SAM2, multimask_output=True),
    _whole("SAM 2, boxes, one mask", "Sam2Model", _BOXES, _SAM2, multimask_output=False),
    _whole("SAM 2, masks", "Sam2Model", _MASKS, _SAM2),
    _memory_attention("SAM 2 memory attention", "sam2_video", "Sam2Video"),
    _memory_encoder("SAM 2 memory encoder", "sam2_video", "Sam2Video"),
    Entry(
        "EdgeTAM, points", _edge_tam, _POINTS, "transformers", options={"multimask_output": True}
    ),
    Entry(
        "EdgeTAM memory attention",
        _adapted(
            _part(
                "edgetam_video",
                "EdgeTamVideoMemoryAttention",
                "EdgeTamVideoConfig",
                **{
                    **_MEMORY,
                    "memory_attention_rope_k_sizes": [4, 4],
                    "memory_attention_mlp_hidden_size": 48,
                },
            ),
            _recall(num_spatial_memory_tokens=2),
        ),
        {
            **_RECALL,
            "memory": drawn(36, 64, axis=1),
            "memory_posision_embeddings": drawn(36, 64, axis=1),
        },
    ),
    Entry(
        "EdgeTAM perceiver",
        _part(
            "edgetam_video",
            "EdgeTamVideoPerceiverResampler",
            "EdgeTamVideoConfig",
            perceiver_resampler_num_latents=4,
            perceiver_resampler_num_latents_2d=4,
            perceiver_resampler_hidden_size=16,
            perceiver_resampler_mlp_intermediate_size=24,
            perceiver_resampler_attention_head_dim=16,
        ),
        {"hidden_states": drawn(16, 8, 8), "positional_encoding": drawn(16, 8, 8)},
        batch=1,  # its latents are an expanded view, which has no other shape beyond one picture
        dynamic=False,
    ),
    _memory_encoder("EdgeTAM memory encoder", "edgetam_video", "EdgeTamVideo"),
    Entry(
        "SAM 3 vision",
        model("Sam3VisionModel", **_VISION3),
        {"pixel_values": image(56)},
        "transformers",
    ),
    Entry(
        "SAM 3 geometry",
        _adapted(
            _part("sam3", "Sam3GeometryEncoder", "Sam3GeometryEncoderConfig", **_DETR3), _geometry
        ),
        {
            "boxes": _BOX_PROMPTS,
            "mask": Input(lambda b, _: torch.tensor([[True, True, False]]).repeat(b, 1)),
            "labels": integers(0, 2, 3),
            "features": drawn(32, 8, 8),
            "positions": drawn(32, 8, 8),
        },
    ),
    Entry(
        "SAM 3 DETR encoder",
        _adapted(_part("sam3", "Sam3DetrEncoder", "Sam3DETREncoderConfig", **_DETR3), _fuse),
        {
            "features": drawn(32, 8, 8),
            "text": features(6, 32),
            "positions": drawn(32, 8, 8),
            "mask": Input(lambda b, _: torch.tensor([[True] * 4 + [False] * 2]).repeat(b, 1)),
        },
    ),
    Entry(
        "SAM 3 DETR decoder",
        _adapted(
            _part("sam3", "Sam3DetrDecoder", "Sam3DETRDecoderConfig", num_queries=6, **_DETR3),
            _decode,
        ),
        {
            "vision": features(64, 32),
            "text": features(6, 32),
            "positions": features(64, 32),
            "mask": Input(lambda b, _: torch.tensor([[True] * 4 + [False] * 2]).repeat(b, 1)),
        },
    ),
    Entry(
        "SAM 3 mask decoder",
        _adapted(
            _part("sam3", "Sam3MaskDecoder", "Sam3MaskDecoderConfig", **_MASKS3),
            _masks,
        ),
        {
            "queries": features(6, 32),
            "fine": drawn(32, 32, 32),
            "middle": drawn(32, 16, 16),
            "coarse": drawn(32, 8, 8),
            "hidden": features(64, 32),
            "text": features(6, 32),
            "mask": flags(6),
        },
    ),
    Entry("SAM 3 text", _text, {"input_ids": tokens(8), "mask": _PHRASE_MASK}),
    _memory_attention(
        "SAM 3 memory attention", "sam3_tracker_video", "Sam3TrackerVideo", image_size=84
    ),
    _memory_encoder("SAM 3 memory encoder", "sam3_tracker_video", "Sam3TrackerVideo"),
]
