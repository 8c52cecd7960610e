"""Outlines in a picture's coordinate system: GeoJSON and GeoPackage."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.extras import needed
from sam3_tvm.files import write_whole
from sam3_tvm.runtime.pictures.polygons import Polygon
from sam3_tvm.tiles.place import Place

__all__ = [
    "Outlined",
    "check_geopackage",
    "crs_member",
    "geometry",
    "write_features",
    "write_geojson",
    "write_geopackage",
]


def geometry(polygons: Sequence[Polygon], place: Place | None) -> dict[str, Any]:
    """An outline as GeoJSON has it: a Polygon, or a MultiPolygon of several parts.

    In a coordinate system outer rings go anticlockwise as one sees them, by RFC 7946; in pixels,
    y downward, clockwise.
    """
    parts = [
        [_ring(outer, place, True), *(_ring(hole, place, False) for hole in holes)]
        for outer, holes in polygons
    ]
    single = len(parts) == 1
    return {
        "type": "Polygon" if single else "MultiPolygon",
        "coordinates": parts[0] if single else parts,
    }


def _ring(corners: NDArray[np.int32], place: Place | None, outer: bool) -> list[list[float]]:
    """Corners, the first again as the last."""
    if place is None:
        ring: list[list[float]] = corners.tolist()
    else:
        placed = place.of(corners)
        x, y = placed.T
        anticlockwise = float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) > 0
        ring = (placed if anticlockwise == outer else placed[::-1]).tolist()
    return [*ring, ring[0]]


def crs_member(place: Place | None) -> dict[str, Any]:
    """The member ``crs`` of a FeatureCollection, as GDAL and QGIS read it; none of pixels.

    RFC 7946 knows degrees on WGS 84 alone; the member is that of the standard before it.
    """
    if place is None:
        return {}
    authority, _, code = place.crs.partition(":")
    name = f"urn:ogc:def:crs:{authority}::{code}" if code.isdigit() else place.crs
    return {"crs": {"type": "name", "properties": {"name": name}}}


Outlined = tuple[dict[str, Any], list[Polygon]]
"""An object's properties, text and numbers, and its outline in pixels."""


def write_geojson(path: Path, objects: Iterable[Outlined], place: Place | None) -> None:
    """Write objects of one picture, a feature on a line each.

    Raises:
        UsageError: the file cannot be written.
    """

    def save(partial: Path) -> None:
        with partial.open("w", encoding="ascii", newline="\n") as file:
            head = json.dumps({"type": "FeatureCollection", **crs_member(place)})
            file.write(f'{head[:-1]}, "features": [')
            comma = "\n"
            for about, polygons in objects:
                shape = geometry(polygons, place)
                one = {"type": "Feature", "properties": about, "geometry": shape}
                file.write(comma + json.dumps(one))
                comma = ",\n"
            file.write("\n]}\n")

    write_whole(path, save)


def check_geopackage() -> None:
    """Whether GeoPackages can be written.

    Raises:
        MissingExtraError: a package of the extra ``[geo]`` is missing.
    """
    with needed("geo", "writing a GeoPackage"):
        for package in ("pyogrio", "shapely"):
            import_module(package)


def write_geopackage(path: Path, objects: Iterable[Outlined], place: Place | None) -> None:
    """Write objects of one picture as a GeoPackage with the layer ``objects``.

    Raises:
        MissingExtraError: a package of the extra ``[geo]`` is missing.
        UsageError: the file cannot be written.
    """
    check_geopackage()

    def save(partial: Path) -> None:
        # GDAL goes by the suffix.
        with tempfile.TemporaryDirectory(dir=partial.parent) as folder:
            made = Path(folder) / "objects.gpkg"
            write_features(made, objects, place)
            made.replace(partial)

    write_whole(path, save)


def write_features(path: Path, objects: Iterable[Outlined], place: Place | None) -> None:
    """Write a GeoPackage.

    Args:
        path: ``NAME.gpkg``, a new file.
        objects: with properties of equal names.
        place: the coordinate system; None for pixels.
    """
    with needed("geo", "writing a GeoPackage"):
        import pyogrio
        import shapely

    rows = [(about, geometry(polygons, place)) for about, polygons in objects]
    shapes = [shapely.geometry.shape(shape) for _, shape in rows]
    kind = "MultiPolygon"
    multi = [one if one.geom_type == kind else shapely.MultiPolygon([one]) for one in shapes]
    names = list(rows[0][0]) if rows else ["text", "score", "area"]
    columns = [np.array([about[name] for about, _ in rows]) for name in names]
    if not rows:
        columns = [np.array([], dtype) for dtype in (object, np.float64, np.int64)]
    columns = [c.astype(object) if c.dtype.kind == "U" else c for c in columns]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")  # of pixels there is none
        # The same objects are the same bytes, whenever they are written.
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "1970-01-01T00:00:00Z"})
        try:
            pyogrio.raw.write(
                f"{path}",
                np.array([shapely.to_wkb(one) for one in multi], object),
                columns,
                names,
                layer="objects",
                driver="GPKG",
                geometry_type=kind,
                crs=None if place is None else place.crs,
            )
        finally:
            pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
