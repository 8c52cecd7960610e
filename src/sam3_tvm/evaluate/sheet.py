"""A contact sheet: prompts with what was to be found, what was found, and the difference."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from sam3_tvm.evaluate.report import Outcome
from sam3_tvm.evaluate.segmentation import Rle, decode
from sam3_tvm.runtime.pictures.image import read_picture
from sam3_tvm.runtime.pictures.overlay import draw_overlay
from sam3_tvm.runtime.pictures.sheet import Cells

__all__ = ["contact_sheet"]

_SIDE = 240
_CELLS = Cells(6, (_SIDE, _SIDE), gap=12, font_size=12, lines=3, line_height=15)

_ALIKE, _UNLIKE = (0, 150, 60), (220, 0, 40)


def contact_sheet(outcomes: Sequence[Outcome]) -> Image.Image:
    """Prompts side by side, six in a row.

    Predictions are coloured and carry their scores, targets have a white outline, and boxes of
    prompts are green (alike) or red (unlike). Below each picture is the prompt, and what came out.

    Args:
        outcomes: the prompts; at least one.

    Returns:
        An RGB image.

    Raises:
        ImageError: a picture that cannot be read any more.
    """
    return _CELLS.draw(
        [(_picture(one), [_CELLS.fitted(line) for line in _caption(one)]) for one in outcomes]
    )


def _picture(outcome: Outcome) -> Image.Image:
    """The picture with all that is drawn on it, its longer side scaled to the cell's."""
    h, w = outcome.picture.size
    scale = _SIDE / max(h, w)
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    picture = Image.fromarray(read_picture(outcome.picture.path)).resize(size)
    image = draw_overlay(
        np.asarray(picture),
        (_scaled(mask, size) for mask in outcome.detections.masks),
        None,
        [(f"{score:.2f}",) for score in outcome.detections.scores],
        opacity=0.55,
    )
    canvas = np.array(image)
    for target in outcome.query.targets:
        _outline(canvas, _scaled(target, size))
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    for box, label in zip(outcome.query.boxes, outcome.query.labels, strict=True):
        at = [v * scale for v in box]
        draw.rectangle(at, outline=_ALIKE if label else _UNLIKE, width=2)
    return image


def _scaled(rle: Rle, size: tuple[int, int]) -> NDArray[np.bool_]:
    grey = Image.fromarray(decode(rle).astype(np.uint8) * 255)
    return np.asarray(grey.resize(size, Image.Resampling.BILINEAR)) >= 128


def _outline(canvas: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
    """A white line along the inside of the mask's edge, between dark ones."""
    grey = Image.fromarray(np.pad(mask, 2).astype(np.uint8) * 255)
    dark = _rim(grey, 5)
    white = _rim(grey, 3)
    canvas[dark[2:-2, 2:-2] & mask] = (20, 20, 20)
    canvas[white[2:-2, 2:-2] & mask] = (255, 255, 255)


def _rim(grey: Image.Image, size: int) -> NDArray[np.bool_]:
    return np.asarray(grey.filter(ImageFilter.MinFilter(size))) < 128


def _caption(outcome: Outcome) -> tuple[str, ...]:
    query, counts = outcome.query, outcome.counts
    matched = len(counts.ious)
    result = f"{matched} of {counts.targets} found"
    if counts.ious:
        result += f", IoU {math.fsum(counts.ious) / matched:.2f}"
    if extra := counts.predictions - matched:
        result += f"; {extra} too many"
    phrase = "boxes alone" if query.text is None else query.text
    return (phrase, f"{query.kind}{', held out' if query.held_out else ''}", result)
