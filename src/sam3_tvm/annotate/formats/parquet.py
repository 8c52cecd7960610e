"""Parquet: a table of pictures and one of objects."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from sam3_tvm.annotate.formats.base import Contents, json_text, text_of
from sam3_tvm.extras import needed

__all__ = ["check", "write"]

# Rows that are brought to the disk together.
_GROUP = 1 << 14


def check() -> None:
    """Whether pyarrow is there.

    Raises:
        MissingExtraError: it isn't.
    """
    with needed("annotate", "writing Parquet"):
        import_module("pyarrow.parquet")


def write(folder: Path, contents: Contents) -> None:
    """``pictures.parquet`` and ``objects.parquet``, joined by the column ``picture``."""
    import pyarrow as pa

    about = {"sam3_tvm": json_text(contents.about)}
    pictures = pa.schema(
        [
            ("picture", pa.int64()),
            ("file_name", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("file_size", pa.int64()),
            ("sha256", pa.string()),
            ("objects", pa.int32()),
        ],
        metadata=about,
    )
    objects = pa.schema(
        [
            ("picture", pa.int64()),
            ("sha256", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("phrase", pa.string()),
            ("category", pa.string()),
            ("score", pa.float32()),
            # x0, y0, x1, y1 in pixels.
            ("box", pa.list_(pa.float32(), 4)),
            ("area", pa.int64()),
            # COCO's compressed run lengths.
            ("counts", pa.string()),
        ],
        metadata=about,
    )
    _write(folder / "pictures.parquet", pictures, _picture_rows(contents))
    _write(folder / "objects.parquet", objects, _object_rows(contents))


def _write(path: Path, schema: Any, rows: Iterator[dict[str, Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(islice(rows, _GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _picture_rows(contents: Contents) -> Iterator[dict[str, Any]]:
    for number, (_, picture) in enumerate(contents.read()):
        yield {
            "picture": number,
            "file_name": text_of(picture.name),
            "height": picture.size[0],
            "width": picture.size[1],
            "file_size": picture.file_size,
            "sha256": picture.sha256,
            "objects": len(picture.objects),
        }


def _object_rows(contents: Contents) -> Iterator[dict[str, Any]]:
    for number, (_, picture) in enumerate(contents.read()):
        for one in picture.objects:
            yield {
                "picture": number,
                "sha256": picture.sha256,
                "height": picture.size[0],
                "width": picture.size[1],
                "phrase": text_of(one.phrase),
                "category": text_of(one.category),
                "score": one.score,
                "box": list(one.box),
                "area": one.area,
                "counts": one.counts,
            }
