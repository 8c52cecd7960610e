"""COCO's annotation file, masks as compressed run lengths."""

from __future__ import annotations

from pathlib import Path

from sam3_tvm.annotate.collect import Listed
from sam3_tvm.annotate.formats.base import Contents, json_text
from sam3_tvm.annotate.records import AnnotatedPicture

__all__ = ["write"]


def write(folder: Path, contents: Contents) -> None:
    """``annotations.json``. Written line by line: a collection need not fit into memory.

    ``bbox`` is the detector's box, cut at the picture's edges.
    """
    with (folder / "annotations.json").open("w", encoding="ascii", newline="\n") as file:
        file.write(f'{{"info":{json_text(contents.about)},\n"licenses":[],\n"categories":[')
        entries = [{"id": n, "name": name} for n, name in enumerate(contents.categories, 1)]
        file.write(",\n".join(map(json_text, entries)))
        file.write('],\n"images":[')
        comma = ""
        for number, (listed, picture) in enumerate(contents.read(), 1):
            height, width = picture.size
            entry = {
                "id": _id(number, listed),
                "file_name": picture.name,
                "height": height,
                "width": width,
                "sha256": picture.sha256,
            }
            file.write(comma + json_text(entry))
            comma = ",\n"
        file.write('],\n"annotations":[')
        numbers = {name: n for n, name in enumerate(contents.categories, 1)}
        comma, count = "", 0
        for number, (listed, picture) in enumerate(contents.read(), 1):
            for entry in _annotations(_id(number, listed), picture, numbers):
                count += 1
                file.write(comma + json_text({"id": count, **entry}))
                comma = ",\n"
        file.write("]}\n")


def _id(number: int, listed: Listed) -> int:
    return number if listed.coco_id is None else listed.coco_id


def _annotations(
    image: int, picture: AnnotatedPicture, numbers: dict[str, int]
) -> list[dict[str, object]]:
    annotations: list[dict[str, object]] = []
    for one in picture.objects:
        x0, y0, x1, y1 = one.box
        annotations.append(
            {
                "image_id": image,
                "category_id": numbers[one.category],
                "segmentation": {"size": list(picture.size), "counts": one.counts},
                "area": one.area,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
                "score": one.score,
                "phrase": one.phrase,
            }
        )
    return annotations
