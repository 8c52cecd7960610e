"""What was found: masks, boxes and scores, and the forms they are handed on in."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam3_tvm.errors import ResultError
from sam3_tvm.runtime.pictures.image import ImageError, Picture, read_picture
from sam3_tvm.runtime.pictures.kept_picture import KeptPicture
from sam3_tvm.runtime.pictures.overlay import draw_overlay, wanted

__all__ = ["Resize", "Result", "coco_entry", "sigmoid", "to_draw_on"]

#: Mask logits float32 [M, h, w] and a height and width H, W to masks bool [M, H, W].
Resize = Callable[[NDArray[np.float32], tuple[int, int]], NDArray[np.bool_]]

# Masks are resized in groups of about this many output pixels, since the resize computes in
# floating point: a few hundred megabytes of memory, whatever the size and number of masks.
_GROUP_PIXELS = 1 << 24


def sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    """Of floating point numbers, in their own precision."""
    with np.errstate(over="ignore"):  # exp of a large number is infinite, and its inverse 0
        y: NDArray[Any] = 1 / (1 + np.exp(-x))
    return y


def coco_entry(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask in COCO's results format.

    Args:
        mask: bool [H, W].

    Returns:
        ``segmentation`` (compressed run-length encoding with ``size`` [height, width] and
        ``counts`` as a string), ``bbox`` (x, y, width, height in pixels) and ``area`` (pixels).
    """
    from pycocotools import mask as coco

    runs = coco.encode(np.asfortranarray(mask, np.uint8))
    return {
        "segmentation": {
            "size": [int(n) for n in runs["size"]],
            "counts": runs["counts"].decode("ascii"),
        },
        "bbox": coco.toBbox(runs).tolist(),
        "area": int(mask.sum()),
    }


def _whole(name: str, number: Any) -> int:
    try:
        if not isinstance(number, bool | np.bool_):
            return operator.index(number)
    except TypeError:
        pass
    raise ResultError(f"{name} is an integer, not a {type(number).__name__}")


def to_draw_on(
    picture: Picture | None, kept: KeptPicture | None, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """What a result is drawn on, uint8 [H, W, 3].

    Args:
        picture: what was asked for; None for what was encoded.
        kept: what was encoded; None if it isn't known.
        size: its height and width, pixels.

    Raises:
        ImageError: nothing is known to draw on, or it cannot be read, or has another size.
    """
    if picture is not None:
        rgb = read_picture(picture)
    elif kept is not None:
        rgb = kept.read()
    else:
        raise ImageError("the picture isn't part of a loaded encoding: pass it to overlay()")
    if rgb.shape[:2] != size:
        raise ImageError(
            f"the picture to draw on is {rgb.shape[1]}x{rgb.shape[0]}, the one that was encoded "
            f"{size[1]}x{size[0]}"
        )
    return rgb


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


class Result:
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
        size: tuple[int, int],
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        queries: NDArray[np.int64],
        mask_logits: NDArray[np.float32],
        resize: Resize,
        picture: KeptPicture | None = None,
        text_read: str | None = None,
    ) -> None:
        self.text = text
        self.text_read = text if text_read is None else text_read
        self.size = size
        self.boxes = boxes
        self.scores = scores
        self.queries = queries
        self._logits = mask_logits
        self._resize = resize
        self._picture = picture
        self._masks: NDArray[np.bool_] | None = None

    @property
    def masks(self) -> NDArray[np.bool_]:
        """The masks at the picture's own size, bool [N, H, W]; computed once."""
        if self._masks is None:
            masks = np.empty((len(self), *self.size), np.bool_)
            for i, mask in enumerate(self._each_mask()):
                masks[i] = mask
            self._masks = masks
        return self._masks

    def _each_mask(self) -> Iterator[NDArray[np.bool_]]:
        """Mask after mask, bool [H, W], without keeping them."""
        if self._masks is not None:
            yield from self._masks
            return
        step = max(1, _GROUP_PIXELS // (self.size[0] * self.size[1]))
        for start in range(0, len(self), step):
            yield from self._resize(self._logits[start : start + step], self.size)

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Any) -> Result:
        """The chosen objects; an integer chooses one.

        Raises:
            IndexError: one outside the result, or an index that NumPy doesn't take for one axis.
        """
        index = _rows(index, len(self))
        chosen = Result(
            self.text,
            self.size,
            self.boxes[index],
            self.scores[index],
            self.queries[index],
            self._logits[index],
            self._resize,
            self._picture,
            self.text_read,
        )
        if self._masks is not None:
            chosen._masks = self._masks[index]
        return chosen

    def __iter__(self) -> Iterator[Result]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        height, width = self.size
        count = f"{len(self)} object{'' if len(self) == 1 else 's'}"
        best = f", best {self.scores.max():.2f}" if len(self) else ""
        return f"Result({self.text!r}: {count}{best}, {width}x{height})"

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
            to_draw_on(picture, self._picture, self.size),
            self._each_mask(),
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
        for box, score, mask in zip(self.boxes, self.scores, self._each_mask(), strict=True):
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
