"""labelme's files, a file for each picture, objects as masks."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sam3_tvm.annotate.formats.base import Contents, json_text, stems
from sam3_tvm.annotate.records import AnnotatedObject

__all__ = ["write"]

# The version whose form this is: the first of those that know masks and are still read.
_VERSION = "5.2.1"


def write(folder: Path, contents: Contents) -> None:
    """``NAME.json``, which leads to its picture by a path from its own folder."""
    names = stems((listed for listed, _ in contents.read()), flat=False, suffix=".json")
    for name, (listed, picture) in zip(names, contents.read(), strict=True):
        path = folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        place = (contents.folder / f"{name}.json").parent
        height, width = picture.size
        document: dict[str, Any] = {
            "version": _VERSION,
            "flags": {},
            "shapes": [_shape(one, picture.size) for one in picture.objects],
            "imagePath": Path(os.path.relpath(listed.path, place)).as_posix(),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        path.write_text(f"{json_text(document)}\n", encoding="ascii", newline="\n")


def _shape(one: AnnotatedObject, size: tuple[int, int]) -> dict[str, Any]:
    x0, y0, mask = one.window(size)
    # Both corners are pixels of the mask's box.
    x1, y1 = x0 + mask.shape[1] - 1, y0 + mask.shape[0] - 1
    stream = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(stream, format="PNG")
    return {
        "label": one.category,
        "points": [[x0, y0], [x1, y1]],
        "group_id": None,
        "description": one.phrase,
        "shape_type": "mask",
        "flags": {},
        "mask": base64.b64encode(stream.getvalue()).decode("ascii"),
        "score": one.score,
    }
