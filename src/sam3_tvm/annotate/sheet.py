"""A contact sheet of the objects that the model was least sure of, to be looked at first."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from sam3_tvm.annotate.collect import Listed
from sam3_tvm.annotate.records import AnnotatedObject, AnnotatedPicture
from sam3_tvm.errors import one_line
from sam3_tvm.runtime.pictures.image import ImageError, read_picture
from sam3_tvm.runtime.pictures.overlay import draw_overlay
from sam3_tvm.runtime.pictures.sheet import Cells

__all__ = ["Doubtful", "lowest_scores", "score_sheet"]

_SIDE = 240
_CELLS = Cells(6, (_SIDE, _SIDE), gap=12, font_size=12, lines=2, line_height=15)

# How much of what is around an object is shown, of the longer side of its box on either side.
_AROUND = 0.5

# At least so many pixels, or a small object is shown without anything to know it by.
_LEAST_SHOWN = 48


@dataclass(frozen=True)
class Doubtful:
    """An object with one of the lowest scores, and where it is."""

    listed: Listed
    size: tuple[int, int]
    object: AnnotatedObject


def lowest_scores(
    pictures: Iterable[tuple[Listed, AnnotatedPicture]], count: int
) -> list[Doubtful]:
    """The objects with the lowest scores, lowest first; of equal ones those that come first."""
    found = (
        (one.score, number, place, Doubtful(listed, picture.size, one))
        for number, (listed, picture) in enumerate(pictures)
        for place, one in enumerate(picture.objects)
    )
    return [entry[3] for entry in heapq.nsmallest(count, found, key=lambda entry: entry[:3])]


def score_sheet(objects: Iterable[Doubtful]) -> Image.Image:
    """Objects side by side, each with what is around it, six in a row.

    Args:
        objects: at least one. Of a picture that cannot be read any more the place stays empty.

    Returns:
        An RGB image.
    """
    return _CELLS.draw([(_picture(one), _caption(one)) for one in objects])


def _picture(one: Doubtful) -> Image.Image:
    try:
        rgb = read_picture(one.listed.path)
    except ImageError:
        rgb = None
    if rgb is None or rgb.shape[:2] != one.size:
        return Image.new("RGB", (_SIDE, _SIDE), (225, 225, 225))
    left, top, mask = one.object.window(one.size)
    height, width = mask.shape
    side = max(_LEAST_SHOWN, round(max(height, width) * (1 + 2 * _AROUND)))
    y0, y1 = _window(top + height / 2, side, one.size[0])
    x0, x1 = _window(left + width / 2, side, one.size[1])
    scale = _SIDE / max(y1 - y0, x1 - x0)
    size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    shown = Image.fromarray(rgb[y0:y1, x0:x1]).resize(size)
    # Where the object is larger than what is shown, its window is cut.
    whole = np.zeros((y1 - y0, x1 - x0), np.uint8)
    inside = mask[max(0, y0 - top) : y1 - top, max(0, x0 - left) : x1 - left]
    at_y, at_x = max(0, top - y0), max(0, left - x0)
    whole[at_y : at_y + inside.shape[0], at_x : at_x + inside.shape[1]] = inside * np.uint8(255)
    grey = Image.fromarray(whole)
    scaled = np.asarray(grey.resize(size, Image.Resampling.BILINEAR)) >= 128
    return draw_overlay(np.asarray(shown), [scaled], None, None, opacity=0.25)


def _window(middle: float, side: int, length: int) -> tuple[int, int]:
    """A stretch around the middle, moved and cut to lie in the picture."""
    first = max(0, min(round(middle - side / 2), length - side))
    return first, min(length, first + side)


def _caption(one: Doubtful) -> list[str]:
    lines = (f"{one.object.score:.3f} {one.object.category}", one.listed.name)
    return [_CELLS.fitted(one_line(line)) for line in lines]
