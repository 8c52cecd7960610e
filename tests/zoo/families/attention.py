"""Attention and transformers composed of torch.nn."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tests.zoo.entry import Entry, Input, drawn, features, flags, image, integers, tokens

__all__ = ["ENTRIES"]


class MaskedEncoder(nn.Module):
    """nn.TransformerEncoder with a causal mask and padding."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True, **settings)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(16), enable_nested_tensor=False)

    def forward(self, x: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        causal = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        hidden = torch.zeros_like(padding, dtype=x.dtype).masked_fill(padding, float("-inf"))
        return self.encoder(x, mask=causal, src_key_padding_mask=hidden)


def _padding(length: int) -> Input:
    return Input(
        lambda b, g: (
            torch.arange(length) >= torch.randint(length // 2, length + 1, (b, 1), generator=g)
        )
    )


class Rotary(nn.Module):
    """Rotary embeddings in complex arithmetic, as Llama's own code has them."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(16, 48)
        angles = torch.outer(torch.arange(32.0), 10000.0 ** (-torch.arange(0, 8, 2) / 8))
        self.register_buffer("rotation", torch.polar(torch.ones_like(angles), angles))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, 2, 8).unbind(2)
        turn = self.rotation[:length, None]
        q, k = (
            torch.view_as_real(
                torch.view_as_complex(t.reshape(*t.shape[:-1], 4, 2)) * turn
            ).flatten(-2)
            for t in (q, k)
        )
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return y.transpose(1, 2).flatten(2)


class Grouped(nn.Module):
    """Grouped query attention, keys repeated by the operator."""

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)


class Einsum(nn.Module):
    """Attention by einsum with ALiBi."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Parameter(torch.randn(3, 12, 3, 4))
        self.out = nn.Parameter(torch.randn(3, 4, 12))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = torch.einsum("bld,tdhe->tbhle", x, self.qkv)
        slopes = torch.tensor([2.0 ** -(8 * (h + 1) / 3) for h in range(3)])
        position = torch.arange(x.shape[1])
        bias = -(position[None, :] - position[:, None]).abs() * slopes[:, None, None]
        weights = (torch.einsum("bhld,bhmd->bhlm", q, k) / 2 + bias).softmax(-1)
        return torch.einsum("bhlm,bhmd,hde->ble", weights, v, self.out)


class Linear(nn.Module):
    """Linear attention, causal by a cumulative sum."""

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k = F.elu(q) + 1, F.elu(k) + 1
        memory = torch.cumsum(k[..., :, None] * v[..., None, :], dim=1)
        norm = (q * k.cumsum(1)).sum(-1, keepdim=True)
        return torch.matmul(q[..., None, :], memory).squeeze(-2) / norm


class Windows(nn.Module):
    """Shifted windows with relative positions, over a map that is padded to fit."""

    def __init__(self, window: int = 4, shift: int = 2) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.qkv = nn.Linear(8, 24)
        self.table = nn.Parameter(torch.randn((2 * window - 1) ** 2, 2))
        at = torch.stack(torch.meshgrid(*2 * [torch.arange(window)], indexing="ij")).flatten(1)
        apart = (at[:, :, None] - at[:, None]).permute(1, 2, 0) + window - 1
        self.register_buffer("index", apart[..., 0] * (2 * window - 1) + apart[..., 1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, height, width, channels = x.shape
        w = self.window
        padded = F.pad(x, (0, 0, 0, -width % w, 0, -height % w))
        padded = torch.roll(padded, (-self.shift, -self.shift), (1, 2))
        rows, columns = padded.shape[1] // w, padded.shape[2] // w
        y = padded.view(batch, rows, w, columns, w, channels).transpose(2, 3)
        y = y.reshape(-1, w * w, channels)
        q, k, v = self.qkv(y).view(y.shape[0], w * w, 3, 2, 4).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index.view(-1)].view(w * w, w * w, 2).permute(2, 0, 1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])
        y = y.transpose(1, 2).reshape(batch, rows, columns, w, w, channels).transpose(2, 3)
        y = y.reshape(batch, rows * w, columns * w, channels)
        y = torch.roll(y, (self.shift, self.shift), (1, 2))
        return y[:, :height, :width]


class Experts(nn.Module):
    """Experts chosen per token, all of them computed; a loss that balances them."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(12, 4)
        self.up = nn.Parameter(torch.randn(4, 12, 16))
        self.down = nn.Parameter(torch.randn(4, 16, 12))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = self.router(x).softmax(-1)
        weight, chosen = scores.topk(2)
        weight = weight / weight.sum(-1, keepdim=True)
        gate = torch.zeros_like(scores).scatter(-1, chosen, weight)
        y = F.gelu(torch.einsum("bld,edf->blef", x, self.up), approximate="tanh")
        y = torch.einsum("blef,efd,ble->bld", y, self.down, gate)
        used = F.one_hot(chosen, 4).float().mean((0, 1, 2))
        return y, (used * scores.mean((0, 1))).sum() * 4


class Dispatched(nn.Module):
    """Experts whose weights are gathered per token."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(12, 4)
        self.weights = nn.Parameter(torch.randn(4, 12, 12))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, 12)
        chosen = self.router(flat).argmax(-1)
        return torch.bmm(flat[:, None], self.weights[chosen]).view_as(x)


class Slots(nn.Module):
    """Slot attention: a few steps of weighted means with a gated update."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = nn.Parameter(torch.randn(1, 3, 8))
        self.key, self.value, self.query = (nn.Linear(8, 8) for _ in range(3))
        self.update, self.norm = nn.GRUCell(8, 8), nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        slots = self.slots.expand(x.shape[0], -1, -1)
        k, v = self.key(x), self.value(x)
        for _ in range(2):
            weights = (k @ self.query(self.norm(slots)).mT / math.sqrt(8)).softmax(-1) + 1e-8
            weights = weights / weights.sum(1, keepdim=True)
            means = weights.mT @ v
            slots = self.update(means.flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
        return slots


class Patches(nn.Module):
    """A vision transformer whose patches are cut by unfold, with sine positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * 16, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, norm_first=True)
        self.register_buffer("token", torch.randn(1, 1, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.embed(F.unfold(x, 4, stride=4).transpose(1, 2))
        at = torch.arange(y.shape[1])[:, None] / 100 ** (torch.arange(8) / 8)
        y = y + torch.cat([at.sin(), at.cos()], -1)
        y = torch.cat([self.token.expand(y.shape[0], -1, -1), y], 1)
        return self.layer(y)[:, 0]


class Overlapping(nn.Module):
    """Patches that overlap, by Tensor.unfold, and their sum by fold."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        patches = x.unfold(2, 4, 2).unfold(3, 4, 2).contiguous()
        columns = F.unfold(x, 3, padding=1)
        return patches.mean((-1, -2)), F.fold(columns * 2, x.shape[2:], 3, padding=1)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(64, 16, scale_grad_by_freq=True)
        layer = nn.TransformerDecoderLayer(16, 4, 24, batch_first=True, activation="gelu")
        self.decoder = nn.TransformerDecoder(layer, 2)

    def forward(
        self, ids: torch.Tensor, memory: torch.Tensor, padding: torch.Tensor
    ) -> torch.Tensor:
        causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).triu(1)
        x = self.embedding(ids) * 4
        y = self.decoder(x, memory, tgt_mask=causal, memory_key_padding_mask=padding)
        return F.linear(y, self.embedding.weight)


class Cached(nn.Module):
    """One step of a decoder that writes its keys and values into a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(
        self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, at: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        q, k, v = self.qkv(x).view(x.shape[0], 3, 2, 4).unbind(1)
        where = at[:, None, None, None].expand(-1, 2, 1, 4)
        keys = keys.scatter(2, where, k[:, :, None])
        values = values.scatter(2, where, v[:, :, None])
        seen = torch.arange(keys.shape[2]) <= at[:, None]
        y = F.scaled_dot_product_attention(q[:, :, None], keys, values, seen[:, None, None])
        return y, keys, values


_THREE = {name: drawn(4, 9, 8) for name in ("q", "k", "v")}

ENTRIES = [
    Entry(
        "Transformer encoder, norm last",
        lambda: MaskedEncoder(),
        {"x": features(8, 16), "padding": _padding(8)},
    ),
    Entry(
        "Transformer encoder, norm first",
        lambda: MaskedEncoder(norm_first=True, activation="gelu"),
        {"x": features(8, 16), "padding": _padding(8)},
    ),
    Entry(
        "Transformer decoder",
        Decoder,
        {"ids": tokens(6), "memory": features(5, 16), "padding": _padding(5)},
    ),
    Entry(
        "nn.Transformer, steps first",
        lambda: nn.Transformer(16, 2, 1, 1, 24),
        {"source": drawn(5, 16, axis=1), "target": drawn(4, 16, axis=1)},
    ),
    Entry(
        "nn.MultiheadAttention with its weights",
        lambda: nn.MultiheadAttention(
            16, 4, kdim=12, vdim=10, batch_first=True, add_bias_kv=True, add_zero_attn=True
        ),
        {"q": features(5, 16), "k": features(7, 12), "v": features(7, 10)},
    ),
    Entry("Rotary embeddings, complex", Rotary, {"x": features(9, 16)}),
    Entry(
        "Grouped query attention",
        Grouped,
        {"q": drawn(4, 9, 8), "k": drawn(2, 7, 8), "v": drawn(2, 7, 8)},
    ),
    Entry("Attention by einsum, ALiBi", Einsum, {"x": features(7, 12)}),
    Entry("Linear attention", Linear, {n: features(9, 4) for n in ("q", "k", "v")}),
    Entry("Shifted windows", Windows, {"x": drawn(10, 13, 8)}),
    Entry("Mixture of experts, dense", Experts, {"x": features(5, 12)}),
    Entry("Mixture of experts, gathered", Dispatched, {"x": features(5, 12)}),
    Entry("Slot attention", Slots, {"x": features(10, 8)}),
    Entry("Patches by unfold", Patches, {"x": image(16)}),
    Entry("Overlapping patches, folded", Overlapping, {"x": image(12)}),
    Entry(
        "Decoder step with a cache",
        Cached,
        {"x": drawn(8), "keys": drawn(2, 6, 4), "values": drawn(2, 6, 4), "at": integers(0, 6)},
    ),
    Entry("Attention under a boolean mask", lambda: _Masked(), {**_THREE, "mask": flags(1, 9, 9)}),
]


class _Masked(nn.Module):
    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, mask, scale=0.3)
