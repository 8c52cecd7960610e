"""SAM 3 LiteText: SAM 3 with a distilled text encoder, ``Sam3LiteTextModel``.

The text encoder is MobileCLIP's: attention without a causal mask between two layers that mix tokens
by a depthwise convolution, and a table of 77 positions, which the model interpolates to the tokens
that there are. It has no tracker of its own; as the detector of a ``Sam3VideoModel`` it takes SAM
3's.
"""

from __future__ import annotations

import transformers.models.sam3_lite_text.modeling_sam3_lite_text as modeling
from transformers.models.sam3_lite_text.configuration_sam3_lite_text import Sam3LiteTextConfig

from sam3_tvm.sources.huggingface.architectures.base import Architecture, RandomModel
from sam3_tvm.sources.huggingface.architectures.sam3 import TINY_DETECTOR, TINY_TEXT, TINY_VISION

__all__ = ["SAM3_LITE_TEXT"]


def _s0() -> Sam3LiteTextConfig:
    """With the smallest of the published text encoders: six layers, 42 million parameters."""
    return Sam3LiteTextConfig(text_config={"num_hidden_layers": 6})


def _tiny() -> Sam3LiteTextConfig:
    """``random:tiny`` with a text encoder of three layers, two of which convolve."""
    return Sam3LiteTextConfig(
        vision_config={"model_type": "sam3_vision_model", **TINY_VISION},
        text_config={**TINY_TEXT, "num_hidden_layers": 3},
        **TINY_DETECTOR,
    )


SAM3_LITE_TEXT = Architecture(
    "sam3_lite_text",
    Sam3LiteTextConfig,
    modeling.Sam3LiteTextModel,
    modeling,
    {"sam3-litetext": RandomModel(_s0), "tiny-litetext": RandomModel(_tiny)},
)
