"""The model that is trained: transformers' own Sam3Model, of a small configuration."""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers import Sam3Config

# Not `from transformers import Sam3Model`: that asks for torchvision.
from transformers.models.sam3.modeling_sam3 import Sam3Model

__all__ = ["GRID", "IMAGE", "MASK_GRID", "TOKENS", "build_model", "initialise", "shapes_config"]

IMAGE = 128
"""Side of the model's picture in pixels."""

PATCH = 8
GRID = IMAGE // PATCH

MASK_GRID = 4 * GRID
"""Side of the model's masks in cells."""

TOKENS = 16
"""Tokens of a phrase, its start and end included."""

_QUERIES_PER_SIDE = 6
_ANCHOR = 0.24  # width and height of a query's first box, of the picture's


def shapes_config(vocabulary: int) -> Sam3Config:
    """The configuration: SAM 3's architecture in some four million parameters.

    Args:
        vocabulary: number of ids of the tokenizer, whose last two are start and end of text.
    """
    detector = {"hidden_size": 96, "num_attention_heads": 3, "intermediate_size": 256}
    detector["dropout"] = 0.0
    return Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": 160,
                "intermediate_size": 480,
                "num_hidden_layers": 6,
                "num_attention_heads": 5,
                "image_size": IMAGE,
                "pretrain_image_size": IMAGE,
                "patch_size": PATCH,
                "window_size": 8,
                "global_attn_indexes": [2, 5],
            },
            "fpn_hidden_size": 96,
            "backbone_feature_sizes": [[4 * GRID] * 2, [2 * GRID] * 2, [GRID] * 2],
        },
        text_config={
            "model_type": "clip_text_model",
            "vocab_size": vocabulary,
            "hidden_size": 96,
            "intermediate_size": 192,
            "projection_dim": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "max_position_embeddings": TOKENS,
            "hidden_act": "gelu",
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
            "pad_token_id": vocabulary - 1,
        },
        geometry_encoder_config={**detector, "num_layers": 2},
        detr_encoder_config={**detector, "num_layers": 3},
        detr_decoder_config={**detector, "num_layers": 3, "num_queries": _QUERIES_PER_SIDE**2},
        mask_decoder_config={
            "hidden_size": 96,
            "num_attention_heads": 3,
            "num_upsampling_stages": 2,
        },
    )


def build_model(vocabulary: int, seed: int) -> Sam3Model:
    """A model to begin training with.

    Weights are drawn from ``seed`` with a variance of 1 / (fan in), as small models want it;
    transformers' constant 0.02 suits widths of a thousand. Each query starts with a box of
    its own: the boxes lie on a grid, a query attends to what lies within its box, and boxes
    move only when the box head has learned to (as in Deformable DETR, Zhu et al., 2020).

    Args:
        vocabulary: number of ids of the tokenizer.
        seed: equal seeds give equal weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Sam3Model(shapes_config(vocabulary))
        with torch.no_grad():
            for module in model.modules():
                initialise(module)
            _initialise_decoder(model.detr_decoder)
            nn.init.normal_(model.vision_encoder.backbone.embeddings.position_embeddings, std=0.1)
    return model


def initialise(module: nn.Module) -> None:
    """Draw a layer's weights with a variance of 1 / (fan in); leave other modules."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.normal_(module.weight, std=1 / math.sqrt(module.weight[0].numel()))
    elif isinstance(module, nn.ConvTranspose2d):
        # Kernel and stride are equal: each output sums one tap of every input.
        nn.init.normal_(module.weight, std=1 / math.sqrt(module.weight.shape[0]))
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.3)


def _initialise_decoder(decoder: nn.Module) -> None:
    side = _QUERIES_PER_SIDE
    centres = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    size = torch.full_like(x, _ANCHOR)
    anchors = torch.stack([x, y, size, size], dim=-1).reshape(-1, 4)
    decoder.reference_points.weight.copy_(torch.logit(anchors))
    decoder.box_head.layer3.weight.mul_(0.01)
    decoder.box_head.layer3.bias.zero_()
    decoder.presence_head.layer3.weight.mul_(0.1)
    for embed in (decoder.box_rpb_embed_x, decoder.box_rpb_embed_y):
        # Inputs are how far a cell lies beyond the box's lower and its upper edge, on a
        # logarithmic scale. The first two hidden units are 0 within the box and grow outside.
        embed.layer1.weight[:2] = torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
        embed.layer1.bias[:2] = 0.0
        embed.layer2.weight.mul_(0.1)
        heads = embed.layer2.weight.shape[0]
        steepness = torch.linspace(4.0, 12.0, heads)
        embed.layer2.weight[:, :2] = -steepness[:, None]
