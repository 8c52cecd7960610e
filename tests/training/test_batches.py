from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from tokenizers import Tokenizer

from training.batches import Batch, Drawing, Plan, collate, drawn, mirror
from training.samples import KINDS, Prompt
from training.scenes import Scene
from training.tokenizer import train_tokenizer

PLAN = Plan(4, 2, 3, {kind: 1.0 for kind in KINDS})
SIZES = {"image": 64, "grid": 32, "tokens": 16}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer()


def drawing(tokenizer: Tokenizer) -> Drawing:
    return Drawing(tokenizer.to_str(), **SIZES, seed=7)


def same(a: Batch, b: Batch) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(Batch))


def test_a_batch_depends_on_its_number_alone(tokenizer: Tokenizer) -> None:
    one, other = drawing(tokenizer), drawing(tokenizer)
    for number in range(3):
        one.batch(number, PLAN)
    assert same(one.batch(3, PLAN), other.batch(3, PLAN))
    assert not same(one.batch(3, PLAN), other.batch(4, PLAN))


def test_another_process_draws_the_same(tokenizer: Tokenizer) -> None:
    with drawn(drawing(tokenizer), iter([(0, PLAN), (1, PLAN)])) as batches:
        received = list(batches)
    assert len(received) == 2
    assert all(same(batch, drawing(tokenizer).batch(i, PLAN)) for i, batch in enumerate(received))


def test_arrays_say_what_the_scenes_do(training_scenes: list[Scene], tokenizer: Tokenizer) -> None:
    scenes = [s for s in training_scenes if len(s.things) > 1][:2]
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    side = scenes[0].image.shape[0]
    box = np.float32([[0, 0, side / 2, side / 4]])
    prompts = [
        [Prompt("red circle", *none, np.array([1]), "text")],
        [
            Prompt("visual", box, np.array([0]), np.array([0, 1]), "exemplar"),
            Prompt("blue " * 30, *none, np.array([], np.int64), "absent"),
        ],
    ]
    batch = collate(scenes, prompts, tokenizer, 64, 32, 16)
    first = len(scenes[0].things)
    assert batch.pixels.shape == (2, 3, 64, 64)
    assert batch.prompt_picture.tolist() == [0, 1, 1]
    assert batch.targets.tolist() == [[1, -1], [first, first + 1], [-1, -1]]
    assert batch.box_labels.tolist() == [[-10, -10], [0, -10], [-10, -10]]
    assert batch.boxes[1, 0].tolist() == [0.25, 0.125, 0.5, 0.25]
    end = tokenizer.get_vocab_size() - 1
    expected = tokenizer.encode("red circle").ids
    assert batch.input_ids[0].tolist() == expected + [end] * (16 - len(expected))
    assert batch.attention_mask.sum(1).tolist()[0] == len(expected)
    assert batch.input_ids[2, -1] == end
    assert batch.attention_mask[2].all()


def test_masks_lie_within_boxes_also_when_mirrored(
    training_scenes: list[Scene], tokenizer: Tokenizer
) -> None:
    for scene in [*training_scenes[:10], *map(mirror, training_scenes[:10])]:
        batch = collate([scene], [[]], tokenizer, 64, 32, 16)
        for mask, (x, y, w, h) in zip(batch.thing_masks, batch.thing_boxes, strict=True):
            rows, columns = np.nonzero(mask >= 128)
            assert columns.min() >= (x - w / 2) * 32 - 1
            assert columns.max() <= (x + w / 2) * 32
            assert rows.min() >= (y - h / 2) * 32 - 1
            assert rows.max() <= (y + h / 2) * 32


class _Broken:
    def batch(self, number: int, plan: Plan) -> Batch:
        raise ValueError(f"no batch {number} of {plan}")


def test_a_process_that_died_is_reported() -> None:
    with (
        drawn(_Broken(), iter([(0, PLAN)])) as batches,
        pytest.raises(RuntimeError, match="has died"),
    ):
        next(batches)
