"""What the tracker learns when."""

from __future__ import annotations

from dataclasses import dataclass

from training.stages import Schedule
from training.tracking.batches import ClipPlan

__all__ = ["STAGES", "ClipStage"]

_PICTURES = {"mask": 0.35, "box": 0.2, "click": 0.35, "clicks": 0.1}
# A film by phrase begins with masks.
_CLIPS = {"mask": 0.5, "box": 0.15, "click": 0.25, "clicks": 0.1}


@dataclass(frozen=True)
class ClipStage(Schedule[ClipPlan]):
    """A part of the tracker's training. A step takes two batches.

    Attributes:
        neck: the neck's learning rate, of that.
    """

    neck: float

    @property
    def validated(self) -> bool:
        return self.plan.frames > 1


STAGES = (
    ClipStage("pictures", 300, ClipPlan(3, 1, 3, _PICTURES), 1e-3, 1e-3, 20, 0.0),
    ClipStage("short clips", 450, ClipPlan(1, 4, 3, _CLIPS), 1e-3, 1e-3, 20, 0.1),
    ClipStage("clips", 230, ClipPlan(1, 8, 3, _CLIPS, again=0.3), 1e-3, 1e-5, 1, 0.2),
)
