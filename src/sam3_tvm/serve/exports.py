"""Results in formats of datasets, by the same writers as ``sam3-tvm annotate``'s."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypeVar

import numpy as np

from sam3_tvm.annotate import FORMATS, AnnotatedObject, AnnotatedPicture, Contents, Listed
from sam3_tvm.errors import one_line
from sam3_tvm.runtime.pictures.runs import window_of_runs
from sam3_tvm.serve.answers import numbered_png
from sam3_tvm.serve.forms.asked import AskExport, Exported
from sam3_tvm.serve.problems import ClientLeft, Problem

__all__ = ["ExportFormat", "exported"]

_T = TypeVar("_T")


class ExportFormat(Enum):
    """A format that results are given in; the value is its name in the path."""

    COCO = "coco"
    YOLO = "yolo"
    YOLO_DATASET = "yolo.zip"
    GEOJSON = "geojson"
    PNG = "png"

    @property
    def media_type(self) -> str:
        """Of the answer."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    ExportFormat.COCO: "application/json",
    ExportFormat.YOLO: "text/plain; charset=utf-8",
    ExportFormat.YOLO_DATASET: "application/zip",
    ExportFormat.GEOJSON: "application/geo+json",
    ExportFormat.PNG: "image/png",
}


def exported(
    asked: AskExport,
    form: ExportFormat,
    most_pixels: int,
    stopped: Callable[[], bool],
) -> bytes:
    """A file with the objects.

    Args:
        asked: the objects of one picture.
        form: the format.
        most_pixels: that a picture may have.
        stopped: whether nobody waits for it any more; asked between objects.

    Returns:
        COCO's ``annotations.json``; the lines of YOLO's label file for segmentation, or a ZIP of
        that and ``data.yaml``, without the picture; GeoJSON in pixels; or a PNG with each
        object's number in its pixels, from 1, in the order that they came in.

    Raises:
        Problem: what is no mask of such a picture (422), or more objects than a PNG has numbers
            for (406).
        ClientLeft: nobody waits.
    """
    size = (asked.height, asked.width)
    if size[0] * size[1] > most_pixels:
        raise Problem(
            413,
            f"{size[1]} x {size[0]} px are more than the {most_pixels:,} pixels that are taken",
        )
    given = enumerate(_Wanted(asked.objects, stopped), 1)
    objects = _Wanted((_object(one, n, size) for n, one in given), stopped)
    if form is ExportFormat.PNG:
        return numbered_png((one.mask(size) for one in objects), len(objects), size)
    name = _name(asked.file_name)
    picture = AnnotatedPicture(
        name,
        name,
        size,
        0,
        0,
        asked.sha256 or "",
        _Wanted((one for one in objects if one.area), stopped),
    )
    return _WRITERS[form](_Picture(picture))


class _Wanted(tuple[_T, ...]):
    """Goes from one to the next only while somebody waits for what comes of them."""

    _stopped: Callable[[], bool]

    def __new__(cls, given: Iterable[_T], stopped: Callable[[], bool]) -> _Wanted[_T]:
        made = super().__new__(cls, given)
        made._stopped = stopped
        return made

    def __iter__(self) -> Iterator[_T]:
        for one in super().__iter__():
            if self._stopped():
                raise ClientLeft
            yield one


@dataclass(frozen=True)
class _Picture:
    """A dataset of one picture."""

    picture: AnnotatedPicture

    def written(self, name: str) -> dict[str, bytes]:
        """The files that a format has, by their paths."""
        categories = tuple(dict.fromkeys(one.category for one in self.picture.objects))
        with tempfile.TemporaryDirectory(prefix="sam3-tvm-export-") as made:
            folder = Path(made)
            about = {"description": "Made by sam3-tvm"}
            FORMATS[name].write(folder, Contents(folder, categories, self._read, about))
            return {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in sorted(folder.rglob("*"))
                # A link leads to where the picture would be.
                if not path.is_symlink() and path.is_file()
            }

    def _read(self) -> Iterator[tuple[Listed, AnnotatedPicture]]:
        yield Listed(Path(self.picture.name), self.picture.name), self.picture


def _name(given: str) -> str:
    """The last part of a name, which readers take for a path, as text that names a file."""
    name = one_line(given.replace("\\", "/").rpartition("/")[2])
    return "picture" if name in ("", ".", "..") else name


def _object(one: Exported, number: int, size: tuple[int, int]) -> AnnotatedObject:
    runs = one.segmentation
    if not runs.cover(size):
        raise Problem(
            422,
            f"objects, number {number}: segmentation is to be COCO's compressed run lengths of all "
            f"{size[1]} x {size[0]} pixels",
        )
    window = window_of_runs(runs.counts, size)
    height, width = window.mask.shape
    x, y, w, h = one.bbox or (window.x, window.y, width, height)
    corners = np.array([x, y, x + w, y + h], np.float64)
    x0, y0, x1, y1 = np.clip(corners, 0, [*size[::-1]] * 2).tolist()
    area = int(window.mask.sum())
    phrase = one.phrase or one.category
    return AnnotatedObject(phrase, one.category, one.score, (x0, y0, x1, y1), area, runs.counts)


def _only(name: str, end: str) -> Callable[[_Picture], bytes]:
    """The one file of a format whose path ends so."""

    def write(picture: _Picture) -> bytes:
        return next(data for path, data in picture.written(name).items() if path.endswith(end))

    return write


def _zipped(picture: _Picture) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in picture.written("yolo-segment").items():
            archive.writestr(path, data)
    return made.getvalue()


_WRITERS: dict[ExportFormat, Callable[[_Picture], bytes]] = {
    ExportFormat.COCO: _only("coco", "annotations.json"),
    ExportFormat.YOLO: _only("yolo-segment", ".txt"),
    ExportFormat.YOLO_DATASET: _zipped,
    ExportFormat.GEOJSON: _only("geojson", ".geojson"),
}
