"""The objects on one frame of a film, and the forms they are handed on in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam3_tvm.errors import ResultError
from sam3_tvm.runtime.pictures import forms
from sam3_tvm.runtime.pictures.kept_picture import KeptPicture
from sam3_tvm.runtime.pictures.masks import LazyMasks, coco_entry
from sam3_tvm.runtime.pictures.overlay import draw_tracked
from sam3_tvm.runtime.pictures.result import PictureResult

__all__ = ["FrameResult"]


class FrameResult(PictureResult):
    """The objects on one frame, in the order in which they were first shown.

    Masks are made when they are first asked for.

    Attributes:
        index: the frame's number, from 0.
        objects: the objects' ids.
        phrases: the phrase that found each object; None of one that was shown.
        scores: float32 [N], 0 to 1: of an object that was shown the probability that it is on the
            frame, of one that a phrase found the score of the detection that it began with.
        logits: float32 [N, 4S, 4S], masks as the model gives them; of an absent object all
            ``manifest.video.absent_logit``.
        size: height and width of the frame, pixels.
        rgb: the frame, uint8 [H, W, 3]; not to be written to.
    """

    def __init__(
        self,
        index: int,
        objects: Sequence[int],
        scores: NDArray[np.float32],
        masks: LazyMasks,
        rgb: NDArray[np.uint8],
        phrases: Sequence[str | None] | None = None,
    ) -> None:
        super().__init__(masks, KeptPicture(rgb))
        self.index = index
        self.objects = list(objects)
        self.scores = scores
        self.rgb = rgb
        self.phrases = [None] * len(self.objects) if phrases is None else list(phrases)

    def to_dict(self) -> dict[str, Any]:
        named = ("index", "objects", "phrases", "scores")
        return {**{name: getattr(self, name) for name in named}, **super().to_dict()}

    def corrected(self, by: FrameResult) -> FrameResult:
        """This frame with the objects of ``by`` as they are there.

        Raises:
            ResultError: ``by`` is no :class:`FrameResult`, or of a frame of another size.
        """
        if not isinstance(by, FrameResult):
            raise ResultError(
                f"a frame is corrected by another FrameResult, such as add() gives, not by a "
                f"{type(by).__name__}"
            )
        if by.size != self.size:
            (height, width), (h, w) = self.size, by.size
            raise ResultError(f"a frame of {width}x{height} cannot be corrected by one of {w}x{h}")
        rows = {name: row for row, name in enumerate(by.objects)}
        masks, scores = self.masks.copy(), self.scores.copy()
        both = self._masks.logits is not None and by._masks.logits is not None
        logits = self.logits.copy() if both else None
        for row, name in enumerate(self.objects):
            if (other := rows.get(name)) is None:
                continue
            masks[row], scores[row] = by.masks[other], by.scores[other]
            if logits is not None:
                logits[row] = by.logits[other]
        made = LazyMasks(self.size, logits, made=masks)
        return FrameResult(self.index, self.objects, scores, made, self.rgb, self.phrases)

    def __len__(self) -> int:
        return len(self.objects)

    def __repr__(self) -> str:
        height, width = self.size
        count = f"{len(self)} object{'' if len(self) == 1 else 's'}"
        return f"FrameResult(frame {self.index}: {count}, {width}x{height})"

    def to_detections(self) -> Any:
        there = [row for row, mask in enumerate(self.masks) if mask.any()]
        return forms.detections(
            self._corners()[there],
            self.masks[there],
            self.scores[there],
            objects=[self.objects[row] for row in there],
        )

    def _drawn(self) -> Image.Image:
        return self.overlay()

    def _about(self) -> dict[str, Any]:
        return {"frame": self.index}

    def _confidence(self) -> NDArray[np.float32]:
        return self.scores

    def _labels(self) -> dict[str, Sequence[Any]]:
        frames = [self.index] * len(self)
        return {"frame": frames, "object": self.objects, "score": self.scores.tolist()}

    def overlay(self, *, opacity: float = 0.45, labels: bool = True) -> Image.Image:
        """The frame with the masks drawn over it, an RGB image of its size.

        An object has the same colour on every frame, whichever others are there.

        Args:
            opacity: of the masks' colour, 0 to 1.
            labels: write each object's id at its mask, with the phrase that found it.

        Raises:
            ResultError: an opacity that is no number from 0 to 1.
        """
        return draw_tracked(
            self.rgb, self.objects, self.masks, self.phrases, opacity=opacity, labels=labels
        )

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
