#!/usr/bin/env bash
# transformers' Sam3VideoModel builds the tracker's neck by the detector's configuration.
#
# Expected: a checkpoint whose tracker is of another width than its detector loads: tracker_config has
# a vision_config of its own, by which Sam3TrackerVideoModel builds its neck, and loads it.
# What happens: Sam3VideoModel makes tracker_neck of config.detector_config.vision_config, so its
# features are as wide as the detector's, whatever tracker_config says, and don't fit the tracker.
# In facebook/sam3 both are 256 wide, where it doesn't show.
# Versions: transformers 5.23.0, torch 2.13.0 (CPU), NumPy 2.2.6; a tiny model without weights.
# Seen:
#   transformers 5.23.0
#   detector's neck: 32 wide, tracker: 64 wide
#   neck of Sam3TrackerVideoModel: 64 wide
#   tracker_neck of Sam3VideoModel: 32 wide
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 numpy==2.2.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import torch
import transformers
from transformers import Sam3TrackerVideoConfig, Sam3VideoConfig
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoModel,
)
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoModel

print("transformers", transformers.__version__)
vit = {"model_type": "sam3_vit_model", "image_size": 56, "pretrain_image_size": 56}
vit |= {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
vit |= {"num_attention_heads": 2, "window_size": 4, "global_attn_indexes": [1]}
sizes = [[16, 16], [8, 8], [4, 4]]


def vision(width):
    kind = {"model_type": "sam3_vision_model", "backbone_config": vit, "fpn_hidden_size": width}
    return {**kind, "backbone_feature_sizes": sizes}


tracker = Sam3TrackerVideoConfig(
    vision_config=vision(64),
    prompt_encoder_config={"hidden_size": 64, "image_size": 56, "patch_size": 14},
    mask_decoder_config={"hidden_size": 64, "mlp_dim": 64, "num_attention_heads": 2},
    image_size=56,
    memory_attention_hidden_size=64,
    memory_attention_rope_feat_sizes=[4, 4],
    memory_encoder_hidden_size=64,
    mask_downsampler_embed_dim=64,
    memory_fuser_embed_dim=64,
)
config = Sam3VideoConfig(
    detector_config={"model_type": "sam3", "vision_config": vision(32)},
    tracker_config=tracker.to_dict(),
)


def width(neck):
    return neck.fpn_layers[0].proj2.out_channels


with torch.device("meta"):
    alone, video = Sam3TrackerVideoModel(tracker), Sam3VideoModel(config)
print(f"detector's neck: {width(video.detector_model.vision_encoder.neck)} wide, "
      f"tracker: {video.tracker_model.hidden_dim} wide")
print(f"neck of Sam3TrackerVideoModel: {width(alone.vision_encoder.neck)} wide")
print(f"tracker_neck of Sam3VideoModel: {width(video.tracker_neck)} wide")
same = (width(alone.vision_encoder.neck), width(video.tracker_neck)) == (64, 32)
sys.exit(0 if same else "this behaves otherwise now")
PYTHON
