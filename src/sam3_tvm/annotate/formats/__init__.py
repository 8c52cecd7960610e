"""The formats of datasets. Each gives every mask back to the pixel."""

from __future__ import annotations

from collections.abc import Iterable

from sam3_tvm.annotate.faults import Refused
from sam3_tvm.annotate.formats import coco, cvat, geojson, gpkg, labelme, parquet, yolo
from sam3_tvm.annotate.formats.base import Contents, Format
from sam3_tvm.tiles.geo import check_geopackage

__all__ = ["FORMATS", "Contents", "Format", "chosen_formats"]

FORMATS = {
    one.name: one
    for one in (
        Format("coco", coco.write),
        Format("yolo-segment", yolo.write_segment),
        Format("yolo-detect", yolo.write_detect),
        Format("geojson", geojson.write),
        Format("gpkg", gpkg.write, check_geopackage),
        Format("labelme", labelme.write),
        Format("cvat", cvat.write),
        Format("parquet", parquet.write, parquet.check),
    )
}
"""The formats by name."""

_BOTH = {"yolo": ("yolo-segment", "yolo-detect")}


def chosen_formats(names: Iterable[str]) -> tuple[Format, ...]:
    """Formats by name, each once; ``yolo`` is both of YOLO's.

    Raises:
        Refused: no name, or one that isn't known.
        MissingExtraError: a format needs a package that isn't installed.
    """
    wanted: set[str] = set()
    for name in names:
        known = _BOTH.get(name, (name,))
        if not FORMATS.keys() >= {*known}:
            listed = ", ".join(["coco", "yolo", *(n for n in FORMATS if n != "coco")])
            raise Refused("formats", f"{name!r}: is no format; there are {listed}")
        wanted.update(known)
    if not wanted:
        raise Refused("formats", "no format: give at least one, such as coco", False)
    formats = tuple(one for name, one in FORMATS.items() if name in wanted)
    for one in formats:
        one.check()
    return formats
