"""What was found: masks, boxes and scores, and the forms they are handed on in."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam3_tvm.errors import ResultError
from sam3_tvm.runtime.pictures import forms
from sam3_tvm.runtime.pictures.image import Picture
from sam3_tvm.runtime.pictures.kept_picture import KeptPicture
from sam3_tvm.runtime.pictures.masks import LazyMasks, coco_entry
from sam3_tvm.runtime.pictures.overlay import draw_overlay, wanted
from sam3_tvm.runtime.pictures.result import PictureResult
from sam3_tvm.runtime.pictures.suppression import check_nms, suppressed

__all__ = ["Result"]


def _whole(name: str, number: Any) -> int:
    try:
        if not isinstance(number, bool | np.bool_):
            return operator.index(number)
    except TypeError:
        pass
    raise ResultError(f"{name} is an integer, not a {type(number).__name__}")


def _rows(index: Any, count: int) -> slice | NDArray[np.intp]:
    """Which of ``count`` rows an index chooses, by NumPy's rules for one axis.

    Raises:
        IndexError: what isn't an integer, a slice, or a list or one-dimensional array of integers
            or booleans; one outside, or booleans that aren't one for each.
    """
    if isinstance(index, slice):
        try:
            index.indices(count)
        except (TypeError, ValueError) as error:
            raise IndexError(f"{error}") from error
        return index
    accepted = "an index is an integer, a slice, or a list or array of integers or booleans"
    try:
        given = np.asarray(index)
    except Exception as error:  # ragged lists, and what an object's own conversion raises
        raise IndexError(f"{accepted}, not a {type(index).__name__}") from error
    if isinstance(index, tuple) or given.ndim > 1 or (given.ndim == 0 and given.dtype.kind == "b"):
        raise IndexError(f"{accepted}; not a {type(index).__name__} of {given.ndim} axes")
    if given.ndim == 1 and given.size == 0 and isinstance(index, list):
        given = given.astype(np.intp)
    if given.dtype.kind not in "iub":
        raise IndexError(f"{accepted}, not a {type(index).__name__}")
    if given.dtype.kind != "b" and np.any((given < -count) | (given >= count)):
        raise IndexError(f"object {index if given.ndim == 0 else given.tolist()} of {count}")
    chosen: NDArray[np.intp] = np.atleast_1d(np.arange(count)[given])
    return chosen


class Result(PictureResult):
    """The objects found for one prompt, best first.

    Indexing gives results again: ``result[0]``, ``result[:3]``, ``result[result.scores > 0.8]``;
    iterating gives one result per object. Masks are made when they are first asked for.

    Attributes:
        text: the phrase that was searched.
        text_read: the beginning of it that fits into the model's tokens: all of it, but of very
            long phrases.
        size: height and width of the picture, pixels.
        boxes: float32 [N, 4], x0, y0, x1, y1 in the picture's pixels; like the reference's, not
            cut at its edges.
        scores: float32 [N] between 0 and 1, highest first.
        queries: int64 [N], which of the detector's queries found each object.
    """

    def __init__(
        self,
        text: str,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        queries: NDArray[np.int64],
        masks: LazyMasks,
        picture: KeptPicture | None = None,
        text_read: str | None = None,
    ) -> None:
        super().__init__(masks, picture)
        self.text = text
        self.text_read = text if text_read is None else text_read
        self.boxes = boxes
        self.scores = scores
        self.queries = queries

    def to_dict(self) -> dict[str, Any]:
        named = ("text", "text_read", "boxes", "scores", "queries")
        return {**{name: getattr(self, name) for name in named}, **super().to_dict()}

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Any) -> Result:
        """The chosen objects; an integer chooses one.

        Raises:
            IndexError: one outside the result, or an index that NumPy doesn't take for one axis.
        """
        index = _rows(index, len(self))
        return Result(
            self.text,
            self.boxes[index],
            self.scores[index],
            self.queries[index],
            self._masks.chosen(index),
            self._picture,
            self.text_read,
        )

    def __iter__(self) -> Iterator[Result]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        height, width = self.size
        count = f"{len(self)} object{'' if len(self) == 1 else 's'}"
        best = f", best {self.scores.max():.2f}" if len(self) else ""
        return f"Result({self.text!r}: {count}{best}, {width}x{height})"

    def nms(self, iou: float) -> Result:
        """One object where several marks mean the same: non-maximum suppression by masks.

        From the best score down, an object goes if its mask's intersection over union with that of
        a better one that stays is greater than ``iou``. Boxes play no part.

        Args:
            iou: 0 to 1; at 1 all stay.

        Raises:
            PromptError: no number between 0 and 1.
        """
        check_nms(iou)
        return self[suppressed(self._masks, iou)]

    def to_detections(self) -> Any:
        return forms.detections(self.boxes, self.masks, self.scores, name=self.text)

    def _drawn(self) -> Image.Image:
        return self.overlay()

    def _about(self) -> dict[str, Any]:
        return {"text": self.text}

    def _confidence(self) -> NDArray[np.float32]:
        return self.scores

    def _labels(self) -> dict[str, Sequence[Any]]:
        return {"text": [self.text] * len(self), "score": self.scores.tolist()}

    def _corners(self) -> NDArray[np.float32]:
        return self.boxes

    def overlay(
        self,
        picture: Picture | None = None,
        *,
        opacity: float = 0.45,
        boxes: bool = True,
        labels: bool = True,
    ) -> Image.Image:
        """The picture with what was found drawn over it.

        Args:
            picture: what to draw on, of the same size; by default the picture that was
                segmented, as it was then: a file is read again.
            opacity: of the masks' colour, 0 to 1.
            boxes: draw the boxes.
            labels: write the phrase and the score at each object; the score alone where the
                picture is too narrow, nothing where there is no room.

        Returns:
            An RGB image of the picture's size.

        Raises:
            ImageError: the picture isn't known (features loaded from a file), cannot be read,
                has changed since, or has another size.
            ResultError: an opacity that is no number from 0 to 1, or a flag that is none.
        """
        drawn, named = wanted("boxes", boxes), wanted("labels", labels)
        return draw_overlay(
            self._canvas(picture),
            self._masks,
            self.boxes if drawn else None,
            [(f"{self.text} {s:.2f}", f"{s:.2f}") for s in self.scores] if named else None,
            opacity=opacity,
        )

    def to_coco(
        self, image_id: int | None = None, category_id: int | None = None
    ) -> list[dict[str, Any]]:
        """The objects in COCO's results format.

        Args:
            image_id, category_id: integers, written to every entry where given.

        Returns:
            One dictionary per object: ``segmentation`` (compressed run-length encoding with
            ``size`` [height, width] and ``counts`` as a string), ``bbox`` (x, y, width, height in
            pixels), ``score`` and ``area`` (pixels of the mask).

        Raises:
            ResultError: an id that is no integer.
        """
        ids = {"image_id": image_id, "category_id": category_id}
        given = {k: _whole(k, v) for k, v in ids.items() if v is not None}
        entries = []
        for box, score, mask in zip(self.boxes, self.scores, self._masks, strict=True):
            x0, y0, x1, y1 = box.tolist()
            entries.append(
                {
                    **given,
                    **coco_entry(mask),
                    # The detector's, which tells more than the mask's own.
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": float(score),
                }
            )
        return entries
