"""What the tracker learns when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from training.tracking.batches import ClipPlan

__all__ = ["STAGES", "ClipStage", "find_place"]

_PICTURES = {"mask": 0.35, "box": 0.2, "click": 0.35, "clicks": 0.1}
# A film by phrase begins with masks.
_CLIPS = {"mask": 0.5, "box": 0.15, "click": 0.25, "clicks": 0.1}


@dataclass(frozen=True)
class ClipStage:
    """A part of the training.

    Attributes:
        name: what the log calls it.
        steps: steps of the optimizer.
        plan: what its batches hold; a step takes two.
        rate: learning rate at the end of the warm-up.
        last_rate: at the stage's end; between them half a cosine.
        warm_up: steps in which the rate rises from 0.
        neck: the neck's learning rate, of that.
    """

    name: str
    steps: int
    plan: ClipPlan
    rate: float
    last_rate: float
    warm_up: int
    neck: float

    def rate_at(self, step: int) -> float:
        """Learning rate of step ``step`` (from 0) of the stage."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.last_rate + (self.rate - self.last_rate) * (1 + math.cos(math.pi * done)) / 2


STAGES = (
    ClipStage("pictures", 300, ClipPlan(3, 1, 3, _PICTURES), 1e-3, 1e-3, 20, 0.0),
    ClipStage("short clips", 450, ClipPlan(1, 4, 3, _CLIPS), 1e-3, 1e-3, 20, 0.1),
    ClipStage("clips", 230, ClipPlan(1, 8, 3, _CLIPS, again=0.3), 1e-3, 1e-5, 1, 0.2),
)


def find_place(stages: Sequence[ClipStage], step: int) -> tuple[ClipStage, int] | None:
    """The stage of step ``step`` (from 0) of a run, and how many of its steps lie behind; None
    beyond the last stage."""
    for stage in stages:
        if step < stage.steps:
            return stage, step
        step -= stage.steps
    return None
