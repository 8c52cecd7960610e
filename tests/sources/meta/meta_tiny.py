"""What tests of Meta's source share."""

from __future__ import annotations

import pytest
import torch
from transformers import Sam3Config
from transformers.models.sam3_video.configuration_sam3_video import Sam3VideoConfig

from sam3_tvm.sources.huggingface.architectures import SAM3
from sam3_tvm.sources.meta.environment import installed_version
from sam3_tvm.sources.meta.source import MetaSource

needs_meta = pytest.mark.skipif(
    installed_version() is None, reason="Meta's sam3 is not installed (see the extra [meta])"
)


def matching_config() -> Sam3Config:
    """transformers' configuration of ``random:meta-tiny``: that of ``random:tiny``, but for what
    Meta's classes derive from other sizes."""
    config: Sam3Config = SAM3.random["tiny"].config()
    config.vision_config.backbone_config.intermediate_size = 240
    config.text_config.intermediate_size = 256
    config.text_config.projection_dim = 512
    return config


def matching_video_config() -> Sam3VideoConfig:
    """The same with the tracker's."""
    detector = matching_config()
    hidden = detector.vision_config.fpn_hidden_size
    side = detector.vision_config.backbone_config.image_size
    widths = ("memory_attention_hidden_size", "memory_encoder_hidden_size")
    more = ("mask_downsampler_embed_dim", "memory_fuser_embed_dim")
    return Sam3VideoConfig(
        detector_config=detector.to_dict(),
        tracker_config={
            "prompt_encoder_config": {"hidden_size": hidden, "image_size": side, "patch_size": 14},
            "mask_decoder_config": {
                "hidden_size": hidden,
                "mlp_dim": 128,
                "num_attention_heads": 4,
                "iou_head_hidden_dim": 48,
            },
            "image_size": side,
            **dict.fromkeys((*widths, *more), hidden),
            "memory_attention_num_layers": 2,
            "memory_attention_feed_forward_hidden_size": 128,
            "memory_fuser_intermediate_dim": 4 * hidden,
        },
    )


def checkpoint_of(source: MetaSource) -> dict[str, torch.Tensor]:
    """The weights of a source as ``sam3.pt`` names them: the detector's and the tracker's."""
    model, tracker = source.model.state_dict(), source.tracker.state_dict()
    return {
        **{f"detector.{name}": value for name, value in model.items()},
        **{f"tracker.{name}": value for name, value in tracker.items()},
    }
