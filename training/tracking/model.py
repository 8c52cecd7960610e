"""The tracker: transformers' own, of a small configuration, beside a frozen detector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import Sam3Config
from transformers.models.sam3.modeling_sam3 import Sam3Model
from transformers.models.sam3_tracker_video.configuration_sam3_tracker_video import (
    Sam3TrackerVideoConfig,
)
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoModel,
)

from training.model import initialise

__all__ = ["LENT", "build_tracker", "own_parameters", "tracker_config"]

HIDDEN = 64
"""Width of the tracker's features, and of memories: in transformers the layers that attend to
memories take 64 channels, whatever the configuration says."""

LENT = "vision_encoder.backbone."
"""What the tracker shares with the detector begins so."""


def tracker_config(detector: Sam3Config) -> Sam3TrackerVideoConfig:
    """The configuration: SAM 3's tracker in some 900,000 parameters, its neck included.

    Args:
        detector: whose backbone the tracker shares.
    """
    vision = detector.vision_config.to_dict() | {"fpn_hidden_size": HIDDEN}
    backbone = vision["backbone_config"]
    image, patch = backbone["image_size"], backbone["patch_size"]
    wide = 4 * HIDDEN
    return Sam3TrackerVideoConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": HIDDEN, "image_size": image, "patch_size": patch},
        mask_decoder_config={
            "hidden_size": HIDDEN,
            "mlp_dim": wide,
            # Heads of 32 channels: a click's place is lost in fewer.
            "num_attention_heads": 2,
            "attention_downsample_rate": 1,
            "iou_head_hidden_dim": HIDDEN,
            # One mask, always the first: things here have no parts that a click could mean.
            "dynamic_multimask_via_stability": False,
        },
        image_size=image,
        multimask_output_for_tracking=False,
        num_maskmem=5,
        max_cond_frame_num=2,
        memory_attention_hidden_size=HIDDEN,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=wide,
        memory_attention_dropout=0.0,
        memory_attention_rope_dropout=0.0,
        memory_attention_rope_feat_sizes=[image // patch] * 2,
        memory_encoder_hidden_size=HIDDEN,
        memory_encoder_output_channels=HIDDEN,
        mask_downsampler_embed_dim=HIDDEN,
        memory_fuser_embed_dim=HIDDEN,
        memory_fuser_intermediate_dim=wide,
        memory_fuser_layer_scale_init_value=0.1,
    )


def build_tracker(detector: Sam3Model, seed: int) -> Sam3TrackerVideoModel:
    """A tracker to begin training with, on the detector's backbone, which is frozen.

    Its neck begins to enlarge features as the detector's does.

    Args:
        detector: trained; it stays as it is.
        seed: equal seeds give equal weights.
    """
    config = tracker_config(detector.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tracker = Sam3TrackerVideoModel(config)
        tracker.vision_encoder.backbone = detector.vision_encoder.backbone.requires_grad_(False)
        with torch.no_grad():
            for name, module in tracker.named_modules():
                if not name.startswith(LENT):
                    initialise(module)
            for name, parameter in tracker.named_parameters(recurse=False):
                nn.init.normal_(parameter, std=0.1 if "object_pointer" in name else 0.02)
            _begin_to_attend(tracker)
            for token in (tracker.mask_decoder.mask_tokens, tracker.mask_decoder.iou_token):
                nn.init.normal_(token.weight, std=1.0)
            # Objects are taken to be there until it is learned when they aren't.
            tracker.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(1.0)
            lent = detector.vision_encoder.neck.fpn_layers
            for own, its in zip(tracker.vision_encoder.neck.fpn_layers, lent, strict=True):
                own.scale_layers.load_state_dict(its.scale_layers.state_dict())
            shared: Any = tracker.prompt_encoder.shared_embedding.positional_embedding
            shared.copy_(tracker.shared_image_embedding.positional_embedding)
    tracker.set_attn_implementation("eager")
    # As in use: in training mode the decoder would choose other masks. Nothing drops out.
    return tracker.eval()


def _begin_to_attend(tracker: Any) -> None:
    """Begin where a click means a place, and a memory what looks like it and lies near it.

    Drawn at random, nothing does: objects are then told apart by what they are alone for thousands
    of steps.
    """
    for name, module in tracker.named_modules():
        if "attn" in name and not name.startswith(LENT) and hasattr(module, "k_proj"):
            query, key = module.q_proj, module.k_proj
            if query.weight.shape == key.weight.shape:
                key.weight.copy_(query.weight)
    # Features that places, which are added to them, stand out from.
    tracker.vision_encoder.neck.fpn_layers[2].proj2.weight.mul_(0.5)
    # And fine features that add to masks, and don't make them.
    for layer in (tracker.mask_decoder.conv_s0, tracker.mask_decoder.conv_s1):
        layer.weight.mul_(0.2)
    # Memories are a frame's features and, added to them, a mask's.
    encoder, prompts = tracker.memory_encoder, tracker.prompt_encoder
    for layer in (encoder.feature_projection, encoder.projection):
        layer.weight.copy_(torch.eye(len(layer.weight))[:, :, None, None])
    prompts.mask_embed.conv3.weight.mul_(4.0)
    for part in (prompts.mask_embed, encoder.mask_downsampler, tracker.mask_downsample):
        for name, parameter in part.named_parameters():
            if "conv" in name and parameter.dim() == 1:
                # Else there is nothing to normalise where a mask is empty, and gradients burst.
                nn.init.normal_(parameter, std=0.3)


def own_parameters(tracker: Sam3TrackerVideoModel) -> Iterator[tuple[str, nn.Parameter]]:
    """What is trained, by name: all but the backbone."""
    for name, parameter in tracker.named_parameters():
        if not name.startswith(LENT):
            yield name, parameter
