"""The objects on one frame of a film, and the forms they are handed on in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam3_tvm.runtime.concepts.results import Resize, coco_entry, sigmoid
from sam3_tvm.runtime.pictures.overlay import draw_tracked
from sam3_tvm.runtime.video.memory import Answer

__all__ = ["FrameResult"]


class FrameResult:
    """The objects on one frame, in the order in which they were first shown.

    Masks are made when they are first asked for.

    Attributes:
        index: the frame's number, from 0.
        objects: the objects' ids.
        scores: float32 [N], probability that each object is on the frame, 0 to 1.
        logits: float32 [N, 4S, 4S], masks as the model gives them; of an absent object all
            ``manifest.video.absent_logit``.
        size: height and width of the frame, pixels.
        rgb: the frame, uint8 [H, W, 3]; not to be written to.
    """

    def __init__(
        self,
        index: int,
        objects: Sequence[int],
        answers: Sequence[Answer],
        rgb: NDArray[np.uint8],
        side: int,
        resize: Resize,
    ) -> None:
        self.index = index
        self.objects = list(objects)
        self.rgb = rgb
        self.size = (rgb.shape[0], rgb.shape[1])
        found = np.array([answer.object_logit for answer in answers], np.float64)
        self.scores: NDArray[np.float32] = sigmoid(found).astype(np.float32)
        self.logits = np.zeros((len(answers), side, side), np.float32)
        for row, answer in enumerate(answers):
            self.logits[row] = answer.logits
        self._resize = resize
        self._masks: NDArray[np.bool_] | None = None

    @property
    def masks(self) -> NDArray[np.bool_]:
        """The masks at the frame's own size, bool [N, H, W]; computed once."""
        if self._masks is None:
            self._masks = np.zeros((len(self), *self.size), np.bool_)
            # One at a time: the resize computes in floating point.
            for row in range(len(self)):
                self._masks[row] = self._resize(self.logits[row : row + 1], self.size)[0]
        return self._masks

    def __len__(self) -> int:
        return len(self.objects)

    def __repr__(self) -> str:
        height, width = self.size
        count = f"{len(self)} object{'' if len(self) == 1 else 's'}"
        return f"FrameResult(frame {self.index}: {count}, {width}x{height})"

    def overlay(self, *, opacity: float = 0.45, labels: bool = True) -> Image.Image:
        """The frame with the masks drawn over it, an RGB image of its size.

        An object has the same colour on every frame, whichever others are there.

        Args:
            opacity: of the masks' colour, 0 to 1.
            labels: write each object's id at its mask.
        """
        return draw_tracked(self.rgb, self.objects, self.masks, opacity=opacity, labels=labels)

    def to_coco(self) -> list[dict[str, Any]]:
        """The objects in COCO's results format.

        Returns:
            One dictionary per object: ``frame`` and ``object_id``, ``segmentation`` (compressed
            run-length encoding with ``size`` [height, width] and ``counts`` as a string), ``bbox``
            of the mask (x, y, width, height in pixels), ``score`` and ``area`` (pixels).
        """
        return [
            {
                "frame": self.index,
                "object_id": name,
                **coco_entry(mask),
                "score": float(score),
            }
            for name, mask, score in zip(self.objects, self.masks, self.scores, strict=True)
        ]
