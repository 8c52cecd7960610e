"""The PyTorch reference of a checkpoint as something to evaluate. Needs the extra [compile]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.evaluate.dataset import Query
from sam3_tvm.evaluate.report import Detections
from sam3_tvm.evaluate.segmentation import encode
from sam3_tvm.sources import open_source
from sam3_tvm.sources.base import PromptSpec

__all__ = ["ReferenceDetector"]


class ReferenceDetector:
    """A checkpoint's own model in PyTorch, with its own preprocessing and tokenizer.

    Args:
        checkpoint: as ``sam3-tvm compile`` takes it.
        image_size: side of the model's picture in pixels; None for the checkpoint's own.

    Raises:
        SourceError: nothing of that name, or no SAM 3 checkpoint.
        ImageSizeError: a size that it can't be given.
    """

    def __init__(self, checkpoint: str, image_size: int | None = None) -> None:
        source = open_source(checkpoint, ("concepts",), image_size)
        self._segmenter = source.reference_segmenter()

    def __call__(
        self, rgb: NDArray[np.uint8], queries: Sequence[Query], threshold: float
    ) -> list[Detections]:
        prompts = [PromptSpec(q.text, q.boxes, q.labels) for q in queries]
        found = []
        for result in self._segmenter.segment(rgb, prompts):
            kept = np.flatnonzero(result.scores > threshold)
            order = kept[np.argsort(-result.scores[kept], kind="stable")]
            masks = tuple(encode(mask) for mask in result.masks(order)) if order.size else ()
            found.append(Detections(result.scores[order], masks))
        return found
