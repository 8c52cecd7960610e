#!/usr/bin/env bash
# transformers' Sam3TrackerModel has a parameter, no_memory_embedding, that changes none of its
# masks, whatever it holds.
#
# Expected: as in SAM 2 and in Meta's SAM 3, the embedding is added to the coarsest features of a
# picture that has no memory of earlier frames, and masks depend on it.
# What happens: the model adds it to the last of four levels of features, of which it then uses the
# first three. So a checkpoint's trained values count for nothing, clicks give other masks than
# Meta's code with the same weights, and fine-tuning never moves the parameter.
# Versions: transformers 5.23.0, torch 2.13.0 (CPU), NumPy 2.2.6; a tiny model with random weights.
# Seen:
#   transformers 5.23.0
#   levels of features: 4, sizes that are used: 3
#   no_memory_embedding at 100: masks differ by 0.0
#   the embedding for no mask at 100: masks differ
#   gradient of no_memory_embedding: none, or zeros
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
from transformers import Sam3TrackerConfig, Sam3TrackerModel

print("transformers", transformers.__version__)
torch.manual_seed(0)
vit = {"model_type": "sam3_vit_model", "image_size": 56, "pretrain_image_size": 56}
vit |= {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
vit |= {"num_attention_heads": 2, "window_size": 4, "global_attn_indexes": [1]}
vision = {"model_type": "sam3_vision_model", "backbone_config": vit, "fpn_hidden_size": 32}
vision["backbone_feature_sizes"] = [[16, 16], [8, 8], [4, 4]]
prompts = {"hidden_size": 32, "image_size": 56, "patch_size": 14, "mask_input_channels": 4}
decoder = {"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
config = Sam3TrackerConfig(
    vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder
)
model = Sam3TrackerModel(config).eval()
picture = torch.randn(1, 3, 56, 56)
point = {
    "input_points": torch.tensor([[[[20.0, 30.0]]]]),
    "input_labels": torch.tensor([[[1]]]),
}


def masks():
    return model(pixel_values=picture, multimask_output=False, **point).pred_masks


with torch.no_grad():
    levels = len(model.get_image_features(picture, return_dict=True).fpn_hidden_states)
    print(f"levels of features: {levels}, sizes that are used: {len(model.backbone_feature_sizes)}")
    before = masks()
    model.no_memory_embedding.fill_(100.0)
    difference = (masks() - before).abs().max().item()
    print(f"no_memory_embedding at 100: masks differ by {difference}")
    kept = model.prompt_encoder.no_mask_embed.weight.clone()
    model.prompt_encoder.no_mask_embed.weight.fill_(100.0)
    control = not torch.equal(masks(), before)
    print("the embedding for no mask at 100: masks", "differ" if control else "are the same")
    model.prompt_encoder.no_mask_embed.weight.copy_(kept)
masks().sum().backward()
gradient = model.no_memory_embedding.grad
moved = gradient is not None and bool(gradient.any())
print("gradient of no_memory_embedding:", "some" if moved else "none, or zeros")
same = (levels, difference, control, moved) == (4, 0.0, True, False)
sys.exit(0 if same else "this behaves otherwise now")
PYTHON
