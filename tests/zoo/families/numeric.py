"""Losses, transforms, iterations and control flow."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tests.zoo.entry import Entry, Input, drawn, features, image, integers

__all__ = ["ENTRIES"]


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


def _function(name: str, function: Callable[..., Any], **inputs: Input) -> Entry:
    return Entry(name, lambda: Function(function), inputs)


def _segmentation_losses(logits: torch.Tensor, target: torch.Tensor) -> list[torch.Tensor]:
    weight = torch.tensor([0.5, 1.0, 2.0, 1.5])
    return [
        F.cross_entropy(logits, target),
        F.cross_entropy(logits, target, weight=weight, reduction="sum"),
        F.cross_entropy(logits, target, ignore_index=1, label_smoothing=0.1),
        F.cross_entropy(logits, target, reduction="none"),
        F.nll_loss(logits.log_softmax(1), target, weight=weight),
    ]


def _mask_losses(logits: torch.Tensor, target: torch.Tensor) -> list[torch.Tensor]:
    p = logits.sigmoid()
    binary = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    right = p * target + (1 - p) * (1 - target)
    focal = (0.25 * target + 0.75 * (1 - target)) * binary * (1 - right) ** 2
    dice = 1 - (2 * (p * target).sum((1, 2)) + 1) / (p.sum((1, 2)) + target.sum((1, 2)) + 1)
    return [focal.mean((1, 2)).sum(), dice.mean(), F.binary_cross_entropy(p, target)]


def _regression_losses(x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
    return [
        F.mse_loss(x, y),
        F.l1_loss(x, y, reduction="sum"),
        F.smooth_l1_loss(x, y, beta=0.5),
        F.huber_loss(x, y, delta=0.7),
        F.kl_div(x.log_softmax(-1), y.softmax(-1), reduction="batchmean"),
        F.poisson_nll_loss(x, y.abs()),
        F.soft_margin_loss(x, y.sign()),
    ]


def _metric_losses(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> list[torch.Tensor]:
    sign = torch.where(x[:, 0] > 0, 1.0, -1.0)
    logits = F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).mT / 0.07
    labels = torch.arange(x.shape[0])
    return [
        F.triplet_margin_loss(x, y, z),
        F.cosine_embedding_loss(x, y, sign, margin=0.1),
        F.margin_ranking_loss(x[:, 0], y[:, 0], sign),
        F.hinge_embedding_loss(x[:, 1], sign),
        (F.cross_entropy(logits, labels) + F.cross_entropy(logits.mT, labels)) / 2,
        F.pairwise_distance(x, y),
        F.cosine_similarity(x, y, dim=-1),
    ]


class Spectral(nn.Module):
    """Tokens mixed in the frequency domain by learnt complex weights (GFNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 5, 4, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.fft.rfft2(x, dim=(1, 2), norm="ortho")
        y = y * torch.view_as_complex(self.weight)
        return torch.fft.irfft2(y, s=x.shape[1:3], dim=(1, 2), norm="ortho")


class Fourier1d(nn.Module):
    """Low frequencies only, as a neural operator has them."""

    def __init__(self) -> None:
        super().__init__()
        self.real, self.imaginary = (nn.Parameter(torch.randn(4, 4, 5)) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.fft.rfft(x)[..., :5]
        weight = torch.complex(self.real, self.imaginary)
        y = torch.einsum("bix,iox->box", y, weight)
        return torch.fft.irfft(F.pad(y, (0, x.shape[-1] // 2 + 1 - 5)), n=x.shape[-1])


class Mixer(nn.Module):
    """Fourier mixing of both axes, the real part kept (FNet)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x + torch.fft.fft2(x, dim=(-2, -1)).real, x.shape[-1:])


class Spectrogram(nn.Module):
    """A mel spectrogram by a product with windowed cosines and sines."""

    def __init__(self) -> None:
        super().__init__()
        at = 2 * math.pi * torch.outer(torch.arange(9), torch.arange(16)) / 16
        window = torch.hann_window(16)
        self.register_buffer("basis", torch.cat([at.cos(), at.sin()])[:, None] * window)
        self.register_buffer("mel", torch.rand(9, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.conv1d(F.pad(x[:, None], (8, 8), mode="reflect"), self.basis, stride=4)
        power = y[:, :9].square() + y[:, 9:].square()
        loud = (power.mT @ self.mel).clamp(min=1e-5).log10()
        return torch.maximum(loud, loud.amax((1, 2), keepdim=True) - 8.0)


def _k_means(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    centres = points[:, :3]
    for _ in range(2):
        apart = (points[:, :, None] - centres[:, None]).square().sum(-1)
        member = F.one_hot(apart.argmin(-1), 3).to(points.dtype)
        centres = (member.mT @ points) / member.sum(1)[..., None].clamp(min=1)
    return centres, member


def _sinkhorn(scores: torch.Tensor) -> torch.Tensor:
    for _ in range(4):
        scores = scores - scores.logsumexp(-1, keepdim=True)
        scores = scores - scores.logsumexp(-2, keepdim=True)
    return scores.exp()


def _quantise(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    scale = x.abs().amax(-1, keepdim=True) / 127
    codes = (x / scale).round().clamp(-128, 127).to(torch.int8)
    return codes, codes.to(torch.float32) * scale


class Codebook(nn.Module):
    """Vector quantisation: the nearest of the codes, residual after residual."""

    def __init__(self) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.randn(2, 10, 6))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        total, chosen = torch.zeros_like(x), []
        for codes in self.codes:
            rest = x - total
            apart = rest.square().sum(-1, keepdim=True) + codes.square().sum(-1)
            apart = apart - 2 * rest @ codes.T
            chosen.append(apart.argmin(-1))
            total = total + F.embedding(chosen[-1], codes)
        return total, torch.stack(chosen)


class Branch(nn.Module):
    """torch.cond on a value that is only known when it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cond(
            x.sum() > 0, lambda y: self.left(y).relu(), lambda y: self.right(y) - 1, (x,)
        )


class Variational(nn.Module):
    """A variational autoencoder at inference: mean, and the divergence as a second result."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(12, 8), nn.Linear(4, 12)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, -1)
        divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(-1)
        return self.decoder(mean).sigmoid(), divergence.mean()


class GraphConvolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Linear(5, 7)

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        linked = (edges + edges.mT > 0.5).to(x.dtype) + torch.eye(edges.shape[-1])
        degree = linked.sum(-1).rsqrt()
        return self.weight(degree[..., None] * linked @ (degree[..., None] * x)).relu()


def _mixture_density(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    weight, mean, deviation = x.view(x.shape[0], 3, 4).unbind(1)
    components = torch.distributions.Normal(mean, F.softplus(deviation) + 0.1, validate_args=False)
    return -torch.logsumexp(weight.log_softmax(-1) + components.log_prob(y), -1)


def _diffusion_embedding(steps: torch.Tensor) -> torch.Tensor:
    frequency = torch.exp(-math.log(10000) * torch.arange(0, 8) / 8)
    angle = steps[:, None].float() * frequency[None]
    return torch.cat([angle.cos(), angle.sin()], -1)


def _statistics(x: torch.Tensor) -> list[torch.Tensor]:
    return [
        *torch.var_mean(x, dim=1, correction=0),
        x.std(-1),
        x.median(-1).values,
        x.cumprod(-1),
        x.logcumsumexp(1),
        torch.quantile(x, 0.3, dim=-1),
        x.diff(dim=-1),
        x.aminmax(dim=-1).min,
        x.norm(p=3, dim=-1),
        x.count_nonzero(-1),
        x.roll(1, -1),
        torch.linalg.vector_norm(x, ord=float("inf"), dim=-1),
    ]


def _rigid_alignment(x: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Points turned by quaternions, by way of matrices of rotation."""
    w, i, j, k = F.normalize(q, dim=-1).unbind(-1)
    matrix = torch.stack(
        [
            1 - 2 * (j * j + k * k),
            2 * (i * j - k * w),
            2 * (i * k + j * w),
            2 * (i * j + k * w),
            1 - 2 * (i * i + k * k),
            2 * (j * k - i * w),
            2 * (i * k - j * w),
            2 * (j * k + i * w),
            1 - 2 * (i * i + j * j),
        ],
        -1,
    ).view(-1, 3, 3)
    turned = torch.bmm(x, matrix.transpose(1, 2))
    return torch.linalg.cross(turned, x) + turned


def _text_pooling(x: torch.Tensor, ids: torch.Tensor) -> list[torch.Tensor]:
    last = (ids == ids.amax(-1, keepdim=True)).int().argmax(-1)
    kept = (ids > 20)[..., None]
    mean = (x * kept).sum(1) / kept.sum(1).clamp(min=1e-9)
    largest = x.masked_fill(~kept, torch.finfo(x.dtype).min).max(1).values
    return [x[torch.arange(x.shape[0]), last], mean, largest]


class Memory(nn.Module):
    """Writes into slices of a tensor in place, as code for numbers does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        board = x.new_full((x.shape[0], 8, 8), -1.0)
        board[:, 2:6, 2:6] = x
        board[:, 0].copy_(x.mean((1, 2))[:, None].expand(-1, 8))
        board[:, :, -1] += 2
        board[..., ::2].mul_(0.5)
        return board.index_fill(1, torch.tensor([7]), 3.0)


ENTRIES = [
    _function(
        "Losses of segmentation",
        _segmentation_losses,
        logits=drawn(4, 5, 6),
        target=integers(0, 4, 5, 6),
    ),
    _function(
        "Losses of masks",
        _mask_losses,
        logits=drawn(6, 6),
        target=Input(lambda b, g: (torch.rand((b, 6, 6), generator=g) > 0.5).float()),
    ),
    _function("Losses of regression", _regression_losses, x=drawn(5, 4), y=drawn(5, 4)),
    _function("Losses of metrics", _metric_losses, x=drawn(6), y=drawn(6), z=drawn(6)),
    Entry("Spectral mixing", Spectral, {"x": drawn(8, 8, 4)}),
    Entry("Fourier operator", Fourier1d, {"x": drawn(4, 16)}),
    Entry("Fourier mixer", Mixer, {"x": features(6, 10)}),
    Entry("Mel spectrogram", Spectrogram, {"x": drawn(64)}),
    _function("k-means steps", _k_means, points=drawn(12, 2)),
    _function("Sinkhorn iterations", _sinkhorn, scores=drawn(5, 6)),
    _function("Dynamic quantisation", _quantise, x=drawn(6, 8)),
    Entry("Residual codebooks", Codebook, {"x": features(5, 6)}),
    Entry("Branches by cond", Branch, {"x": drawn(6)}),
    Entry("Variational autoencoder", Variational, {"x": drawn(12)}),
    Entry(
        "Graph convolution",
        GraphConvolution,
        {
            "x": drawn(6, 5),
            "edges": Input(lambda b, g: (torch.rand((b, 6, 6), generator=g) > 0.7).float()),
        },
    ),
    _function("Mixture density", _mixture_density, x=drawn(12), y=drawn(1)),
    _function("Diffusion step embedding", _diffusion_embedding, steps=integers(0, 1000)),
    _function("Statistics", _statistics, x=drawn(5, 7)),
    _function("Quaternions to rotations", _rigid_alignment, x=drawn(5, 3), q=drawn(4)),
    _function("Pooling of text", _text_pooling, x=features(7, 6), ids=integers(5, 64, 7)),
    Entry("Writes in place", Memory, {"x": drawn(4, 4)}),
    Entry(
        "Denoising step",
        lambda: Denoiser(),
        {"x": image(8, channels=4), "steps": integers(0, 1000)},
    ),
]


class Denoiser(nn.Module):
    """One step of diffusion: a block conditioned on the step, and the update by a schedule."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.first = nn.GroupNorm(2, 4), nn.Conv2d(4, 8, 3, padding=1)
        self.embed, self.last = nn.Linear(16, 8), nn.Conv2d(8, 4, 3, padding=1)
        self.register_buffer("kept", torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0))

    def forward(self, x: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        y = (
            self.first(F.silu(self.norm(x)))
            + self.embed(_diffusion_embedding(steps))[..., None, None]
        )
        noise = self.last(F.silu(y))
        kept = self.kept[steps].view(-1, 1, 1, 1)
        return ((x - (1 - kept).sqrt() * noise) / kept.sqrt()).clamp(-1, 1)
