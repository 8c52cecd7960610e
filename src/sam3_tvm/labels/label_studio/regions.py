"""Masks as Label Studio's regions."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.labels.label_studio import brush
from sam3_tvm.labels.label_studio.config import Control
from sam3_tvm.labels.outlines import mask_outlines
from sam3_tvm.runtime.pictures.masks import mask_box

__all__ = ["mask_regions"]


def mask_regions(
    mask: NDArray[np.bool_],
    box: NDArray[np.float32] | None,
    score: float,
    label: str,
    control: Control,
    image: str,
) -> list[dict[str, Any]]:
    """What a tag's regions say of a mask.

    Args:
        mask: bool [H, W].
        box: float32 [4], x0, y0, x1, y1 in pixels; by default the mask's.
        score: 0 to 1.
        label: one of the tag's.
        control: the tag.
        image: the name of the picture's tag.

    Returns:
        A region of the brush or a rectangle; of polygons one for each part of the mask, without
        its holes, since a polygon of Label Studio has none. None if the mask is empty.

    Raises:
        MissingExtraError: polygons need shapely.
    """
    height, width = mask.shape
    if not mask.any():
        return []
    percent = np.array([100 / width, 100 / height])
    values: list[dict[str, Any]]
    if control.kind == "brushlabels":
        values = [{"format": "rle", "rle": brush.encode(mask)}]
    elif control.kind == "polygonlabels":
        values = [
            {"points": (ring * percent).tolist(), "closed": True}
            for ring in mask_outlines(mask, "serve")
        ]
    else:
        x0, y0, x1, y1 = mask_box(mask) if box is None else box.tolist()
        left, top = x0 * percent[0], y0 * percent[1]
        across, down = (x1 - x0) * percent[0], (y1 - y0) * percent[1]
        values = [{"x": left, "y": top, "width": across, "height": down, "rotation": 0}]
    about = {
        "from_name": control.name,
        "to_name": image,
        "type": control.kind,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": score,
    }
    return [
        {"id": uuid.uuid4().hex[:10], **about, "value": {**value, control.kind: [label]}}
        for value in values
    ]
