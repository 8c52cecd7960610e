"""Seeded random models, for measuring and testing without the gated weights."""

from __future__ import annotations

import math
import zlib

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import Sam3Config

__all__ = [
    "CONFIGS",
    "TRACKERS",
    "VIDEO",
    "byte_tokenizer",
    "randomise",
    "randomise_positions",
    "seed_of",
]


def _sam3() -> Sam3Config:
    return Sam3Config()


def _tiny() -> Sam3Config:
    """The same architecture at 1/9 of the side and a fraction of the width and depth.

    Two windowed layers and two global ones, window tails, head sizes 16 and 32, and every
    branch of the detector, in about two million parameters.
    """
    detector = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
    return Sam3Config(
        vision_config={
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
        },
        text_config={
            "model_type": "clip_text_model",
            "vocab_size": 600,
            "hidden_size": 64,
            "intermediate_size": 128,
            "projection_dim": 64,
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


CONFIGS = {"sam3": _sam3, "tiny": _tiny}
"""Configurations by the name after ``random:``."""

TRACKERS: dict[str, dict[str, int]] = {
    "sam3": {},
    "tiny": {"mlp_dim": 128, "num_attention_heads": 4, "iou_head_hidden_dim": 48},
}
"""Of their trackers' mask decoders, what follows neither from these nor from SAM 3. The tiny one
has heads of 16 and, where it looks at the picture, of 8."""

VIDEO: dict[str, dict[str, int]] = {
    "sam3": {},
    "tiny": {
        "memory_attention_num_layers": 2,
        "memory_attention_feed_forward_hidden_size": 128,
        "memory_fuser_intermediate_dim": 128,
    },
}
"""The same of what they have for video. The tiny one's memory attention has two layers of four."""


_POSITIONS = ("position_embeddings", "pos_embed", "positional_embedding")
"""What tables of positions are called, in the models' code."""


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int) -> None:
    """Fill a model with seeded values that make every parameter count.

    The models' own initialisation leaves biases at zero, norms at one and every anchor at one
    point, so a wrong bias or a swapped norm would not show in a comparison. Here weights
    keep the variance of what they multiply (std 1/sqrt(fan in)), and everything else is
    drawn around its usual value.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, torch.nn.LayerNorm | torch.nn.GroupNorm):
                mean, std = (1.0 if name == "weight" else 0.0), 0.1
            elif name.endswith("bias"):
                mean, std = 0.0, 0.1
            elif isinstance(module, torch.nn.Embedding) or parameter.dim() < 2:
                mean, std = 0.0, 1.0
            elif name in _POSITIONS:
                mean, std = 0.0, 0.1
            else:
                # [out, in, ...] but for transposed convolutions, [in, out, kh, kw], each of
                # whose outputs sums one tap of every input.
                transposed = isinstance(module, torch.nn.ConvTranspose2d)
                fan_in = parameter.shape[0] if transposed else parameter[0].numel()
                mean, std = 0.0, 1 / math.sqrt(fan_in)
            parameter.normal_(mean, std, generator=generator)


@torch.no_grad()
def randomise_positions(model: torch.nn.Module, seed: int) -> None:
    """Fill the random frequencies of position encodings, which are no parameters but buffers.

    They are standard normal, as the models' own code draws them.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, buffer in model.named_buffers():
        if name.rpartition(".")[2] == "positional_embedding":
            buffer.normal_(generator=generator)


def seed_of(part: str, seed: int) -> int:
    """A seed of its own for a part of a model.

    Within 32 bits, the ones that torch's CPU generator keeps. A detector has the plain seed.
    """
    return zlib.crc32(f"{part} {seed}".encode())


def byte_tokenizer(vocabulary: int) -> Tokenizer:
    """A CLIP-style tokenizer without merges: one token a byte.

    Args:
        vocabulary: number of ids of the text encoder; the last two are the start and the
            end of text, as in CLIP.
    """
    start, end = vocabulary - 2, vocabulary - 1
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {c: i for i, c in enumerate(alphabet)}
    vocab |= {f"{c}</w>": i + len(alphabet) for i, c in enumerate(alphabet)}
    if len(vocab) > start:
        raise ValueError(f"a vocabulary of {vocabulary} is too small for one token a byte")
    vocab |= {"<|startoftext|>": start, "<|endoftext|>": end}
    tokenizer = Tokenizer(models.BPE(vocab, [], end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>",
        special_tokens=[("<|startoftext|>", start), ("<|endoftext|>", end)],
    )
    tokenizer.add_special_tokens(["<|startoftext|>", "<|endoftext|>"])
    return tokenizer
