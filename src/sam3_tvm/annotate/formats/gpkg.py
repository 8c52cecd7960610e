"""GeoPackage, a file for each picture, in its coordinate system."""

from __future__ import annotations

from pathlib import Path

from sam3_tvm.annotate.formats.base import Contents, stems
from sam3_tvm.annotate.formats.geojson import outline
from sam3_tvm.tiles.geo import write_features

__all__ = ["write"]


def write(folder: Path, contents: Contents) -> None:
    """``NAME.gpkg`` with the layer ``objects``; in pixels where no coordinate system is known."""
    names = stems((listed for listed, _ in contents.read()), flat=False, suffix=".gpkg")
    for name, (_, picture) in zip(names, contents.read(), strict=True):
        path = folder / f"{name}.gpkg"
        path.parent.mkdir(parents=True, exist_ok=True)
        objects = (
            (
                {
                    "text": one.phrase,
                    "category": one.category,
                    "score": float(one.score),
                    "area": one.area,
                },
                outline(one, picture.size),
            )
            for one in picture.objects
        )
        write_features(path, objects, picture.place)
