"""Points, boxes and their labels as a caller gives them, in a picture's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam3_tvm.runtime.pictures.arguments import PromptError, as_array, brief

__all__ = ["checked_labels", "pixel_boxes", "pixel_points"]

# Coordinates between 0 and 1 are those of a pixel in the corner, or fractions given by mistake;
# in pictures this small they can be either.
_FEW_PIXELS = 4

# A box of a pixel may have lost some of it to rounding.
_NARROWEST = 1 - 1e-3


def pixel_points(points: ArrayLike | None, size: tuple[int, int]) -> NDArray[np.float64]:
    """Points in pixels, float64 [M, 2]: x, y each.

    Args:
        points: [M, 2], one point [2], or None for none.
        size: height and width of the picture, pixels.

    Raises:
        PromptError: other shapes, no numbers, a point outside the picture, or fractions.
    """
    if points is None:
        return np.zeros((0, 2))
    array = as_array(points, "points are x, y each", np.float64)
    if array.size == 0:
        return np.zeros((0, 2))
    if array.shape == (2,):  # one point
        array = array[None]
    if array.ndim != 2 or array.shape[1] != 2:
        raise PromptError(f"points take shape [M, 2] (x, y each), got {array.shape}")
    height, width = size
    for x, y in array:
        # Written so that NaN is refused as well.
        if not (0 <= x <= width and 0 <= y <= height):
            raise PromptError(
                f"point ({x:g}, {y:g}) lies outside the picture of {width} x {height} px"
            )
    if _are_fractions(array, size) and (array % 1).any():
        raise PromptError(
            f"{_shown('point', array[0])} lies in the picture's first pixel: points are in pixels, "
            f"not fractions of the picture; multiply x by {width} and y by {height}"
        )
    return array


def pixel_boxes(boxes: ArrayLike | None, size: tuple[int, int]) -> NDArray[np.float64]:
    """Boxes in pixels, cut at the picture's edges, float64 [N, 4]: x0, y0, x1, y1 each.

    Args:
        boxes: [N, 4], one box [4], or None for none.
        size: height and width of the picture, pixels.

    Raises:
        PromptError: other shapes, no finite numbers, a box that is empty, upside down, outside the
            picture or narrower than a pixel in it, or fractions.
    """
    if boxes is None:
        return np.zeros((0, 4))
    array = as_array(boxes, "boxes are x0, y0, x1, y1 each", np.float64)
    if array.size == 0:
        return np.zeros((0, 4))
    if array.shape == (4,):  # one box
        array = array[None]
    if array.ndim != 2 or array.shape[1] != 4:
        raise PromptError(f"boxes take shape [N, 4] (x0, y0, x1, y1 each), got {array.shape}")
    height, width = size
    for box in array:
        x0, y0, x1, y1 = box
        shown = _shown("box", box)
        if not np.isfinite(box).all():
            raise PromptError(f"{shown} has a coordinate that is no finite number")
        if x1 <= x0 or y1 <= y0:
            raise PromptError(f"{shown} is empty or upside down: x0 < x1 and y0 < y1, in pixels")
        if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
            raise PromptError(f"{shown} lies outside the picture of {width} x {height} px")
    cut: NDArray[np.float64] = array.clip(0, [width, height, width, height])
    for box, (x0, y0, x1, y1) in zip(array, cut, strict=True):
        if _are_fractions(box, size):
            raise PromptError(
                f"{_shown('box', box)} lies in the picture's first pixel: boxes are in pixels, not "
                f"fractions of the picture; multiply x by {width} and y by {height}"
            )
        if x1 - x0 < _NARROWEST or y1 - y0 < _NARROWEST:
            raise PromptError(
                f"{_shown('box', box)} is narrower than a pixel inside the picture of {width} x "
                f"{height} px: boxes are x0, y0, x1, y1 in pixels"
            )
    return cut


def _shown(kind: str, numbers: Sequence[float] | NDArray[Any]) -> str:
    return f"{kind} ({', '.join(f'{v:g}' for v in numbers)})"


def _are_fractions(numbers: NDArray[np.float64], size: tuple[int, int]) -> bool:
    """Whether all lie between 0 and 1 though the picture is larger than a few pixels."""
    return min(size) > _FEW_PIXELS and bool(((numbers >= 0) & (numbers <= 1)).all())


def checked_labels(kind: str, plural: str, labels: Any, count: int) -> NDArray[np.int64]:
    """Labels, int64 [count]: 1 for what is meant, 0 for what is not.

    Args:
        kind, plural: what is labelled, for messages: "box", "boxes".
        labels: one for each, one for all, or None for all 1.
        count: how many are labelled.

    Raises:
        PromptError: another number of labels, or others than 1 and 0.
    """
    if labels is None:
        return np.ones(count, np.int64)
    array = as_array(labels, f"{kind}_labels are 1 or 0, one for each")
    if array.ndim == 0:  # the same for all
        array = np.full(count, array)
    if array.shape != (count,):
        raise PromptError(
            f"{kind}_labels has shape {array.shape} for {count} {plural}: one for each"
        )
    if not np.isin(array, (0, 1)).all():
        raise PromptError(
            f"{kind}_labels are 1 (like this) or 0 (not this), got {brief(array.tolist())}"
        )
    return array.astype(np.int64)
