"""What the tracker learns when."""

from __future__ import annotations

from dataclasses import dataclass

from training.stages import Schedule
from training.tracking.batches import ClipPlan

__all__ = ["STAGES", "ClipStage"]

_PICTURES = {"mask": 0.35, "box": 0.2, "click": 0.35, "clicks": 0.1}
_PROMPTS = {"mask": 0.15, "box": 0.3, "click": 0.4, "clicks": 0.15}
# A film by phrase begins with masks.
_CLIPS = {"mask": 0.5, "box": 0.15, "click": 0.25, "clicks": 0.1}


@dataclass(frozen=True)
class ClipStage(Schedule[ClipPlan]):
    """A part of the tracker's training. A step takes two batches.

    Attributes:
        neck: the neck's learning rate, of that.
        beside: of what a third batch consists, if a step takes one.
    """

    neck: float
    beside: ClipPlan | None = None

    @property
    def validated(self) -> bool:
        return self.plan.frames > 1


STAGES = (
    # The neck stands still until a click means a place; see training/README.md.
    ClipStage("pictures", 300, ClipPlan(3, 1, 3, _PICTURES), 1e-3, 1e-3, 20, 0.0),
    ClipStage("prompts", 2000, ClipPlan(3, 1, 3, _PROMPTS), 1e-3, 1e-3, 20, 0.1),
    ClipStage("short clips", 800, ClipPlan(1, 4, 3, _CLIPS), 1e-3, 1e-3, 20, 0.1),
    # Clips alone show few things by a box or a click: what these mean fades.
    ClipStage(
        "clips",
        550,
        ClipPlan(1, 8, 3, _CLIPS, again=0.3),
        1e-3,
        6e-4,
        1,
        0.2,
        beside=ClipPlan(4, 1, 3, _PROMPTS),
    ),
    # As many frames as a film's pointers reach back; eight leave more than half of that unlearned.
    ClipStage(
        "long clips",
        600,
        ClipPlan(1, 16, 3, _CLIPS, again=0.3),
        6e-4,
        1e-5,
        20,
        0.2,
        beside=ClipPlan(4, 1, 3, _PROMPTS),
    ),
)
