"""A frame's result as a line of JSON, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from sam3_tvm.runtime.pictures.masks import LazyMasks, coco_entry
from sam3_tvm.runtime.video.result import FrameResult

__all__ = ["from_line", "from_record", "to_line"]


def to_line(frame: FrameResult, fps: float | None) -> str:
    """The objects as one line of JSON, masks run-length encoded as in COCO's results.

    An object that a phrase found has a ``phrase``; those that were shown have none.
    """
    objects = [
        {
            "id": name,
            **({} if phrase is None else {"phrase": phrase}),
            "score": float(score),
            **coco_entry(mask),
        }
        for name, phrase, mask, score in zip(
            frame.objects, frame.phrases, frame.masks, frame.scores, strict=True
        )
    ]
    time = None if not fps else round(frame.index / fps, 6)
    return json.dumps({"frame": frame.index, "time": time, "objects": objects})


def from_line(line: str, rgb: NDArray[np.uint8]) -> FrameResult:
    """The inverse of :func:`to_line`; the result has masks and no logits."""
    return from_record(json.loads(line), rgb)


def from_record(record: Mapping[str, Any], rgb: NDArray[np.uint8]) -> FrameResult:
    """As :func:`from_line`, of a line that has been read."""
    objects = record["objects"]
    size = (rgb.shape[0], rgb.shape[1])
    masks = np.zeros((len(objects), *size), np.bool_)
    for row, one in enumerate(objects):
        masks[row] = coco.decode(one["segmentation"])
    names, scores = [one["id"] for one in objects], [one["score"] for one in objects]
    phrases = [one.get("phrase") for one in objects]
    found = LazyMasks(size, None, made=masks)
    return FrameResult(record["frame"], names, np.array(scores, np.float32), found, rgb, phrases)
