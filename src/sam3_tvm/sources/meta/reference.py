"""What Meta's package itself finds in a picture: the other side of ``verify``'s comparison.

Nothing of our runtime is used. Phrases, boxes and points go into ``Sam3Image.forward_grounding``;
the steps before and after it are those of ``Sam3Processor``, written out here because that
class resizes pictures by torchvision, which needs not be there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sam3_tvm.rules import Preprocessing
from sam3_tvm.sources.base import PromptSpec, ReferenceResult, pixel_values
from sam3_tvm.sources.meta.environment import meta_environment

__all__ = ["MetaReference"]


class MetaReference:
    """Runs ``Sam3Image`` end to end.

    Args:
        model: the ``Sam3Image``.
        preprocessing: how pictures become the network's input.
    """

    def __init__(self, model: Any, preprocessing: Preprocessing) -> None:
        self.model = model
        self.preprocessing = preprocessing

    @torch.no_grad()
    def segment(
        self, rgb: NDArray[np.uint8], prompts: Sequence[PromptSpec]
    ) -> list[ReferenceResult]:
        """All queries of each prompt, unfiltered.

        Args:
            rgb: the picture, ``[H, W, 3]``.
            prompts: what to look for.
        """
        height, width = rgb.shape[:2]
        with meta_environment():
            vision = self.model.backbone.forward_image(pixel_values(rgb, self.preprocessing))
            return [self._one(vision, prompt, height, width) for prompt in prompts]

    def _one(
        self, vision: dict[str, Any], prompt: PromptSpec, height: int, width: int
    ) -> ReferenceResult:
        from sam3.model.data_misc import FindStage

        words = self.model.backbone.forward_text([prompt.text or "visual"], device="cpu")
        out = self.model.forward_grounding(
            backbone_out={**vision, **words},
            find_input=FindStage(
                img_ids=torch.tensor([0]),
                text_ids=torch.tensor([0]),
                input_boxes=None,
                input_boxes_mask=None,
                input_boxes_label=None,
                input_points=None,
                input_points_mask=None,
            ),
            find_target=None,
            geometric_prompt=self._geometry(prompt, height, width),
        )
        presence = out["presence_logit_dec"].sigmoid()
        scores = out["pred_logits"].sigmoid()[0, :, 0] * presence[0]
        boxes = out["pred_boxes_xyxy"][0] * torch.tensor([width, height, width, height])
        logits = out["pred_masks"]

        def masks(queries: NDArray[np.int64]) -> NDArray[np.bool_]:
            resized = torch.nn.functional.interpolate(
                logits[0, torch.from_numpy(queries), None],
                size=(height, width),
                mode="bilinear",
                align_corners=False,
            )
            result: NDArray[np.bool_] = (resized[:, 0].sigmoid() > 0.5).numpy()
            return result

        return ReferenceResult(scores.numpy(), boxes.numpy(), masks)

    def _geometry(self, prompt: PromptSpec, height: int, width: int) -> Any:
        """Boxes, one after the other, as ``Sam3Processor.add_geometric_prompt`` adds them, then
        points, which that class leaves out."""
        geometry = self.model._get_dummy_prompt()
        for box, label in zip(prompt.boxes, prompt.labels, strict=True):
            x0, y0, x1, y1 = (torch.tensor(box) / torch.tensor([width, height] * 2)).tolist()
            centred = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0])
            geometry.append_boxes(centred.view(1, 1, 4), torch.tensor([[bool(label)]]))
        for point, label in zip(prompt.points, prompt.point_labels, strict=True):
            place = torch.tensor(point) / torch.tensor([width, height])
            geometry.append_points(place.view(1, 1, 2), torch.tensor([[label]]))
        return geometry
