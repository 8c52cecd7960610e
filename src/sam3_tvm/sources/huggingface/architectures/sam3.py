"""SAM 3 itself: ``Sam3Model``, alone or as the detector of a ``Sam3VideoModel``."""

from __future__ import annotations

from typing import Any

# Not `from transformers import ...`: its lazy modules refuse to hand out classes whose
# declared backends (here torchvision) are absent.
import transformers.models.sam3.modeling_sam3 as modeling
from transformers import Sam3Config

from sam3_tvm.sources.huggingface.architectures.base import Architecture, RandomModel

__all__ = ["SAM3", "TINY_DETECTOR", "TINY_TEXT", "TINY_VISION"]

TINY_VISION: dict[str, Any] = {
    "backbone_config": {
        "model_type": "sam3_vit_model",
        "hidden_size": 96,
        "intermediate_size": 232,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "image_size": 168,
        "pretrain_image_size": 56,
        "window_size": 4,
        "global_attn_indexes": [1, 3],
    },
    "fpn_hidden_size": 64,
    "backbone_feature_sizes": [[48, 48], [24, 24], [12, 12]],
}
"""The same vision encoder at 1/6 of the side: two windowed layers and two global ones, head sizes
16 and 32."""

_DETECTOR = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}

TINY_DETECTOR: dict[str, Any] = {
    "geometry_encoder_config": {**_DETECTOR, "num_layers": 2},
    "detr_encoder_config": {**_DETECTOR, "num_layers": 2},
    "detr_decoder_config": {**_DETECTOR, "num_layers": 3, "num_queries": 20},
    "mask_decoder_config": {"hidden_size": 64, "num_attention_heads": 4},
}
"""The same detector at a fraction of the width and depth, with every branch."""


TINY_TEXT: dict[str, Any] = {
    "vocab_size": 600,
    "hidden_size": 64,
    "intermediate_size": 128,
    "projection_dim": 64,
    "num_attention_heads": 4,
    "hidden_act": "gelu",
}
"""Of a text encoder that suits these, what all have."""


def _tiny() -> Sam3Config:
    """The same architecture in about two million parameters."""
    return Sam3Config(
        vision_config=TINY_VISION,
        text_config={
            "model_type": "clip_text_model",
            **TINY_TEXT,
            "num_hidden_layers": 2,
            "max_position_embeddings": 32,
            "bos_token_id": 598,
            "eos_token_id": 599,
            "pad_token_id": 599,
        },
        **TINY_DETECTOR,
    )


SAM3 = Architecture(
    "sam3",
    Sam3Config,
    modeling.Sam3Model,
    modeling,
    {
        "sam3": RandomModel(Sam3Config, clicks={}),
        "tiny": RandomModel(
            _tiny,
            # Heads of 16 and, where it looks at the picture, of 8.
            clicks={"mlp_dim": 128, "num_attention_heads": 4, "iou_head_hidden_dim": 48},
            # Two of four layers.
            video={
                "memory_attention_num_layers": 2,
                "memory_attention_feed_forward_hidden_size": 128,
                "memory_fuser_intermediate_dim": 128,
            },
        ),
    },
)
