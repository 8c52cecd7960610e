"""Where each object was seen in a film."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sam3_tvm.runtime.video.result import FrameResult

__all__ = ["Tally"]


@dataclass
class Tally:
    """What the summary says: frames written, and for each object where it was.

    Attributes:
        frames: how many frames were written.
        objects: by id, ``frames`` on which it was seen, the ``first`` and the ``last`` of them,
            and the sums of its ``score`` and ``area`` there; ``phrase`` where one found it.
    """

    frames: int = 0
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __str__(self) -> str:
        """How many frames were written, in words."""
        return f"{self.frames} frame{'' if self.frames == 1 else 's'}"

    def add(self, frame: FrameResult) -> None:
        """Count one frame more, which was written."""
        self.frames += 1
        for name, phrase, mask, score in zip(
            frame.objects, frame.phrases, frame.masks, frame.scores, strict=True
        ):
            blank: dict[str, Any] = {} if phrase is None else {"phrase": phrase}
            blank |= {"frames": 0, "first": None, "last": None, "score": 0.0, "area": 0}
            entry = self.objects.setdefault(f"{name}", blank)
            area = int(mask.sum())
            if area == 0:
                continue
            entry["frames"] += 1
            entry["first"] = frame.index if entry["first"] is None else entry["first"]
            entry["last"] = frame.index
            entry["score"] += float(score)
            entry["area"] += area

    def found(self, phrase: str) -> int:
        """How many objects a phrase found."""
        return sum(entry.get("phrase") == phrase for entry in self.objects.values())
