from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from training.batches import Batch, collate
from training.dense import DenseHeads, DenseTruth
from training.scenes import Scene, Thing
from training.tokenizer import train_tokenizer


def _square(colour: str, x: int, y: int, side: int) -> Thing:
    mask = np.zeros((64, 64), bool)
    mask[y : y + side, x : x + side] = True
    return Thing("square", colour, "small", True, mask, (x, y, x + side, y + side))


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Two pictures: a square at the left, and one at the top right."""
    image = np.zeros((64, 64, 3), np.uint8)
    scenes = [
        Scene(image, (_square("red", 8, 16, 16),)),
        Scene(image, (_square("blue", 40, 0, 8),)),
    ]
    return collate(scenes, [[], []], train_tokenizer(), 64, 32, 16)


def test_cells_belong_to_the_thing_that_covers_them(batch: Batch) -> None:
    truth = DenseTruth.of(batch)
    expected = torch.full((2, 32, 32), -1)
    expected[0, 8:16, 4:12] = 0
    expected[1, 0:4, 20:24] = 1
    assert torch.equal(truth.thing, expected)
    assert torch.equal(truth.coarse(4), expected[:, ::4, ::4])
    assert torch.equal(truth.first(1).thing, expected[:1])


def test_the_outline_of_a_square_fills_its_box(batch: Batch) -> None:
    outlines = DenseTruth.of(batch).outlines.unflatten(1, (8, 8))
    torch.testing.assert_close(outlines[:, 1:-1, 1:-1], torch.ones(2, 6, 6))
    # At the very edge a bilinear sample sees a quarter of what lies outside.
    assert outlines.min() > 0.5


def test_half_a_thing_has_half_an_outline(batch: Batch) -> None:
    masks = batch.thing_masks.copy()
    masks[0, 12:] = 0
    rows = DenseTruth.of(replace(batch, thing_masks=masks)).outlines[0].unflatten(0, (8, 8))
    assert rows[:3, 1:-1].min() > 0.8
    assert rows[5:].max() < 0.1


def test_right_answers_cost_less_than_wrong_ones(batch: Batch) -> None:
    truth = DenseTruth.of(batch)
    heads = DenseHeads(8)
    parameters = list(heads.levels[2].parameters())
    optimizer = torch.optim.Adam(parameters, 0.05)
    features = torch.zeros(2, 8, 8, 8)
    features[0, 0, 2:4, 1:3] = 1  # where things are
    features[1, 1, 0:1, 5:6] = 1
    before = {name: float(loss.detach()) for name, loss in heads.loss(2, features, truth).items()}
    for _ in range(150):
        loss = torch.stack(list(heads.loss(2, features, truth).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = {name: float(loss.detach()) for name, loss in heads.loss(2, features, truth).items()}
    assert set(after) == {
        f"{n}_2" for n in ("colour", "shape", "size", "filled", "extent", "outline")
    }
    for name in ("colour_2", "shape_2", "size_2", "filled_2"):
        assert after[name] < 0.1 * before[name], name
    assert all(after[name] < before[name] for name in after)
