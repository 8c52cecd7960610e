from __future__ import annotations

import pytest
import torch

from training.matching import corners, generalised_iou, match


def test_generalised_iou_of_known_boxes() -> None:
    box = torch.tensor([0.0, 0.0, 2.0, 2.0])
    assert generalised_iou(box, box).item() == pytest.approx(1.0)
    # Shared 1, union 7, hull 9.
    shifted = torch.tensor([1.0, 1.0, 3.0, 3.0])
    assert generalised_iou(box, shifted).item() == pytest.approx(1 / 7 - 2 / 9)
    # Nothing shared: the hull of 4 x 1 is half empty.
    a, b = torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([3.0, 0.0, 4.0, 1.0])
    assert generalised_iou(a, b).item() == pytest.approx(-0.5)


def test_corners_of_a_box() -> None:
    assert corners(torch.tensor([0.5, 0.4, 0.2, 0.4])).tolist() == pytest.approx(
        [0.4, 0.2, 0.6, 0.6]
    )


def _case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    targets = torch.tensor([[[0.2, 0.2, 0.1, 0.1], [0.8, 0.8, 0.2, 0.2], [0.0] * 4]])
    wanted = torch.tensor([[True, True, False]])
    boxes = torch.tensor([[0.5, 0.5, 0.3, 0.3], [0.79, 0.8, 0.2, 0.2], [0.2, 0.21, 0.1, 0.1]])
    return targets, wanted, boxes[None, None]


def test_each_target_gets_the_query_that_is_there() -> None:
    targets, wanted, boxes = _case()
    assert match(torch.zeros(1, 1, 3), boxes, targets, wanted).tolist() == [[[2, 1, -1]]]


def test_matching_follows_permuted_queries() -> None:
    targets, wanted, boxes = _case()
    order = torch.tensor([2, 0, 1])
    matched = match(torch.zeros(1, 1, 3), boxes[:, :, order], targets, wanted)
    assert matched.tolist() == [[[0, 2, -1]]]


def test_of_equal_boxes_the_surer_query_is_matched() -> None:
    targets, wanted, boxes = _case()
    boxes = boxes[:, :, [1, 1, 2]]
    matched = match(torch.tensor([[[-1.0, 2.0, 0.0]]]), boxes, targets, wanted)
    assert matched.tolist() == [[[2, 1, -1]]]


def test_a_prompt_without_targets_matches_nothing() -> None:
    targets, _, boxes = _case()
    nothing = torch.zeros(1, 3, dtype=torch.bool)
    assert match(torch.zeros(1, 1, 3), boxes, targets, nothing).eq(-1).all()
