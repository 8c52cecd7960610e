"""Sampling, geometry and heads of detectors, composed of torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.zoo.entry import Entry, Input, drawn, features, image, integers

__all__ = ["ENTRIES"]


class Deformable(nn.Module):
    """Multi-scale deformable attention: offsets, weights, grid_sample on each level."""

    def __init__(self) -> None:
        super().__init__()
        self.offsets, self.weights = nn.Linear(16, 2 * 2 * 3 * 2), nn.Linear(16, 2 * 2 * 3)
        self.value = nn.Linear(16, 16)

    def forward(
        self, query: torch.Tensor, points: torch.Tensor, fine: torch.Tensor, coarse: torch.Tensor
    ) -> torch.Tensor:
        batch, queries, _ = query.shape
        offsets = self.offsets(query).view(batch, queries, 2, 2, 3, 2)
        weights = self.weights(query).view(batch, queries, 2, 6).softmax(-1)
        sampled = []
        for level, features_ in enumerate((fine, coarse)):
            height, width = features_.shape[2:]
            value = self.value(features_.flatten(2).transpose(1, 2))
            value = value.view(batch, -1, 2, 8).permute(0, 2, 3, 1).reshape(-1, 8, height, width)
            size = torch.tensor([width, height])
            at = points[:, :, None, None] + offsets[:, :, :, level] / size
            grid = (2 * at - 1).transpose(1, 2).flatten(0, 1)
            sampled.append(F.grid_sample(value, grid, align_corners=False))
        stacked = torch.stack(sampled, -2).flatten(-2)
        weights = weights.transpose(1, 2).reshape(-1, 1, queries, 6)
        return (stacked * weights).sum(-1).view(batch, 16, queries).transpose(1, 2)


class SpatialTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.localise = nn.Sequential(
            nn.Conv2d(3, 4, 5, 2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 6),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        theta = torch.eye(2, 3) + 0.2 * torch.tanh(self.localise(x)).view(-1, 2, 3)
        grid = F.affine_grid(theta, x.shape, align_corners=True)
        return F.grid_sample(x, grid, mode="bicubic", padding_mode="reflection", align_corners=True)


class Warp(nn.Module):
    """Optical flow: a picture moved by it, and a correlation volume."""

    def forward(
        self, first: torch.Tensor, second: torch.Tensor, flow: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        batch, _, height, width = first.shape
        y, x = torch.meshgrid(
            torch.arange(height, dtype=flow.dtype),
            torch.arange(width, dtype=flow.dtype),
            indexing="ij",
        )
        at = torch.stack([x, y])[None] + flow
        size = torch.tensor([width - 1, height - 1], dtype=flow.dtype).view(1, 2, 1, 1)
        grid = (2 * at / size - 1).permute(0, 2, 3, 1)
        moved = F.grid_sample(second, grid, padding_mode="border", align_corners=True)
        volume = torch.einsum("bcij,bckl->bijkl", first, moved) / first.shape[1] ** 0.5
        return moved, F.avg_pool2d(volume.flatten(0, 2)[:, None], 2).view(
            batch, height, width, height // 2, width // 2
        )


class Anchors(nn.Module):
    """Anchors on two levels, boxes decoded from deltas, clipped, with their areas."""

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        boxes = []
        for level, stride in ((fine, 8), (coarse, 16)):
            height, width = level.shape[2:]
            shift_y, shift_x = torch.meshgrid(
                torch.arange(height) * stride, torch.arange(width) * stride, indexing="ij"
            )
            centre = torch.stack([shift_x, shift_y, shift_x, shift_y], -1).view(-1, 1, 4)
            ratio = torch.tensor([0.5, 1.0, 2.0]).sqrt()
            half = torch.stack([-ratio, -1 / ratio, ratio, 1 / ratio], -1) * stride
            anchors = (centre + half).reshape(-1, 4)
            delta = level.permute(0, 2, 3, 1).reshape(level.shape[0], -1, 4)
            size = anchors[:, 2:] - anchors[:, :2]
            middle = anchors[:, :2] + 0.5 * size + delta[..., :2] * size
            size = size * delta[..., 2:].clamp(max=4.0).exp()
            corners = torch.cat([middle - size / 2, middle + size / 2], -1)
            boxes.append(corners.clamp(0, 64))
        joined = torch.cat(boxes, 1)
        area = (joined[..., 2:] - joined[..., :2]).prod(-1, keepdim=True)
        return torch.cat([joined, area], -1)


class BestQueries(nn.Module):
    """The end of a detector without suppression: the best queries, gathered."""

    def forward(self, logits: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        score, flat = logits.sigmoid().flatten(1).topk(4)
        query, label = flat // logits.shape[-1], flat % logits.shape[-1]
        centre, size = boxes.gather(1, query[..., None].expand(-1, -1, 4)).split(2, -1)
        return score, label, torch.cat([centre - size / 2, centre + size / 2], -1)


class Overlap(nn.Module):
    """Pairwise generalised intersection over union, and which boxes overlap a better one."""

    def forward(self, boxes: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
        low, size = boxes[..., :2], boxes[..., 2:].abs() + 0.1
        high = low + size
        order = scores.argsort(dim=-1, descending=True, stable=True)
        low, high = (t.gather(1, order[..., None].expand(-1, -1, 2)) for t in (low, high))
        area = (high - low).prod(-1)
        inner = (
            (
                torch.minimum(high[:, :, None], high[:, None])
                - torch.maximum(low[:, :, None], low[:, None])
            )
            .clamp_min(0)
            .prod(-1)
        )
        outer = (
            torch.maximum(high[:, :, None], high[:, None])
            - torch.minimum(low[:, :, None], low[:, None])
        ).prod(-1)
        union = area[:, :, None] + area[:, None] - inner
        overlap = inner / union - (outer - union) / outer
        hidden = (overlap.triu(diagonal=1) > 0.2).any(1)
        return overlap, hidden, order


class CentreNet(nn.Module):
    """Peaks of a heat map: a value that is the largest of its neighbourhood."""

    def forward(self, heat: torch.Tensor, size: torch.Tensor) -> tuple[torch.Tensor, ...]:
        heat = heat.sigmoid()
        peaks = heat * (F.max_pool2d(heat, 3, 1, 1) == heat)
        score, index = peaks.flatten(1).topk(5)
        index = index % (heat.shape[2] * heat.shape[3])
        size = size.flatten(2).transpose(1, 2)
        chosen = size.gather(1, index[..., None].expand(-1, -1, 2))
        return score, index % heat.shape[3], index // heat.shape[3], chosen


class RelativePositions(nn.Module):
    """Decomposed relative positions, resized to the map, as in ViTDet."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.columns = (nn.Parameter(torch.randn(9, 4)) for _ in range(2))

    def forward(self, q: torch.Tensor) -> torch.Tensor:
        height, width = q.shape[1:3]
        bias = []
        for table, n in ((self.rows, height), (self.columns, width)):
            resized = F.interpolate(table.T[None], size=2 * n - 1, mode="linear")[0].T
            apart = torch.arange(n)[:, None] - torch.arange(n) + n - 1
            bias.append(resized[apart])
        by_row = torch.einsum("bhwc,hkc->bhwk", q, bias[0])
        by_column = torch.einsum("bhwc,wkc->bhwk", q, bias[1])
        return by_row[..., :, None] + by_column[..., None, :]


class SinePositions(nn.Module):
    """Positions of DETR from a mask, by cumulative sums."""

    def forward(self, mask: torch.Tensor) -> torch.Tensor:
        y, x = mask.cumsum(1, dtype=torch.float32), mask.cumsum(2, dtype=torch.float32)
        y, x = y / (y[:, -1:] + 1e-6) * 6.28, x / (x[:, :, -1:] + 1e-6) * 6.28
        scale = 10000 ** (2 * torch.div(torch.arange(8), 2, rounding_mode="floor") / 8)
        y, x = y[..., None] / scale, x[..., None] / scale
        y, x = (torch.stack((t[..., 0::2].sin(), t[..., 1::2].cos()), 4).flatten(3) for t in (y, x))
        return torch.cat([y, x], 3).permute(0, 3, 1, 2)


class PointRend(nn.Module):
    """The most uncertain points of a coarse mask, refined from finer features."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv1d(9, 1, 1)

    def forward(self, coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        mask = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        height, width = mask.shape[2:]
        index = (-mask.abs()).flatten(1).topk(12, sorted=True)[1]
        at = torch.stack([index % width, index // width], -1).float() + 0.5
        grid = (2 * at / torch.tensor([width, height]) - 1)[:, None]
        sampled = [F.grid_sample(t, grid, align_corners=False)[:, :, 0] for t in (coarse, fine)]
        refined = self.head(torch.cat(sampled, 1))
        return mask.flatten(2).scatter(2, index[:, None], refined).view_as(mask)


class MaskDecoder(nn.Module):
    """Masks as products of queries and pixels, resized, with a score for each."""

    def forward(self, queries: torch.Tensor, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        masks = torch.einsum("bqc,bchw->bqhw", queries, pixels)
        masks = F.interpolate(masks, (13, 17), mode="bilinear", antialias=True)
        inside = masks > 0
        score = (masks.sigmoid() * inside).sum((2, 3)) / inside.sum((2, 3)).clamp(min=1)
        columns = torch.arange(17).expand_as(masks)
        left = torch.where(inside, columns, 99).amin((2, 3))
        return masks, score, left, inside.any(dim=3).long().argmax(-1)


class Voxels(nn.Module):
    """Points averaged per pillar by index_add, as in PointPillars."""

    def forward(self, points: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        batch, count, width = points.shape
        index = (where + 12 * torch.arange(batch)[:, None]).flatten()
        total = points.new_zeros(batch * 12, width).index_add(0, index, points.flatten(0, 1))
        number = points.new_zeros(batch * 12).index_add(0, index, points.new_ones(batch * count))
        return (total / number.clamp(min=1)[:, None]).view(batch, 12, width)


class PointNet(nn.Module):
    """Nearest neighbours by distance, gathered, and a maximum over them."""

    def __init__(self) -> None:
        super().__init__()
        self.local, self.whole = nn.Linear(6, 16), nn.Linear(16, 8)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        apart = torch.cdist(points, points)
        near = apart.topk(4, largest=False)[1]
        batch = points.shape[0]
        neighbours = points[torch.arange(batch)[:, None, None], near]
        centre = points[:, :, None].expand_as(neighbours)
        edges = F.relu(self.local(torch.cat([centre, neighbours - centre], -1)))
        return self.whole(edges.amax(2)).amax(1)


ENTRIES = [
    Entry(
        "Deformable attention",
        Deformable,
        {
            "query": features(5, 16),
            "points": Input(lambda b, g: torch.rand((b, 5, 2), generator=g)),
            "fine": drawn(16, 8, 8),
            "coarse": drawn(16, 4, 4),
        },
    ),
    Entry("Spatial transformer", SpatialTransformer, {"x": image(15)}),
    Entry(
        "Warping and correlation",
        Warp,
        {"first": drawn(4, 8, 8), "second": drawn(4, 8, 8), "flow": drawn(2, 8, 8)},
    ),
    Entry(
        "Anchors and box decoding", Anchors, {"fine": drawn(12, 8, 8), "coarse": drawn(12, 4, 4)}
    ),
    Entry(
        "Detection head, best queries",
        BestQueries,
        {"logits": drawn(9, 5), "boxes": Input(lambda b, g: torch.rand((b, 9, 4), generator=g))},
    ),
    Entry("Pairwise overlap", Overlap, {"boxes": drawn(7, 4), "scores": drawn(7)}),
    Entry("Peaks of a heat map", CentreNet, {"heat": drawn(2, 8, 8), "size": drawn(2, 8, 8)}),
    Entry("Decomposed relative positions", RelativePositions, {"q": drawn(6, 7, 4)}),
    Entry(
        "Sine positions of a mask",
        SinePositions,
        {"mask": Input(lambda b, g: torch.rand((b, 6, 7), generator=g) > 0.2)},
    ),
    Entry("Point refinement", PointRend, {"coarse": drawn(1, 6, 6), "fine": drawn(8, 12, 12)}),
    Entry("Masks from queries", MaskDecoder, {"queries": drawn(5, 8), "pixels": drawn(8, 10, 12)}),
    Entry("Pillars by index_add", Voxels, {"points": drawn(20, 3), "where": integers(0, 12, 20)}),
    Entry("Point cloud with neighbours", PointNet, {"points": drawn(12, 3)}),
]
