"""A frame with what was found on it, as outputs take it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image
from pycocotools import mask as coco

from sam3_tvm.runtime.concepts.results import coco_entry
from sam3_tvm.runtime.pictures.overlay import draw_tracked
from sam3_tvm.runtime.video.result import FrameResult

__all__ = ["TrackedFrame"]


@dataclass(frozen=True)
class TrackedFrame:
    """Objects on a frame.

    Attributes:
        index: the frame's number, from 0.
        rgb: uint8 [H, W, 3].
        objects: the objects' ids.
        masks: bool [N, H, W].
        scores: one per object, 0 to 1: how likely it is on the frame.
    """

    index: int
    rgb: NDArray[np.uint8]
    objects: Sequence[int]
    masks: NDArray[np.bool_]
    scores: Sequence[float]

    @staticmethod
    def of(result: FrameResult) -> TrackedFrame:
        """What a session gave."""
        scores = [float(score) for score in result.scores]
        return TrackedFrame(result.index, result.rgb, list(result.objects), result.masks, scores)

    def corrected(self, by: TrackedFrame) -> TrackedFrame:
        """This frame with the objects of ``by`` as they are there."""
        rows = {name: row for row, name in enumerate(by.objects)}
        masks, scores = self.masks.copy(), list(self.scores)
        for row, name in enumerate(self.objects):
            if name in rows:
                masks[row], scores[row] = by.masks[rows[name]], by.scores[rows[name]]
        return TrackedFrame(self.index, self.rgb, self.objects, masks, scores)

    @cached_property
    def overlay(self) -> Image:
        """The frame with masks, and each object's number at its own; colours go by the number.

        Not to be changed: every output gets the same.
        """
        return draw_tracked(self.rgb, self.objects, self.masks)

    def line(self, fps: float | None) -> str:
        """The objects as one line of JSON, masks run-length encoded as in COCO's results."""
        objects = [
            {"id": name, "score": score, **coco_entry(mask)}
            for name, mask, score in zip(self.objects, self.masks, self.scores, strict=True)
        ]
        time = None if not fps else round(self.index / fps, 6)
        return json.dumps({"frame": self.index, "time": time, "objects": objects})

    @staticmethod
    def from_line(line: str, rgb: NDArray[np.uint8]) -> TrackedFrame:
        """The inverse of :meth:`line`."""
        record: dict[str, Any] = json.loads(line)
        objects = record["objects"]
        masks = np.zeros((len(objects), *rgb.shape[:2]), np.bool_)
        for row, one in enumerate(objects):
            masks[row] = coco.decode(one["segmentation"])
        names, scores = [one["id"] for one in objects], [one["score"] for one in objects]
        return TrackedFrame(record["frame"], rgb, names, masks, scores)
