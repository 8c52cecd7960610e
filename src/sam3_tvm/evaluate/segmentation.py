"""COCO's forms of a segmentation as run-length encoding, checked before C code sees them.

pycocotools trusts what it is given: counts that end early leave a mask's rest uninitialised, and
a coordinate that is no number takes all memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from sam3_tvm.evaluate.plain_values import number

__all__ = ["Rle", "decode", "encode", "iou", "to_rle"]

#: Compressed run-length encoding: ``size`` [height, width] and ``counts`` in bytes.
Rle = dict[str, Any]


def encode(mask: NDArray[np.bool_]) -> Rle:
    """A mask [H, W] as run-length encoding."""
    rle: Rle = coco.encode(np.asfortranarray(mask, np.uint8))
    return rle


def decode(rle: Rle) -> NDArray[np.bool_]:
    """The mask of a run-length encoding, bool [H, W]."""
    mask: NDArray[np.bool_] = coco.decode(rle).astype(np.bool_)
    return mask


def iou(predictions: list[Rle], targets: list[Rle], crowd: bool = False) -> NDArray[np.float64]:
    """Intersection over union of every prediction with every target, float64 [P, T].

    Args:
        predictions, targets: masks of one picture.
        crowd: divide by the prediction's area instead, as COCO does for targets that are crowds.
    """
    if not predictions or not targets:
        return np.zeros((len(predictions), len(targets)))
    result: NDArray[np.float64] = coco.iou(predictions, targets, [int(crowd)] * len(targets))
    return result


def to_rle(segmentation: Any, size: tuple[int, int]) -> Rle:
    """A segmentation of an annotation file as compressed run-length encoding.

    Args:
        segmentation: polygons ``[[x0, y0, x1, y1, ...], ...]`` in pixels, or ``{"size":
            [height, width], "counts": ...}`` with counts as a list or in COCO's compressed form.
        size: height and width of the picture.

    Raises:
        ValueError: another form, another size, or values that make no mask; says which.
    """
    height, width = size
    if isinstance(segmentation, list):
        _check_polygons(segmentation, size)
        merged: Rle = coco.merge(coco.frPyObjects(segmentation, height, width))
        return merged
    if not isinstance(segmentation, dict):
        raise ValueError("its segmentation is neither polygons nor run-length encoding")
    given = segmentation.get("size")
    if given != [height, width]:
        raise ValueError(f"its segmentation is of size {given}, its picture's is {[height, width]}")
    counts = segmentation.get("counts")
    runs = _decompress(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(n) is int and n >= 0 for n in runs):
        raise ValueError("its run-length counts are neither COCO's string nor whole numbers")
    if sum(runs) != height * width:
        raise ValueError(f"its run lengths add up to {sum(runs)} of {height * width} pixels")
    rle: Rle = coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return rle


def _check_polygons(polygons: list[Any], size: tuple[int, int]) -> None:
    # Annotators overshoot by a pixel or two; a coordinate of a million is an error.
    far = 2 * max(size)
    if not polygons:
        raise ValueError("its segmentation is an empty list")
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon of it is no list of x, y pairs, at least three")
        for value in polygon:
            # Compared so that NaN is refused, too.
            if not number(value) or not abs(value) <= far:
                raise ValueError(f"a polygon of it has the coordinate {value!r}")


def _decompress(text: str) -> list[int]:
    """Run lengths from COCO's compressed form (``rleFrString`` of pycocotools' maskApi.c).

    A number is a sequence of characters from ``0`` on, five bits in each, the lowest first; the
    sixth bit says that more follow, and the highest of the last is the sign. From the fourth
    number on, what is written is the difference from the number two before it.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"its run-length counts hold the character {character!r}")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its run-length counts end within a number")
    return runs
