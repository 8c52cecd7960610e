"""Cross entropy, which torch decomposes: every argument, and more than two axes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from import_harness import check
from torch.export import Dim

WEIGHT = torch.tensor([0.5, 1.0, 2.0])


@pytest.mark.slow
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_of_class_numbers(reduction: Any) -> None:
    def losses(x: torch.Tensor, t: torch.Tensor) -> Any:
        y = x.reshape(4, 3, -1)[:, :, 0]
        return (
            F.cross_entropy(x, t, reduction=reduction),
            F.cross_entropy(x, t, WEIGHT, reduction=reduction, ignore_index=1),
            F.cross_entropy(x, t, WEIGHT, reduction=reduction, label_smoothing=0.2),
            F.cross_entropy(y, t[:, 0], reduction=reduction, ignore_index=0),
            F.cross_entropy(y[0], t[0, 0], reduction=reduction),
            F.nll_loss(F.log_softmax(x, 1), t, WEIGHT, reduction=reduction),
        )

    t = torch.tensor([[0, 1], [2, 2], [1, 0], [0, 0]])
    check(losses, torch.randn(4, 3, 2), t)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_of_probabilities(reduction: Any) -> None:
    def losses(x: torch.Tensor, p: torch.Tensor) -> Any:
        return (
            F.cross_entropy(x, p, reduction=reduction),
            F.cross_entropy(x, p, WEIGHT, reduction=reduction, label_smoothing=0.1),
        )

    check(losses, torch.randn(4, 3, 2), torch.rand(4, 3, 2))


def test_classes_lie_on_the_second_axis_of_a_picture() -> None:
    x = (torch.arange(24) % 5).float().reshape(1, 2, 3, 4)
    t = torch.zeros(1, 3, 4, dtype=torch.int64)
    check(F.cross_entropy, x, t)
    assert abs(float(F.cross_entropy(x, t)) - 1.4341) < 1e-4


def test_nothing_counts_where_every_target_is_ignored() -> None:
    t = torch.full((4,), -100)
    check(lambda x, t: F.cross_entropy(x, t), torch.randn(4, 3), t)


def test_cross_entropy_of_symbolic_sizes() -> None:
    batch, height = Dim("batch", min=1, max=9), Dim("height", min=1, max=9)
    check(
        lambda x, t: F.cross_entropy(x, t, WEIGHT, label_smoothing=0.1, ignore_index=2),
        torch.randn(4, 3, 2),
        torch.tensor([[0, 1], [2, 2], [1, 0], [0, 0]]),
        dynamic_shapes=({0: batch, 2: height}, {0: batch, 1: height}),
        also=[(torch.randn(2, 3, 5), torch.randint(0, 3, (2, 5)))],
    )
