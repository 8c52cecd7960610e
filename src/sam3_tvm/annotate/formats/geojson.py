"""GeoJSON, a file for each picture, in pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sam3_tvm.annotate.formats.base import Contents, json_text, stems
from sam3_tvm.annotate.records import AnnotatedObject, AnnotatedPicture
from sam3_tvm.runtime.pictures.polygons import Polygon, mask_polygons
from sam3_tvm.tiles.geo import crs_member, geometry

__all__ = ["outline", "write"]


def write(folder: Path, contents: Contents) -> None:
    """``NAME.geojson``: each object a Polygon or a MultiPolygon along the edges of its pixels.

    Coordinates are x, y in pixels from the picture's upper left corner, y downward; in the
    coordinate system of a picture whose place on the earth is known, with the member ``crs``.
    """
    names = stems((listed for listed, _ in contents.read()), flat=False, suffix=".geojson")
    for name, (_, picture) in zip(names, contents.read(), strict=True):
        path = folder / f"{name}.geojson"
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = picture.size
        about = json_text({"file_name": picture.name, "width": width, "height": height})
        with path.open("w", encoding="ascii", newline="\n") as file:
            crs = "".join(f',"{k}":{json_text(v)}' for k, v in crs_member(picture.place).items())
            file.write(f'{{"type":"FeatureCollection"{crs},"picture":{about},"features":[')
            features = (json_text(_feature(one, picture)) for one in picture.objects)
            file.write(",\n".join(features))
            file.write("]}\n")


def _feature(one: AnnotatedObject, picture: AnnotatedPicture) -> dict[str, Any]:
    return {
        "type": "Feature",
        "properties": {
            "category": one.category,
            "phrase": one.phrase,
            "score": one.score,
            "area": one.area,
        },
        "geometry": geometry(outline(one, picture.size), picture.place),
    }


def outline(one: AnnotatedObject, size: tuple[int, int]) -> list[Polygon]:
    """The connected parts of an object's mask, in the picture's pixels."""
    left, top, mask = one.window(size)
    shift = np.array([left, top], np.int32)
    return [
        Polygon(outer + shift, tuple(hole + shift for hole in holes))
        for outer, holes in mask_polygons(mask)
    ]
