"""What ``evaluate`` found: every prompt's outcome, and the figures of groups of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.evaluate.average_precision import AveragePrecision
from sam3_tvm.evaluate.dataset import PictureEntry, Query
from sam3_tvm.evaluate.metrics import Counts, Figures, figures, quality
from sam3_tvm.evaluate.segmentation import Rle

__all__ = ["ALL", "HELD_OUT", "OTHERS", "Detections", "Evaluation", "Failure", "Outcome"]

ALL = "all"
HELD_OUT = "held out"
#: Behind a kind's name: its figures without the objects that the prompts' boxes are around.
OTHERS = ", others"


@dataclass(frozen=True)
class Detections:
    """Predictions for one prompt, highest score first.

    Attributes:
        scores: float32 [N].
        masks: run-length encoded, at the picture's size.
    """

    scores: NDArray[np.float32]
    masks: tuple[Rle, ...]

    def above(self, threshold: float) -> Detections:
        """Those with a higher score."""
        kept = int(np.count_nonzero(self.scores > threshold))
        return Detections(self.scores[:kept], self.masks[:kept])


@dataclass(frozen=True)
class Outcome:
    """One prompt: what was asked, predicted above the threshold, and matched.

    Attributes:
        picture, query: what was asked.
        detections: what was predicted.
        counts: how they agree.
        others: the same without the objects that positive boxes are around; None without such
            boxes.
    """

    picture: PictureEntry
    query: Query
    detections: Detections
    counts: Counts
    others: Counts | None

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain data, without masks."""
        query, counts = self.query, self.counts
        return {
            "picture": self.picture.path.name,
            "prompt": query.id,
            "text": query.text,
            "boxes": [list(box) for box in query.boxes],
            "box_labels": list(query.labels),
            "kind": query.kind,
            "held_out": query.held_out,
            "targets": counts.targets,
            "scores": self.detections.scores.tolist(),
            "matched_iou": list(counts.ious),
            "quality": quality(counts),
        }


@dataclass(frozen=True)
class Failure:
    """What couldn't be measured, and why: a prompt, or without one all of a picture."""

    picture: PictureEntry
    reason: str
    query: Query | None = None


@dataclass(frozen=True)
class Evaluation:
    """One model on one dataset.

    Attributes:
        outcomes: every prompt's, in the dataset's order, but for those that failed.
        ap: mask AP; None unless the prompts are the categories of a plain annotation file.
        seconds: taken by the model, reading pictures and measuring excluded.
        failed: pictures that couldn't be read, and prompts that a model doesn't take.
    """

    outcomes: tuple[Outcome, ...]
    ap: AveragePrecision | None
    seconds: float
    failed: tuple[Failure, ...] = ()

    @property
    def unread(self) -> int:
        """How many pictures failed as a whole."""
        return sum(one.query is None for one in self.failed)

    def figures(self) -> dict[str, Figures]:
        """Figures by group: kinds of prompts, for boxes also the objects beside those in the
        boxes, prompts about what training left out, and all."""
        groups: dict[str, Sequence[Counts]] = {}
        for kind in dict.fromkeys(o.query.kind for o in self.outcomes):
            members = [o for o in self.outcomes if o.query.kind == kind]
            groups[kind] = [o.counts for o in members]
            if others := [o.others for o in members if o.others is not None]:
                groups[f"{kind}{OTHERS}"] = others
        if held_out := [o.counts for o in self.outcomes if o.query.held_out]:
            groups[HELD_OUT] = held_out
        groups[ALL] = [o.counts for o in self.outcomes]
        return {name: figures(counts) for name, counts in groups.items()}

    def worst(self, count: int) -> list[Outcome]:
        """The prompts that were answered worst; of those answered alike the ones with most errors.

        Only prompts with an error, or with masks that are not the targets', are among them.
        """

        def errors(outcome: Outcome) -> int:
            counts = outcome.counts
            return counts.predictions + counts.targets - 2 * len(counts.ious)

        flawed = [o for o in self.outcomes if quality(o.counts) < 1]
        return sorted(flawed, key=lambda o: (quality(o.counts), -errors(o)))[:count]

    def to_json(self) -> dict[str, Any]:
        """The figures as plain data."""
        return {
            "figures": {name: asdict(one) for name, one in self.figures().items()},
            "ap": None if self.ap is None else asdict(self.ap),
            "seconds": self.seconds,
            "failed": [
                {
                    "picture": one.picture.path.name,
                    "prompt": None if one.query is None else one.query.id,
                    "reason": one.reason,
                }
                for one in self.failed
            ],
        }
