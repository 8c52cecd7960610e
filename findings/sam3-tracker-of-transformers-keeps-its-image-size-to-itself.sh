#!/usr/bin/env bash
# transformers' Sam3TrackerConfig takes another image_size, and hands it on to none of its parts.
#
# Expected: config.image_size = 504 has the model take pictures of 504 pixels, as it does on
# Sam3Config, Sam3TrackerVideoConfig and Sam3VideoConfig, where it is a property ("automatically
# propagates to all nested configs", as the docstring of the last says).
# What happens: on Sam3TrackerConfig it is an attribute that nothing reads. The vision encoder and the
# prompt encoder stay at 1008 pixels, and the model raises of a picture of 504. And
# Sam3VideoConfig leaves low_res_mask_size at 288, four times the 72 patches of 1008 pixels; its model
# makes only masks of no objects by that, so that nothing was seen to break.
# Versions: transformers 5.23.0, torch 2.13.0 (CPU), NumPy 2.2.6; a tiny model of random weights.
# Seen:
#   transformers 5.23.0
#   Sam3Config.image_size = 504: vision encoder 504, prompt encoder None
#   Sam3TrackerVideoConfig.image_size = 504: vision encoder 504, prompt encoder 504
#   Sam3TrackerConfig.image_size = 504: vision encoder 1008, prompt encoder 1008
#   Sam3VideoConfig.image_size = 504: low_res_mask_size 288
#   Sam3TrackerModel of Sam3TrackerConfig.image_size = 56, on 56 pixels: RuntimeError: The size of
#   tensor a (16) must match the size of tensor b (64) at non-singleton dimension 2
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
from transformers import Sam3Config, Sam3TrackerConfig, Sam3TrackerVideoConfig, Sam3VideoConfig
from transformers.models.sam3_tracker.modeling_sam3_tracker import Sam3TrackerModel

print("transformers", transformers.__version__)
seen = {}
for make in (Sam3Config, Sam3TrackerVideoConfig, Sam3TrackerConfig):
    config = make()
    config.image_size = 504
    prompts = getattr(config, "prompt_encoder_config", None)
    seen[make.__name__] = sizes = (config.vision_config.image_size, prompts and prompts.image_size)
    print(f"{make.__name__}.image_size = 504: vision encoder {sizes[0]}, prompt encoder {sizes[1]}")
config = Sam3VideoConfig()
config.image_size = 504
print(f"Sam3VideoConfig.image_size = 504: low_res_mask_size {config.low_res_mask_size}")

# What that means for a model, here one of few layers, made for 112 pixels.
vit = {"model_type": "sam3_vit_model", "image_size": 112, "pretrain_image_size": 56}
vit |= {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
vit |= {"num_attention_heads": 2, "window_size": 4, "global_attn_indexes": [1]}
vision = {"model_type": "sam3_vision_model", "backbone_config": vit, "fpn_hidden_size": 64}
tracker = Sam3TrackerConfig(
    vision_config={**vision, "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]]},
    prompt_encoder_config={"hidden_size": 64, "image_size": 112},
    mask_decoder_config={"hidden_size": 64, "mlp_dim": 64, "num_attention_heads": 2},
)
tracker.image_size = 56
model = Sam3TrackerModel(tracker).eval()
raised = ""
try:
    with torch.no_grad():
        model(pixel_values=torch.zeros(1, 3, 56, 56), input_points=torch.zeros(1, 1, 1, 2))
except Exception as error:
    raised = f"{type(error).__name__}: {error}"
print(f"Sam3TrackerModel of Sam3TrackerConfig.image_size = 56, on 56 pixels: {raised or 'runs'}")
same = seen["Sam3TrackerConfig"] == (1008, 1008) and config.low_res_mask_size == 288 and raised
same = same and seen["Sam3Config"][0] == 504 and seen["Sam3TrackerVideoConfig"] == (504, 504)
sys.exit(0 if same else "this behaves otherwise now")
PYTHON
