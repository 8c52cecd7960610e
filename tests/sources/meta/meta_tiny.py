"""What tests of Meta's source share."""

from __future__ import annotations

import pytest
from transformers import Sam3Config

from sam3_tvm.sources.meta.environment import installed_version

needs_meta = pytest.mark.skipif(
    installed_version() is None, reason="Meta's sam3 is not installed (see the extra [meta])"
)


def matching_config() -> Sam3Config:
    """transformers' configuration of ``random:meta-tiny``."""
    detector = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
    return Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": 96,
                "intermediate_size": 240,
                "num_hidden_layers": 4,
                "num_attention_heads": 3,
                "image_size": 168,
                "pretrain_image_size": 56,
                "window_size": 4,
                "global_attn_indexes": [1, 3],
            },
            "fpn_hidden_size": 64,
            "backbone_feature_sizes": [[48, 48], [24, 24], [12, 12]],
        },
        text_config={
            "model_type": "clip_text_model",
            "vocab_size": 600,
            "hidden_size": 64,
            "intermediate_size": 256,
            "projection_dim": 512,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 32,
            "hidden_act": "gelu",
            "bos_token_id": 598,
            "eos_token_id": 599,
            "pad_token_id": 599,
        },
        geometry_encoder_config={**detector, "num_layers": 2},
        detr_encoder_config={**detector, "num_layers": 2},
        detr_decoder_config={**detector, "num_layers": 3, "num_queries": 20},
        mask_decoder_config={"hidden_size": 64, "num_attention_heads": 4},
    )
