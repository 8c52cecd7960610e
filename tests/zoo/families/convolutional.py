"""Convolutional networks composed of torch.nn."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from tests.zoo.entry import Entry, drawn, image

__all__ = ["ENTRIES"]


class Residual(nn.Module):
    def __init__(self, body: nn.Module, skip: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.skip = body, skip or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + self.skip(x))


def _plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=4),
        nn.GroupNorm(4, 16),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(16, 5),
    )


def _residual() -> nn.Module:
    def body(a: int, b: int, stride: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(a, b, 3, stride, 1, bias=False),
            nn.BatchNorm2d(b),
            nn.ReLU(),
            nn.Conv2d(b, b, 3, 1, 1, bias=False),
            nn.BatchNorm2d(b),
        )

    return nn.Sequential(
        Residual(body(3, 8, 1), nn.Conv2d(3, 8, 1)),
        Residual(body(8, 8, 1)),
        Residual(body(8, 16, 2), nn.Conv2d(8, 16, 1, 2)),
        nn.AdaptiveMaxPool2d((2, 3)),
    )


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, 16, 1)
        self.depthwise = nn.Conv2d(16, 16, 5, padding=4, dilation=2, groups=16)
        self.down, self.up = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.silu(self.depthwise(self.expand(x)))
        scale = F.hardsigmoid(self.up(F.mish(self.down(x.mean((2, 3), keepdim=True)))))
        return x * scale


class UNet(nn.Module):
    """Skips by concatenation; ``up`` doubles the size of a map."""

    def __init__(self, up: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in ((3, 8), (8, 16)))
        self.middle = nn.Conv2d(16, 32, 3, padding=1)
        self.up = nn.ModuleList(up(a, b) for a, b in ((32, 16), (16, 8)))
        self.join = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in ((32, 16), (16, 8)))
        self.norm = nn.InstanceNorm2d(8, affine=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for layer in self.down:
            x = F.leaky_relu(layer(x), 0.1)
            skips.append(x)
            x = F.max_pool2d(x, 2, ceil_mode=True)
        x = F.elu(self.middle(x))
        for up, join, skip in zip(self.up, self.join, reversed(skips), strict=True):
            x = up(x)
            x = F.pad(x, (0, skip.shape[3] - x.shape[3], 0, skip.shape[2] - x.shape[2]))
            x = F.gelu(join(torch.cat([skip, x], 1)))
        return self.norm(x)


class Resized(nn.Module):
    def __init__(self, a: int, b: int, mode: str) -> None:
        super().__init__()
        self.convolution, self.mode = nn.Conv2d(a, b, 1), mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        corners = None if self.mode == "nearest" else True
        larger = F.interpolate(x, scale_factor=2, mode=self.mode, align_corners=corners)
        return self.convolution(larger)


class FeaturePyramid(nn.Module):
    """Stages, lateral connections from top to bottom, and one head for all levels."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Conv2d(a, b, 3, 2, 1) for a, b in ((3, 8), (8, 16), (16, 32))
        )
        self.lateral = nn.ModuleList(nn.Conv2d(c, 8, 1) for c in (8, 16, 32))
        self.head = nn.Conv2d(8, 6, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = []
        for stage in self.stages:
            x = F.relu(stage(x))
            maps.append(x)
        top = self.lateral[-1](maps[-1])
        levels = [top]
        for lateral, skip in zip(self.lateral[-2::-1], maps[-2::-1], strict=False):
            top = lateral(skip) + F.interpolate(top, size=skip.shape[-2:], mode="nearest")
            levels.append(top)
        return torch.cat([self.head(level).flatten(2).transpose(1, 2) for level in levels], 1)


class SubPixel(nn.Module):
    """Super-resolution: bicubic enlargement and what a network adds by pixel_shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 5, padding=2), nn.PReLU(16), nn.Conv2d(16, 12, 3, padding=1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        plain = F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False)
        return plain + torch.tanh(F.pixel_shuffle(self.body(x), 2))


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 + 4 * i, 4, 3, padding=1) for i in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [x]
        for layer in self.layers:
            maps.append(F.selu(layer(torch.cat(maps, 1))))
        return F.avg_pool2d(torch.cat(maps, 1), 3, 2, 1, count_include_pad=False)


class Shuffle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.right = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, dim=1)
        x = torch.cat([self.left(a), F.relu(self.right(b))], 1)
        return F.channel_shuffle(x, 2)


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.tall = (
            nn.Conv2d(3, 4, (1, 7), padding="same"),
            nn.Conv2d(3, 4, (7, 1), padding="same"),
        )
        self.norm = nn.LocalResponseNorm(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = F.lp_pool2d(x.abs() + 0.1, 2.0, 2)
        larger = F.interpolate(pooled, scale_factor=2, mode="nearest-exact")
        return self.norm(torch.cat([self.wide(x), self.tall(x), larger], 1))


class Volume(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm3d(4)
        self.back = nn.ConvTranspose3d(4, 2, 2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.back(F.max_pool3d(F.relu(self.norm(self.first(x))), 2)) + x


def _temporal() -> nn.Module:
    return nn.Sequential(
        nn.ConstantPad1d((4, 0), 0.0),
        nn.Conv1d(4, 8, 3, dilation=2),
        nn.BatchNorm1d(8),
        nn.GLU(dim=1),
        nn.ReflectionPad1d(2),
        nn.Conv1d(4, 8, 5),
        nn.ReplicationPad1d((1, 0)),
        nn.AvgPool1d(2),
        nn.ConvTranspose1d(8, 4, 4, stride=2, padding=1, output_padding=1),
        nn.Softsign(),
    )


def _weight_norms() -> nn.Module:
    norm = nn.utils.parametrizations.weight_norm
    return nn.Sequential(
        norm(nn.Conv2d(3, 8, 3)), nn.Softplus(), norm(nn.ConvTranspose2d(8, 4, 3)), nn.Tanh()
    )


def _spectral_norm() -> nn.Module:
    norm = nn.utils.parametrizations.spectral_norm
    return nn.Sequential(
        norm(nn.Conv2d(3, 8, 4, 2, 1)), nn.LeakyReLU(0.2), norm(nn.Conv2d(8, 1, 4, 2, 1))
    )


class Blur(nn.Module):
    """Anti-aliased reduction with a constant kernel, reflected at the border."""

    def __init__(self) -> None:
        super().__init__()
        row = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("kernel", (row[:, None] * row / 64).expand(3, 1, 4, 4).clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, (1, 2, 1, 2), mode="reflect")
        return F.conv2d(x, self.kernel, stride=2, groups=3)


class Style(nn.Module):
    """Adaptive instance normalisation and a convolution whose weights depend on the input."""

    def __init__(self) -> None:
        super().__init__()
        self.style = nn.Linear(4, 16)
        self.weight = nn.Parameter(torch.randn(6, 8, 3, 3))

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        scale, shift = self.style(z)[..., None, None].chunk(2, 1)
        x = F.instance_norm(x) * (1 + scale) + shift
        batch = x.shape[0]
        weights = self.weight[None] * (1 + scale[:, None, :])
        weights = weights * weights.square().sum((2, 3, 4), keepdim=True).add(1e-8).rsqrt()
        merged = F.conv2d(
            x.reshape(1, -1, *x.shape[2:]), weights.reshape(-1, 8, 3, 3), padding=1, groups=batch
        )
        return merged.reshape(batch, 6, *x.shape[2:])


class AtrousPyramid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rates = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=r, dilation=r) for r in (1, 3, 5))
        self.pooled = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        whole = self.pooled(F.adaptive_avg_pool2d(x, 1))
        whole = F.interpolate(whole, x.shape[2:], mode="bilinear", align_corners=False)
        return torch.cat([*(F.relu(rate(x)) for rate in self.rates), whole], 1)


class Vgg(nn.Module):
    """Adaptive pooling to a size that does not divide the map."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3)
        self.classifier = nn.Linear(8 * 49, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.adaptive_avg_pool2d(torch.relu_(self.features(x)), (7, 7))
        return F.log_softmax(self.classifier(x.flatten(1)), dim=-1)


class Unpool(nn.Module):
    """An autoencoder whose decoder puts values where the maxima were."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, where = F.max_pool2d(x, 2, return_indices=True)
        return F.max_unpool2d(y * 2, where, 2)


_PICTURE = {"x": image(24)}

ENTRIES = [
    Entry("CNN with groups and dropout", _plain, _PICTURE),
    Entry("Residual network", _residual, _PICTURE),
    Entry("Squeeze and excite, dilated depthwise", SqueezeExcite, _PICTURE),
    Entry(
        "U-Net, transposed convolutions",
        lambda: UNet(lambda a, b: nn.ConvTranspose2d(a, b, 2, 2)),
        {"x": image(21, 26)},
    ),
    Entry("U-Net, bilinear", lambda: UNet(lambda a, b: Resized(a, b, "bilinear")), _PICTURE),
    Entry("U-Net, nearest", lambda: UNet(lambda a, b: Resized(a, b, "nearest")), _PICTURE),
    Entry("Feature pyramid with a detection head", FeaturePyramid, {"x": image(36, 28)}),
    Entry("Super-resolution by pixel_shuffle", SubPixel, {"x": image(12)}),
    Entry(
        "Space to depth and back",
        lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 8, 1), nn.PixelShuffle(2)),
        _PICTURE,
    ),
    Entry("Dense block", Dense, _PICTURE),
    Entry("Channel shuffle", Shuffle, {"x": image(12, channels=8)}),
    Entry("Inception block, local response norm", Inception, _PICTURE),
    Entry("3-D convolutions", Volume, {"x": drawn(2, 6, 8, 8)}),
    Entry("Temporal convolutions and every padding", _temporal, {"x": drawn(4, 24)}),
    Entry("Weight norm", _weight_norms, _PICTURE),
    Entry("Spectral norm", _spectral_norm, _PICTURE, redraw=False),
    Entry("Anti-aliased blur", Blur, _PICTURE),
    Entry("Modulated convolution", Style, {"x": image(12, channels=8), "z": drawn(4)}),
    Entry("Atrous spatial pyramid", AtrousPyramid, {"x": image(15, 17, 4)}),
    Entry("VGG head, uneven adaptive pooling", Vgg, {"x": image(19, 23)}),
    Entry("Max unpooling", Unpool, {"x": image(8)}),
]
