"""What to look for: phrases and boxes, checked and put in the form that the functions take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam3_tvm.errors import Sam3Error

__all__ = ["Prompt", "PromptError", "build_prompts", "check_threshold"]


_SEQUENCES = (list, tuple, np.ndarray)


class PromptError(Sam3Error, ValueError):
    """A phrase, a box, a label or a threshold that cannot be used; the message says why."""


@dataclass(frozen=True)
class Prompt:
    """One thing to look for.

    Attributes:
        text: the phrase.
        boxes: float32 [N, 4], centre x, centre y, width, height as fractions of the picture.
        labels: int64 [N], 1 for a box around an example, 0 for one around what is not meant.
    """

    text: str
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


def build_prompts(
    text: str | Sequence[str] | None,
    boxes: Any,
    labels: Any,
    size: tuple[int, int],
    *,
    visual_text: str,
    max_boxes: int,
) -> list[Prompt]:
    """The prompts of one call.

    Args:
        text: a phrase, several, or None for boxes alone.
        boxes: x0, y0, x1, y1 in the picture's pixels, [N, 4]; with several phrases either one
            such array for all of them or a list with an array or None for each.
        labels: one per box, in the same arrangement; by default all 1.
        size: height and width of the picture, pixels.
        visual_text: the phrase that goes with boxes alone.
        max_boxes: how many boxes a prompt may have.

    Raises:
        PromptError: nothing to look for, an empty phrase, or boxes or labels that cannot be.
    """
    if text is None:
        if boxes is None or (isinstance(boxes, _SEQUENCES) and len(boxes) == 0):
            raise PromptError("nothing to look for: give text, boxes or both")
        phrases = [visual_text]
    elif isinstance(text, str):
        phrases = [text]
    else:
        phrases = list(text)
        if not phrases:
            raise PromptError("text is an empty list: give at least one phrase")
    for phrase in phrases:
        if not isinstance(phrase, str):
            raise PromptError(f"text takes phrases, not {phrase!r}")
        if not phrase.strip():
            raise PromptError("text holds an empty phrase: leave it out to search by boxes alone")
    if labels is not None and boxes is None:
        raise PromptError("box_labels need boxes")
    count = len(phrases)
    one_each = text is not None and not isinstance(text, str) and _is_per_phrase(boxes)
    if one_each and len(boxes) != count:
        raise PromptError(f"boxes has {len(boxes)} entries for {count} phrases: give one for each")
    if one_each and labels is not None and len(labels) != count:
        raise PromptError(f"box_labels has {len(labels)} entries for {count} phrases")
    return [
        _prompt(
            phrase,
            boxes[i] if one_each else boxes,
            labels[i] if one_each and labels is not None else labels,
            size,
            max_boxes,
        )
        for i, phrase in enumerate(phrases)
    ]


def check_threshold(threshold: float) -> None:
    """Refuse a threshold that no score can be compared with.

    Raises:
        PromptError: a threshold that is not between 0 and 1.
    """
    if not 0 <= threshold <= 1:
        raise PromptError(f"threshold must be between 0 and 1, got {threshold}")


def _is_per_phrase(boxes: Any) -> bool:
    """Whether there is an array of boxes for each phrase rather than one for all."""
    if isinstance(boxes, np.ndarray):
        return boxes.ndim == 3
    if not isinstance(boxes, _SEQUENCES):
        return False
    # A box is four numbers; an entry of a list for phrases is None or a list of boxes.
    return any(
        b is None or (isinstance(b, _SEQUENCES) and (len(b) == 0 or isinstance(b[0], _SEQUENCES)))
        for b in boxes
    )


def _prompt(
    text: str, boxes: ArrayLike | None, labels: Any, size: tuple[int, int], max_boxes: int
) -> Prompt:
    pixels = _boxes(boxes, size)
    if len(pixels) > max_boxes:
        raise PromptError(f"{len(pixels)} boxes for {text!r}: at most {max_boxes} are taken")
    # In double precision until here, so that pixels and fractions agree to the last bit.
    low, high = pixels[:, :2], pixels[:, 2:]
    scale = np.array([size[1], size[0]], np.float64)
    normal = np.concatenate([(low + high) / 2 / scale, (high - low) / scale], 1)
    return Prompt(text, normal.astype(np.float32), _labels(labels, len(pixels)))


def _boxes(boxes: ArrayLike | None, size: tuple[int, int]) -> NDArray[np.float64]:
    """The boxes in pixels, cut at the picture's edges: float64 [N, 4]."""
    if boxes is None:
        return np.zeros((0, 4))
    try:
        array = np.asarray(boxes, np.float64)
    except (TypeError, ValueError) as error:
        raise PromptError(f"boxes are x0, y0, x1, y1 each, not {boxes!r}") from error
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise PromptError(f"boxes take shape [N, 4] (x0, y0, x1, y1 each), got {array.shape}")
    height, width = size
    for box in array:
        x0, y0, x1, y1 = box
        shown = ", ".join(f"{v:g}" for v in box)
        if not np.isfinite(box).all():
            raise PromptError(f"box ({shown}) has a coordinate that is no finite number")
        if x1 <= x0 or y1 <= y0:
            raise PromptError(
                f"box ({shown}) is empty or upside down: x0 < x1 and y0 < y1, in pixels"
            )
        if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
            raise PromptError(f"box ({shown}) lies outside the picture of {width} x {height} px")
    cut: NDArray[np.float64] = array.clip(0, [width, height, width, height])
    return cut


def _labels(labels: Any, count: int) -> NDArray[np.int64]:
    if labels is None:
        return np.ones(count, np.int64)
    array = np.asarray(labels)
    if array.shape != (count,):
        raise PromptError(f"box_labels has shape {array.shape} for {count} boxes: one for each")
    if not np.isin(array, (0, 1)).all():
        raise PromptError(f"box_labels are 1 (like this) or 0 (not this), got {array.tolist()}")
    return array.astype(np.int64)
