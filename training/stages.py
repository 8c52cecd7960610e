"""The order in which things are learned."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from training.batches import Plan

__all__ = ["STAGES", "Place", "Schedule", "Stage", "find_place"]

PlanT = TypeVar("PlanT")

_TEXT = {"text": 0.7, "absent": 0.3}
# Negative boxes are learned last, and most slowly.
_LAST = {"text": 0.33, "absent": 0.18, "exemplar": 0.17, "text+exemplar": 0.05, "negative": 0.27}
# And which of two alike a mask belongs to, once boxes know it.
_MASKS_LAST = {"mask": 20.0, "dice": 6.0, "dense": 0.3}
_ALL = {"text": 0.38, "absent": 0.22, "exemplar": 0.18, "text+exemplar": 0.07, "negative": 0.15}


@dataclass(frozen=True)
class Schedule(ABC, Generic[PlanT]):
    """A part of a training: so many steps at these rates.

    Attributes:
        name: what the log calls it.
        steps: steps of the optimizer.
        plan: what its batches hold.
        rate: learning rate at the end of the warm-up.
        last_rate: at the stage's end; between them half a cosine.
        warm_up: steps in which the rate rises from 0.
    """

    name: str
    steps: int
    plan: PlanT
    rate: float
    last_rate: float
    warm_up: int

    def rate_at(self, step: int) -> float:
        """Learning rate of step ``step`` (from 0) of the stage."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.last_rate + (self.rate - self.last_rate) * (1 + math.cos(math.pi * done)) / 2

    @property
    @abstractmethod
    def validated(self) -> bool:
        """Whether the whole model learns, so that validation says something of it."""


@dataclass(frozen=True)
class Stage(Schedule[Plan]):
    """A part of the detector's training. Without prompts, the vision encoder learns alone.

    Attributes:
        fine_pictures: pictures of a batch on which the finer feature levels and the masks are
            learned, the first ones.
        weights: what losses count that count otherwise in this stage.
    """

    fine_pictures: int = 0
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def validated(self) -> bool:
        return self.plan.prompts > 0


STAGES = (
    Stage("features", 1100, Plan(16, 6, 0, _TEXT), 1e-3, 3e-4, 50, 2),
    Stage("phrases", 500, Plan(8, 3, 4, _TEXT), 5e-4, 5e-4, 50, 3),
    Stage("prompts", 2300, Plan(8, 3, 4, _ALL), 5e-4, 5e-4, 1, 3),
    Stage("finish", 2100, Plan(8, 3, 4, _LAST), 5e-4, 1e-5, 1, 4, _MASKS_LAST),
)


StageT = TypeVar("StageT", bound=Schedule[Any])


@dataclass(frozen=True)
class Place(Generic[StageT]):
    """A step of the whole run: its stage, and how many steps of that stage lie behind."""

    stage: StageT
    done: int


def find_place(stages: Sequence[StageT], step: int) -> Place[StageT] | None:
    """Where step ``step`` (from 0) of the run is; None beyond the last stage."""
    for stage in stages:
        if step < stage.steps:
            return Place(stage, step)
        step -= stage.steps
    return None
