from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from training.forward import Detection, Masks
from training.losses import WEIGHTS, Targets, detection_losses, mask_losses, total
from training.matching import match

LAYERS, PROMPTS, QUERIES, THINGS, GRID = 2, 3, 5, 2, 8


@pytest.fixture
def targets() -> Targets:
    """Two things, one thing, none."""
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(PROMPTS, THINGS, 4, generator=generator) * 0.4 + 0.2
    masks = (torch.rand(PROMPTS, THINGS, GRID, GRID, generator=generator) > 0.5).float()
    exists = torch.tensor([[True, True], [True, False], [False, False]])
    return Targets(boxes, masks, exists)


@pytest.fixture
def found() -> Detection:
    generator = torch.Generator().manual_seed(1)
    empty = torch.zeros(0)
    return Detection(
        prompt=empty,
        prompt_mask=empty,
        memory=empty,
        queries=empty,
        logits=torch.randn(LAYERS, PROMPTS, QUERIES, generator=generator),
        boxes=torch.rand(LAYERS, PROMPTS, QUERIES, 4, generator=generator) * 0.4 + 0.2,
        presence=torch.randn(LAYERS, PROMPTS, generator=generator),
    )


def losses_of(found: Detection, targets: Targets) -> dict[str, torch.Tensor]:
    matched = match(found.logits.detach(), found.boxes.detach(), targets.boxes, targets.exists)
    return detection_losses(found, targets, matched)


def test_the_right_answer_costs_nothing(targets: Targets) -> None:
    boxes = torch.full((LAYERS, PROMPTS, QUERIES, 4), 0.9)
    boxes[:, :, 1:3] = targets.boxes
    logits = torch.full((LAYERS, PROMPTS, QUERIES), -20.0)
    logits[:, 0, 1:3] = 20.0
    logits[:, 1, 1] = 20.0
    presence = torch.tensor([20.0, 20.0, -20.0]).expand(LAYERS, -1)
    empty = torch.zeros(0)
    right = Detection(empty, empty, empty, empty, logits, boxes, presence)
    for name, loss in losses_of(right, targets).items():
        assert loss.item() == pytest.approx(0.0, abs=1e-5), name


def test_right_masks_cost_nothing_and_wrong_ones_do(targets: Targets) -> None:
    union = (targets.masks * targets.exists[:, :, None, None]).amax(1)
    right = Masks((targets.masks - 0.5) * 60, (union - 0.5) * 60)
    for name, loss in mask_losses(right, targets).items():
        assert loss.item() == pytest.approx(0.0, abs=1e-5), name
    wrong = Masks(-right.instances, -right.concept)
    assert all(loss.item() > 0.5 for loss in mask_losses(wrong, targets).values())


def test_soft_edges_cost_nothing_where_they_are_met(targets: Targets) -> None:
    soft = replace(targets, masks=targets.masks * 0.5 + 0.25)
    met = Masks(torch.logit(soft.masks), torch.zeros(PROMPTS, GRID, GRID))
    losses = mask_losses(met, soft)
    assert losses["mask"].item() == pytest.approx(0.0, abs=1e-5)
    assert losses["dice"].item() == pytest.approx(0.0, abs=1e-5)


def test_the_order_of_queries_makes_no_difference(found: Detection, targets: Targets) -> None:
    order = torch.tensor([3, 0, 4, 2, 1])
    shuffled = replace(found, logits=found.logits[:, :, order], boxes=found.boxes[:, :, order])
    before, after = losses_of(found, targets), losses_of(shuffled, targets)
    for name, loss in before.items():
        assert after[name].item() == pytest.approx(loss.item(), rel=1e-5), name


def test_absent_prompts_drive_presence_alone(found: Detection, targets: Targets) -> None:
    leaves = replace(
        found,
        logits=found.logits.clone().requires_grad_(),
        boxes=found.boxes.clone().requires_grad_(),
        presence=found.presence.clone().requires_grad_(),
    )
    total(losses_of(leaves, targets)).backward()
    assert leaves.logits.grad[:, 2].eq(0).all()
    assert leaves.boxes.grad[:, 2].eq(0).all()
    assert leaves.presence.grad[:, 2].gt(0).all()  # descending lowers it
    assert leaves.presence.grad[:, :2].lt(0).all()
    assert leaves.logits.grad[:, :2].ne(0).all()


def test_a_batch_of_absent_prompts_has_finite_losses(found: Detection, targets: Targets) -> None:
    nothing = replace(targets, exists=torch.zeros_like(targets.exists))
    losses = losses_of(found, nothing)
    assert losses["class"] == losses["l1"] == losses["giou"] == 0
    assert losses["presence"] > 0


def test_a_stage_may_weigh_losses_otherwise():
    losses = {"mask": torch.tensor(1.0), "dice": torch.tensor(10.0), "new": torch.tensor(100.0)}
    assert total(losses) == WEIGHTS["mask"] + 10 * WEIGHTS["dice"] + 100
    assert total(losses, {"dice": 3.0, "new": 0.5}) == WEIGHTS["mask"] + 30 + 50
