"""Seeded random models, for measuring and testing without the gated weights."""

from __future__ import annotations

import math
import zlib

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

__all__ = [
    "byte_tokenizer",
    "randomise",
    "randomise_positions",
    "seed_of",
]

_POSITIONS = ("position_embedding", "position_embeddings", "pos_embed", "positional_embedding")
"""What tables of positions are called, in the models' code."""


_NORMS = torch.nn.LayerNorm | torch.nn.GroupNorm | torch.nn.BatchNorm2d


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
            if isinstance(module, _NORMS):
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
        if isinstance(module, torch.nn.BatchNorm2d):
            # No parameters but what training has seen.
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0.0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)


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
