"""GeoJSON, a file for each picture, in pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.annotate.formats.base import Contents, json_text, stems
from sam3_tvm.annotate.records import AnnotatedObject
from sam3_tvm.runtime.pictures.polygons import mask_polygons

__all__ = ["write"]


def write(folder: Path, contents: Contents) -> None:
    """``NAME.geojson``: each object a Polygon or a MultiPolygon along the edges of its pixels.

    Coordinates are x, y in pixels from the picture's upper left corner, y downward.
    """
    names = stems((listed for listed, _ in contents.read()), flat=False, suffix=".geojson")
    for name, (_, picture) in zip(names, contents.read(), strict=True):
        path = folder / f"{name}.geojson"
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = picture.size
        about = json_text({"file_name": picture.name, "width": width, "height": height})
        with path.open("w", encoding="ascii", newline="\n") as file:
            file.write(f'{{"type":"FeatureCollection","picture":{about},"features":[')
            features = (json_text(_feature(one, picture.size)) for one in picture.objects)
            file.write(",\n".join(features))
            file.write("]}\n")


def _feature(one: AnnotatedObject, size: tuple[int, int]) -> dict[str, Any]:
    left, top, mask = one.window(size)
    shift = np.array([left, top], np.int32)
    pieces = [
        [_closed(outer + shift), *(_closed(hole + shift) for hole in holes)]
        for outer, holes in mask_polygons(mask)
    ]
    single = len(pieces) == 1
    return {
        "type": "Feature",
        "properties": {
            "category": one.category,
            "phrase": one.phrase,
            "score": one.score,
            "area": one.area,
        },
        "geometry": {
            "type": "Polygon" if single else "MultiPolygon",
            "coordinates": pieces[0] if single else pieces,
        },
    }


def _closed(ring: NDArray[np.int32]) -> list[list[int]]:
    """Corners x, y [K, 2] as GeoJSON has them: the first comes again as the last."""
    corners: list[list[int]] = ring.tolist()
    return [*corners, corners[0]]
