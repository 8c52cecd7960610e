"""Video models."""

from __future__ import annotations

import torch

from tests.zoo.entry import Entry, Input, drawn, model

__all__ = ["ENTRIES"]

_SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 16,
    "patch_size": 8,
}
_FRAMES = {"pixel_values": drawn(4, 3, 16, 16)}


def _hidden_tubes(batch: int, generator: torch.Generator) -> torch.Tensor:
    return torch.tensor([[True, False, True, False, True, True, False, False]]).repeat(batch, 1)


ENTRIES = [
    Entry(
        "TimeSformer",
        model("TimesformerForVideoClassification", num_frames=4, **_SMALL),
        _FRAMES,
        "transformers",
    ),
    Entry(
        "TimeSformer, joint attention",
        model("TimesformerModel", num_frames=4, attention_type="joint_space_time", **_SMALL),
        _FRAMES,
        "transformers",
    ),
    Entry(
        "VideoMAE",
        model("VideoMAEForVideoClassification", num_frames=4, **_SMALL),
        _FRAMES,
        "transformers",
    ),
    Entry(
        "ViViT",
        model("VivitModel", num_frames=4, tubelet_size=[2, 8, 8], video_size=[4, 16, 16], **_SMALL),
        _FRAMES,
        "transformers",
    ),
    Entry(
        "V-JEPA 2",
        model(
            "VJEPA2Model",
            crop_size=16,
            frames_per_clip=4,
            tubelet_size=2,
            patch_size=8,
            hidden_size=36,
            num_hidden_layers=2,
            num_attention_heads=3,
            pred_hidden_size=36,
            pred_num_hidden_layers=1,
            pred_num_attention_heads=3,
            pred_num_mask_tokens=2,
        ),
        {"pixel_values_videos": drawn(4, 3, 16, 16)},
        "transformers",
        options={"skip_predictor": True},
    ),
    Entry(
        "X-CLIP vision",
        model(
            "XCLIPVisionModel",
            num_frames=4,
            mit_hidden_size=16,
            mit_intermediate_size=24,
            mit_num_hidden_layers=1,
            mit_num_attention_heads=2,
            **_SMALL,
        ),
        {"pixel_values": Input(lambda b, g: torch.randn((4 * b, 3, 16, 16), generator=g), 0, 4)},
        "transformers",
    ),
]
