from __future__ import annotations

import itertools

import pytest

from training.batches import Plan
from training.stages import STAGES, Stage, find_place

PLAN = Plan(1, 1, 1, {"text": 1.0})


def test_the_rate_warms_up_and_falls() -> None:
    stage = Stage("one", 30, PLAN, 1.0, 0.1, 10)
    rates = [stage.rate_at(step) for step in range(30)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == 1.0
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert stage.rate_at(30) == pytest.approx(0.1)


def test_steps_are_found_in_their_stage() -> None:
    stages = [Stage("one", 2, PLAN, 1, 1, 1), Stage("two", 3, PLAN, 1, 1, 1)]
    places = [find_place(stages, step) for step in range(6)]
    assert [(p.stage.name, p.done) for p in places if p] == [
        ("one", 0),
        ("one", 1),
        ("two", 0),
        ("two", 1),
        ("two", 2),
    ]
    assert places[5] is None


def test_training_begins_with_features_and_ends_with_every_kind_of_prompt() -> None:
    assert STAGES[0].plan.prompts == 0
    assert all(weight > 0 for weight in STAGES[-1].plan.mix.values())
    assert len(STAGES[-1].plan.mix) == 5
    assert STAGES[-1].rate_at(STAGES[-1].steps) < STAGES[-1].rate / 10
