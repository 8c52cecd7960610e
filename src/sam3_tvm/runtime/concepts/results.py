"""What was found: masks, boxes and scores, and the forms they are handed on in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam3_tvm.runtime.pictures.image import ImageError, Picture, read_picture
from sam3_tvm.runtime.pictures.overlay import draw_overlay

__all__ = ["Resize", "Result", "coco_entry", "sigmoid"]

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


class Result:
    """The objects found for one prompt, best first.

    Indexing gives results again: ``result[0]``, ``result[:3]``, ``result[result.scores > 0.8]``;
    iterating gives one result per object. Masks are made when they are first asked for.

    Attributes:
        text: the phrase that was searched.
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
        picture: Picture | None = None,
    ) -> None:
        self.text = text
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
            IndexError: an integer outside the result, or an index that NumPy doesn't take.
        """
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"object {index} of {len(self)}")
            index = slice(index % len(self), index % len(self) + 1)
        elif not isinstance(index, slice):
            # An empty list of integers would be one of floats.
            index = np.asarray(index) if np.size(index) else np.zeros(0, np.intp)
        chosen = Result(
            self.text,
            self.size,
            self.boxes[index],
            self.scores[index],
            self.queries[index],
            self._logits[index],
            self._resize,
            self._picture,
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
                segmented, read again.
            opacity: of the masks' colour, 0 to 1.
            boxes: draw the boxes.
            labels: write the phrase and the score at each object; the score alone where the
                picture is too narrow, nothing where there is no room.

        Returns:
            An RGB image of the picture's size.

        Raises:
            ImageError: the picture isn't known (features loaded from a file), cannot be read,
                or has another size.
        """
        source = self._picture if picture is None else picture
        if source is None:
            raise ImageError("the picture isn't part of a loaded encoding: pass it to overlay()")
        rgb = read_picture(source)
        if rgb.shape[:2] != self.size:
            raise ImageError(
                f"the picture to draw on is {rgb.shape[1]}x{rgb.shape[0]}, "
                f"the segmented one was {self.size[1]}x{self.size[0]}"
            )
        return draw_overlay(
            rgb,
            self._each_mask(),
            self.boxes if boxes else None,
            [(f"{self.text} {s:.2f}", f"{s:.2f}") for s in self.scores] if labels else None,
            opacity=opacity,
        )

    def to_coco(
        self, image_id: int | None = None, category_id: int | None = None
    ) -> list[dict[str, Any]]:
        """The objects in COCO's results format.

        Args:
            image_id, category_id: written to every entry where given.

        Returns:
            One dictionary per object: ``segmentation`` (compressed run-length encoding with
            ``size`` [height, width] and ``counts`` as a string), ``bbox`` (x, y, width, height in
            pixels), ``score`` and ``area`` (pixels of the mask).
        """
        ids = {"image_id": image_id, "category_id": category_id}
        given = {k: v for k, v in ids.items() if v is not None}
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
