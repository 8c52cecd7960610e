"""What transformers' tracker makes of clicks: the other side of ``verify``'s comparison.

Nothing of our runtime is used. Coordinates are scaled and masks are resized as by
``Sam3TrackerProcessor``, written out here because that module needs torchvision to be imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sam3_tvm.rules import Preprocessing
from sam3_tvm.sources.base import ClickReferenceResult, ClickSpec, pixel_values

__all__ = ["TrackerReference"]


class TrackerReference:
    """Runs ``Sam3TrackerModel`` end to end.

    Args:
        tracker: the ``Sam3TrackerModel``.
        preprocessing: how pictures become ``pixel_values``.
    """

    def __init__(self, tracker: Any, preprocessing: Preprocessing) -> None:
        self.tracker = tracker
        self.preprocessing = preprocessing

    @torch.no_grad()
    def click(
        self, rgb: NDArray[np.uint8], prompts: Sequence[ClickSpec]
    ) -> list[ClickReferenceResult]:
        """The masks of each prompt, one object each.

        Args:
            rgb: the picture, ``[H, W, 3]``.
            prompts: what is clicked.
        """
        pixels = pixel_values(rgb, self.preprocessing)
        embeddings = self.tracker.get_image_embeddings(pixels)
        return [self._one(embeddings, prompt, rgb.shape[:2]) for prompt in prompts]

    def _one(self, embeddings: Any, prompt: ClickSpec, size: Any) -> ClickReferenceResult:
        side = self.preprocessing.image_size
        scale = torch.tensor([side / size[1], side / size[0]])
        given: dict[str, torch.Tensor] = {}
        if prompt.points:
            given["input_points"] = (torch.tensor(prompt.points) * scale)[None, None]
            given["input_labels"] = torch.tensor(prompt.labels)[None, None]
        if prompt.box is not None:
            given["input_boxes"] = (torch.tensor(prompt.box) * scale.repeat(2))[None, None]

        def answer(**more: torch.Tensor) -> Any:
            return self.tracker(
                image_embeddings=embeddings, multimask_output=prompt.multimask, **given, **more
            )

        out = answer()
        if prompt.refined:
            best = out.iou_scores[0, 0].argmax()
            out = answer(input_masks=out.pred_masks[:, 0, best][:, None])
        resized = torch.nn.functional.interpolate(
            out.pred_masks[:, 0], size=tuple(size), mode="bilinear", align_corners=False
        )
        return ClickReferenceResult(out.iou_scores[0, 0].numpy(), (resized[0] > 0).numpy())
