"""A small annotation file whose objects are rectangles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]

HEIGHT, WIDTH = 20, 30

BOXES = [(1, 1, 5, 5), (10, 2, 18, 12), (20, 10, 29, 19), (0, 0, 10, 20), (15, 5, 25, 15)]


def polygon(box: Box) -> list[list[int]]:
    """A rectangle x0, y0, x1, y1 as COCO's polygon."""
    x0, y0, x1, y1 = box
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def rectangle(box: Box) -> np.ndarray:
    """Its mask."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def document() -> dict[str, Any]:
    """Two pictures: two dogs and a cat in the first, a crowd of dogs and a dog in the second."""
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "height": HEIGHT, "width": WIDTH},
            {"id": 3, "file_name": "b.png", "height": HEIGHT, "width": WIDTH},
        ],
        "annotations": [
            {
                "id": number,
                "image_id": 7 if number < 3 else 3,
                "category_id": 2 if number == 2 else 1,
                "segmentation": polygon(box),
                "iscrowd": int(number == 3),
            }
            for number, box in enumerate(BOXES)
        ],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
    }


def prompt(number: int, image: int = 7, **changes: Any) -> dict[str, Any]:
    """A prompt of an annotation file."""
    values = {
        "id": number,
        "image_id": image,
        "text": "dog",
        "boxes": [],
        "box_labels": [],
        "annotation_ids": [0, 1],
        "kind": "text",
        "held_out": False,
    }
    return values | changes


def write_folder(folder: Path, document: dict[str, Any]) -> Path:
    """The document as annotations.json, with the pictures that it names."""
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate(("a.png", "b.png")):
        noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(noise).save(folder / name)
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder
