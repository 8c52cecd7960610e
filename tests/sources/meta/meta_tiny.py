"""What tests of Meta's source share."""

from __future__ import annotations

import pytest
from transformers import Sam3Config

from sam3_tvm.sources.meta.environment import installed_version
from sam3_tvm.sources.random_weights import CONFIGS

needs_meta = pytest.mark.skipif(
    installed_version() is None, reason="Meta's sam3 is not installed (see the extra [meta])"
)


def matching_config() -> Sam3Config:
    """transformers' configuration of ``random:meta-tiny``: that of ``random:tiny``, but for what
    Meta's classes derive from other sizes."""
    config = CONFIGS["tiny"]()
    config.vision_config.backbone_config.intermediate_size = 240
    config.text_config.intermediate_size = 256
    config.text_config.projection_dim = 512
    return config
