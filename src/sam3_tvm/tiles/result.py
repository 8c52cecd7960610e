"""What was found in a large picture: masks as runs, and never as arrays of its size."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from sam3_tvm.errors import ResultError
from sam3_tvm.files import write_whole
from sam3_tvm.runtime.pictures.image import ImageError, Picture
from sam3_tvm.runtime.pictures.overlay import draw_overlay
from sam3_tvm.runtime.pictures.polygons import Polygon, mask_polygons
from sam3_tvm.runtime.pictures.runs import Window, window_of_runs
from sam3_tvm.runtime.pictures.values import PlainValue
from sam3_tvm.tiles.geo import Outlined, write_geojson, write_geopackage
from sam3_tvm.tiles.pieces import Piece
from sam3_tvm.tiles.place import Place
from sam3_tvm.tiles.windows import open_windows

__all__ = ["TiledResult"]

_SHOWN = 2048


class TiledResult(PlainValue):
    """The objects found for one prompt in a large picture, best first.

    Attributes:
        text, text_read: as those of a :class:`~sam3_tvm.Result`.
        size: height and width of the picture, pixels.
        boxes: float32 [N, 4], the detector's, x0, y0, x1, y1 in pixels.
        scores: float32 [N] between 0 and 1, highest first.
        counts: the masks: COCO's compressed runs.
        place: where the picture lies on the earth; None if that isn't known.
    """

    def __init__(
        self,
        text: str,
        text_read: str,
        size: tuple[int, int],
        objects: Sequence[Piece],
        place: Place | None,
    ) -> None:
        ordered = sorted(objects, key=lambda one: -one.score)
        self.text, self.text_read = text, text_read
        self.size = size
        self.boxes = np.array([one.box for one in ordered], np.float32).reshape(-1, 4)
        self.scores = np.array([one.score for one in ordered], np.float32)
        self.counts: tuple[bytes, ...] = tuple(one.runs["counts"] for one in ordered)
        self.place = place
        self._picture: Picture | None = None

    def reopens(self, picture: Picture) -> None:
        """Say what :meth:`overlay` draws on."""
        self._picture = picture

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        height, width = self.size
        count = f"{len(self)} object{'' if len(self) == 1 else 's'}"
        return f"TiledResult({self.text!r}: {count}, {width}x{height})"

    def windows(self) -> Iterator[Window]:
        """Of each mask the part of the picture that has all of it."""
        return (window_of_runs(counts, self.size) for counts in self.counts)

    def to_polygons(self) -> Iterator[list[Polygon]]:
        """Of each mask its connected parts; see :meth:`sam3_tvm.Result.to_polygons`."""
        for x, y, mask in self.windows():
            shift = np.array([x, y], np.int32)
            yield [
                Polygon(outer + shift, tuple(hole + shift for hole in holes))
                for outer, holes in mask_polygons(mask)
            ]

    def outlined(self) -> Iterator[Outlined]:
        """The objects with what a file of outlines says of each."""
        for score, counts, polygons in zip(
            self.scores.tolist(), self.counts, self.to_polygons(), strict=True
        ):
            area = int(coco.area({"size": [*self.size], "counts": counts}))
            yield {"text": self.text, "score": score, "area": area}, polygons

    def to_coco(
        self, image_id: int | None = None, category_id: int | None = None
    ) -> list[dict[str, Any]]:
        """The objects in COCO's results format; see :meth:`sam3_tvm.Result.to_coco`."""
        ids = {"image_id": image_id, "category_id": category_id}
        given = {name: value for name, value in ids.items() if value is not None}
        entries = []
        for box, score, counts in zip(self.boxes, self.scores, self.counts, strict=True):
            x0, y0, x1, y1 = box.tolist()
            runs = {"size": [*self.size], "counts": counts}
            entries.append(
                {
                    **given,
                    "segmentation": {**runs, "counts": counts.decode("ascii")},
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": float(score),
                    "area": int(coco.area(runs)),
                }
            )
        return entries

    def overlay(self, picture: Picture | None = None) -> Image.Image:
        """The picture with what was found drawn over it, at most 2048 pixels wide and high.

        Args:
            picture: what to draw on, of the same size; by default what was segmented, read again.

        Raises:
            ImageError: it isn't known, cannot be read, or has another size.
        """
        drawn_on = self._picture if picture is None else picture
        if drawn_on is None:
            raise ImageError("the picture isn't part of this result: pass it to overlay()")
        with open_windows(drawn_on) as opened:
            if opened.size != self.size:
                raise ImageError("the picture to draw on has another size")
            factor = max(1, -(-max(self.size) // _SHOWN))
            rgb = opened.reduced(factor)

        def small() -> Iterator[NDArray[np.bool_]]:
            for x, y, mask in self.windows():
                drawn = np.zeros(rgb.shape[:2], np.bool_)
                # Every pixel of the mask leaves something: small objects are seen.
                rows, columns = np.nonzero(mask)
                drawn[(rows + y) // factor, (columns + x) // factor] = True
                yield drawn

        labels = [(f"{self.text} {score:.2f}", f"{score:.2f}") for score in self.scores]
        return draw_overlay(rgb, small(), self.boxes / np.float32(factor), labels, opacity=0.45)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result in the form that the suffix names, whole or not at all.

        ``NAME.geojson`` and ``NAME.gpkg`` (a GeoPackage, of the extra ``[geo]``) have outlines in
        the picture's coordinate system, or in pixels if it has none. ``NAME.png`` is
        :meth:`overlay`.

        Raises:
            ResultError: another suffix.
            MissingExtraError: a package of the extra is missing.
            UsageError: the file cannot be written.
        """
        file = Path(os.fsdecode(path))
        suffix = file.suffix.lower()
        if suffix == ".geojson":
            write_geojson(file, self.outlined(), self.place)
        elif suffix == ".gpkg":
            write_geopackage(file, self.outlined(), self.place)
        elif suffix == ".png":
            image = self.overlay()
            write_whole(file, lambda partial: image.save(partial, format="PNG"))
        else:
            raise ResultError(f"{file}: give NAME.geojson, NAME.gpkg or NAME.png")
