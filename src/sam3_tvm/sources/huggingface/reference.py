"""What transformers itself finds in a picture: the other side of ``verify``'s comparison.

Nothing of our runtime is used: pictures are resized by torch, phrases are tokenized by
transformers' tokenizer class, and the steps after the network are those of
``Sam3ImageProcessor.post_process_instance_segmentation``, written out here because that
module needs torchvision to be imported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from sam3_tvm.rules import Preprocessing
from sam3_tvm.sources.base import PromptSpec, ReferenceResult, pixel_values
from sam3_tvm.sources.huggingface.processing import phrase_length

__all__ = ["TransformersReference"]


class TransformersReference:
    """Runs ``Sam3Model`` end to end.

    Args:
        model: the ``Sam3Model``.
        tokenizer: its tokenizer as JSON text.
        pad_id: the id that pads phrases.
        preprocessing: how pictures become ``pixel_values``.
        patched: the source's scope for running the model.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: str,
        pad_id: int,
        preprocessing: Preprocessing,
        patched: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.model = model
        self.preprocessing = preprocessing
        self.patched = patched
        rules = Tokenizer.from_str(tokenizer)
        self.tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=rules, pad_token=rules.id_to_token(pad_id)
        )

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
        with self.patched():
            vision = self.model.get_vision_features(pixel_values(rgb, self.preprocessing))
            return [self._one(vision, prompt, height, width) for prompt in prompts]

    def _one(self, vision: Any, prompt: PromptSpec, height: int, width: int) -> ReferenceResult:
        tokens = self.tokenizer(
            [prompt.text or "visual"],
            padding="max_length",
            max_length=phrase_length(self.model.config),
            truncation=True,
            return_tensors="pt",
        )
        boxes: dict[str, torch.Tensor] = {}
        if prompt.boxes:
            x0, y0, x1, y1 = (torch.tensor(prompt.boxes) / torch.tensor([width, height] * 2)).T
            cxcywh = torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], -1)
            boxes = {
                "input_boxes": cxcywh[None],
                "input_boxes_labels": torch.tensor([prompt.labels]),
            }
        out = self.model(
            vision_embeds=vision,
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            **boxes,
        )
        scores = out.pred_logits.sigmoid() * out.presence_logits.sigmoid()
        pixels = out.pred_boxes * torch.tensor([width, height, width, height])
        probabilities = out.pred_masks.sigmoid()

        def masks(queries: NDArray[np.int64]) -> NDArray[np.bool_]:
            chosen = probabilities[:, torch.from_numpy(queries)]
            resized = torch.nn.functional.interpolate(
                chosen, size=(height, width), mode="bilinear", align_corners=False
            )
            result: NDArray[np.bool_] = (resized[0] > 0.5).numpy()
            return result

        return ReferenceResult(scores[0].numpy(), pixels[0].numpy(), masks)
