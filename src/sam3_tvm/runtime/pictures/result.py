"""What all results share: masks on a picture, as plain data."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam3_tvm.errors import ResultError
from sam3_tvm.runtime.pictures import forms
from sam3_tvm.runtime.pictures.image import ImageError, Picture, read_picture
from sam3_tvm.runtime.pictures.kept_picture import KeptPicture
from sam3_tvm.runtime.pictures.masks import LazyMasks, mask_box
from sam3_tvm.runtime.pictures.polygons import Polygon, mask_polygons
from sam3_tvm.runtime.pictures.values import PlainValue

__all__ = ["PictureResult"]


class PictureResult(PlainValue):
    """Masks on a picture, made when they are first asked for.

    A result can be pickled, and so go to another process, where it needs no model: it has its
    masks with it then, packed, and the picture to draw on, an array whole and a file by its
    path. Results are equal if they hold the same, the picture to draw on included; hash() refuses
    them as it refuses lists.

    Args:
        masks: at the picture's size.
        picture: what to draw on; None if it isn't known.

    Attributes:
        size: height and width of the picture, pixels.
    """

    def __init__(self, masks: LazyMasks, picture: KeptPicture | None) -> None:
        self.size = masks.size
        self._masks = masks
        self._picture = picture

    @property
    def masks(self) -> NDArray[np.bool_]:
        """The masks at the picture's own size, bool [N, H, W]; computed once."""
        return self._masks.all()

    @property
    def logits(self) -> NDArray[np.float32]:
        """The masks as the model gives them, float32 [N, 4S, 4S].

        Raises:
            ResultError: what was read from a file that holds masks alone.
        """
        if self._masks.logits is None:
            raise ResultError("no logits: this was read from a file that holds masks alone")
        return self._masks.logits

    def to_dict(self) -> dict[str, Any]:
        """What was found as plain data: arrays, numbers and strings by the attributes' names.

        The arrays are the result's own. Masks are made for it; of a result that was read from
        masks alone, ``logits`` is None. The picture is no part of it.
        """
        return {"size": self.size, "logits": self._masks.logits, "masks": self.masks}

    @abstractmethod
    def to_coco(self) -> list[dict[str, Any]]:
        """The objects in COCO's results format."""

    def to_polygons(self) -> list[list[Polygon]]:
        """The masks' outlines along the edges of pixels, exactly: they enclose just its pixels.

        ``shapely.Polygon(*polygon)`` takes one as it is, and ``.simplify`` makes it coarser.

        Returns:
            For each mask its connected parts, each an ``outer`` ring and ``holes``: int32 [K, 2],
            corners x, y in the picture's pixels, the first not repeated at the end. Pixels that
            share a corner alone are not connected. An empty mask has no part.
        """
        return [mask_polygons(mask) for mask in self._masks]

    def to_dataframe(self) -> Any:
        """The objects as a ``pandas.DataFrame``, a row for each, in the result's order.

        Columns are what tells them apart (``text`` and ``score`` of a phrase's objects, ``mask``
        and ``iou`` of a click's, ``frame``, ``object`` and ``score`` on a film's frame), the box
        ``x0``, ``y0``, ``x1``, ``y1`` in pixels (the detector's where there is one, else that
        around the mask, which is 0 of an empty one), and ``area``, the mask's pixels.

        Raises:
            MissingExtraError: pandas isn't installed; the extra ``[notebook]`` brings it.
        """
        return forms.data_frame(self._columns())

    def to_detections(self) -> Any:
        """The objects as a ``supervision.Detections``: ``xyxy``, ``mask``, ``confidence``.

        Those of a phrase have it as ``data["class_name"]`` (and ``class_id`` 0), those on a film's
        frame have their ids as ``tracker_id``, and absent ones are left out.

        Raises:
            MissingExtraError: supervision isn't installed; the extra ``[notebook]`` brings it.
        """
        return forms.detections(self._corners(), self.masks, self._confidence())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result in the form that the suffix names, whole or not at all.

        ``NAME.png`` is :meth:`overlay`. ``NAME.json`` is a document with ``width``, ``height``,
        what was asked, and :meth:`to_coco` as ``objects``. ``NAME.npz`` has the arrays of
        :meth:`to_dict`, for ``numpy.load``. A file that is there is replaced.

        Raises:
            ResultError: another suffix.
            ImageError: for ``NAME.png``, as :meth:`overlay`.
            UsageError: the file cannot be written.
        """
        forms.save_by_suffix(
            path, overlay=self._drawn, document=self._document, arrays=self.to_dict
        )

    def _repr_png_(self) -> bytes | None:
        """The overlay, for notebooks; None where there is no picture to draw on."""
        image = self._shown()
        return None if image is None else forms.to_png(image)

    def _repr_html_(self) -> str:
        """The overlay with a table beside it. Notebooks that can show this don't show the PNG."""
        return forms.as_html(repr(self), self._columns(), self._shown())

    def _shown(self) -> Image.Image | None:
        try:
            return forms.shown_small(self._drawn())
        except ImageError:
            return None

    @abstractmethod
    def _drawn(self) -> Image.Image:
        """The overlay as it is by default."""

    @abstractmethod
    def _about(self) -> dict[str, Any]:
        """What was asked, as plain data for a document."""

    @abstractmethod
    def _confidence(self) -> NDArray[np.float32]:
        """Float32 [N]: how sure each object or mask is."""

    @abstractmethod
    def _labels(self) -> dict[str, Sequence[Any]]:
        """The first columns of a table: what tells objects apart."""

    def _corners(self) -> NDArray[np.float32]:
        """Boxes float32 [N, 4], x0, y0, x1, y1 in pixels."""
        return np.array([mask_box(mask) for mask in self.masks], np.float32).reshape(-1, 4)

    def _columns(self) -> dict[str, Sequence[Any]]:
        corners = self._corners().T.tolist()
        areas = [int(np.count_nonzero(mask)) for mask in self.masks]
        return {
            **self._labels(),
            **dict(zip(("x0", "y0", "x1", "y1"), corners, strict=True)),
            "area": areas,
        }

    def _document(self) -> dict[str, Any]:
        height, width = self.size
        return {"width": width, "height": height, **self._about(), "objects": self.to_coco()}

    def _canvas(self, picture: Picture | None) -> NDArray[np.uint8]:
        """What the result is drawn on, uint8 [H, W, 3].

        Args:
            picture: what was asked for; None for the picture that was kept.

        Raises:
            ImageError: nothing is known to draw on, or it cannot be read, or has another size.
        """
        if picture is not None:
            rgb = read_picture(picture)
        elif self._picture is not None:
            rgb = self._picture.read()
        else:
            raise ImageError("the picture isn't part of a loaded encoding: pass it to overlay()")
        height, width = self.size
        if rgb.shape[:2] != self.size:
            raise ImageError(
                f"the picture to draw on is {rgb.shape[1]}x{rgb.shape[0]}, the one that was "
                f"encoded {width}x{height}"
            )
        return rgb
