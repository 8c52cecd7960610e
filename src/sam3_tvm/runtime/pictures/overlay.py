"""Draws masks, boxes and labels over a picture, legibly from thumbnails to posters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from sam3_tvm.errors import ResultError, one_line
from sam3_tvm.runtime.pictures.colours import Colour, Colours, object_colour

__all__ = ["draw_overlay", "draw_tracked", "wanted"]

_Box = tuple[int, int, int, int]


def wanted(name: str, flag: object) -> bool:
    """An argument that says whether something is drawn.

    Raises:
        ResultError: it is neither true nor false, such as boxes that were given to be drawn.
    """
    if isinstance(flag, bool | np.bool_):
        return bool(flag)
    raise ResultError(f"{name} says whether to draw them, True or False, not a {_kind(flag)}")


def _checked_opacity(opacity: object) -> float:
    number = isinstance(opacity, int | float | np.integer | np.floating)
    # NumPy counts durations among the integers.
    if isinstance(opacity, bool | np.timedelta64) or not number or not 0 <= opacity <= 1:  # type: ignore[operator]
        said = f"{opacity}" if number else f"a {_kind(opacity)}"
        raise ResultError(f"opacity is a number from 0 (no colour) to 1 (no picture), not {said}")
    return float(opacity)  # type: ignore[arg-type]


def _kind(value: object) -> str:
    return type(value).__name__


def draw_overlay(
    rgb: NDArray[np.uint8],
    masks: Iterable[NDArray[np.bool_]],
    boxes: NDArray[np.float32] | None,
    labels: Sequence[Sequence[str]] | None,
    *,
    opacity: float,
    colours: Sequence[int] | None = None,
) -> Image.Image:
    """The picture with coloured masks and their outlines, boxes, and labels.

    Line widths and text follow the picture's size. The first object's frame lies on top.

    Args:
        rgb: uint8 [H, W, 3].
        masks: bool [H, W] each, taken one at a time.
        boxes: float32 [N, 4], x0, y0, x1, y1 in pixels, or None for no boxes.
        labels: the wordings of each object's label, longest first, or None for no labels.
        opacity: of the masks' colour, 0 to 1.
        colours: which of the colours each object has, for :func:`object_colour`; by default one
            that stands out on what it covers.

    Raises:
        ResultError: an opacity that is no number from 0 to 1.
    """
    opacity = _checked_opacity(opacity)
    canvas = np.array(rgb)
    height, width = canvas.shape[:2]
    line = max(1, round((height * width) ** 0.5 / 260))
    anchors: list[_Box] = []
    chosen = Colours()
    painted: list[Colour] = []
    for index, mask in enumerate(masks):
        if colours is None:
            painted.append(chosen.next(rgb[mask].mean(0) if mask.any() else None))
        else:
            painted.append(object_colour(colours[index]))
        anchors.append(_tint(canvas, mask, painted[index], opacity, line))
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    if boxes is not None:
        for index in reversed(range(len(boxes))):
            box = _pixels(boxes[index], width, height)
            anchors[index] = box
            _frame(draw, box, painted[index], line)
    if labels is not None:
        font = ImageFont.load_default(max(9, round((height * width) ** 0.5 / 35)))
        taken: list[_Box] = []
        for index, wordings in enumerate(labels):
            _label(draw, anchors[index], wordings, painted[index], font, line, taken)
    return image


def draw_tracked(
    rgb: NDArray[np.uint8],
    objects: Sequence[int],
    masks: NDArray[np.bool_],
    phrases: Sequence[str | None] | None = None,
    *,
    opacity: float = 0.45,
    labels: bool = True,
) -> Image.Image:
    """A film's frame with the masks of objects that have ids, by which their colours go.

    Args:
        rgb: uint8 [H, W, 3].
        objects: ids, N of them.
        masks: bool [N, H, W].
        opacity: of the masks' colour, 0 to 1.
        phrases: the phrase that found each object, or None; by default none of any.
        labels: write each object's id and phrase at its mask, or its id alone without room.
    """
    # Without a mask there is no place for a label either.
    there = [row for row, mask in enumerate(masks) if mask.any()]
    ids = [objects[row] for row in there]
    of = [None] * len(objects) if phrases is None else phrases
    return draw_overlay(
        rgb,
        (masks[row] for row in there),
        None,
        [_wordings(objects[row], of[row]) for row in there] if labels else None,
        opacity=opacity,
        colours=[name - 1 for name in ids],
    )


def _wordings(name: int, phrase: str | None) -> tuple[str, ...]:
    """An object's label, longest first."""
    return (f"{name}",) if phrase is None else (f"{name} {one_line(phrase)}", f"{name}")


def _tint(
    canvas: NDArray[np.uint8], mask: NDArray[np.bool_], colour: Colour, opacity: float, line: int
) -> _Box:
    """Colour the mask and its rim; returns its bounding box. Works on that box alone."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if rows.size == 0:
        return (0, 0, 0, 0)
    y0, y1 = int(rows[0]), int(rows[-1]) + 1
    x0, x1 = int(columns[0]), int(columns[-1]) + 1
    inside = mask[y0:y1, x0:x1]
    # A mean below one over the neighbourhood marks the pixels near the mask's edge.
    padded = Image.fromarray(np.pad(inside, line).astype(np.uint8) * 255)
    mean = np.asarray(padded.filter(ImageFilter.BoxBlur(line)))[line:-line, line:-line]
    rim = inside & (mean < 255)
    weight = np.where(rim, np.float32(max(opacity, 0.9)), np.float32(opacity))[..., None]
    region = canvas[y0:y1, x0:x1]
    mixed = region + (np.array(colour, np.float32) - region) * weight
    np.copyto(region, np.rint(mixed).astype(np.uint8), where=inside[..., None])
    return (x0, y0, x1 - 1, y1 - 1)


def _pixels(box: NDArray[np.float32], width: int, height: int) -> _Box:
    """The box in whole pixels, cut at the picture's edges, its corners in order."""
    last = np.array([width - 1, height - 1] * 2)
    x0, y0, x1, y1 = np.rint(box).clip(0, last).astype(int).tolist()
    return (x0, y0, max(x0, x1), max(y0, y1))


def _frame(draw: ImageDraw.ImageDraw, box: _Box, colour: Colour, line: int) -> None:
    """A coloured frame on a dark one, which keeps it apart from a background of its colour."""
    x0, y0, x1, y1 = box
    edge = max(1, line // 2)
    outer = (x0 - edge, y0 - edge, x1 + edge, y1 + edge)
    draw.rectangle(outer, outline=(20, 20, 20), width=line + edge)
    draw.rectangle(box, outline=colour, width=line)


def _label(
    draw: ImageDraw.ImageDraw,
    box: _Box,
    wordings: Sequence[str],
    colour: Colour,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    line: int,
    taken: list[_Box],
) -> None:
    """The label on a plate at the box's upper left corner, moved to where it can be read.

    The longest wording that takes less than half of the picture's width is written; without
    room for any, none is.
    """
    width, height = draw.im.size
    pad = max(2, line)
    for text in wordings:
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        w, h = int(right - left) + 2 * pad, int(bottom - top) + 2 * pad
        if 2 * w <= width and 4 * h <= height:
            break
    else:
        return
    x = max(0, min(box[0], width - w))
    # Above the box if there is room, else inside it; below the labels that are there already.
    y = box[1] - h if box[1] >= h else box[1]
    for other in sorted(taken, key=lambda p: p[1]):
        if _overlap((x, y, x + w, y + h), other):
            y = other[3]
    plate = (x, y, x + w, y + h)
    if y + h > height or any(_overlap(plate, other) for other in taken):
        return
    taken.append(plate)
    draw.rounded_rectangle((x, y, x + w - 1, y + h - 1), radius=pad, fill=colour)
    # Black or white, whichever contrasts more: by relative luminance, ITU-R BT.709.
    red, green, blue = ((c / 255) ** 2.2 for c in colour)
    bright = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179
    ink = (0, 0, 0) if bright else (255, 255, 255)
    draw.text((x + pad - left, y + pad - top), text, fill=ink, font=font)


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
