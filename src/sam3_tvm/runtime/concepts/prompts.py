"""What to look for: phrases, boxes and points, checked and as the functions take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from sam3_tvm.errors import Sam3Error
from sam3_tvm.runtime.pictures.values import PlainValue

__all__ = [
    "Prompt",
    "PromptError",
    "as_array",
    "brief",
    "build_prompts",
    "check_threshold",
    "checked_labels",
    "count_entries",
    "is_integer",
    "is_number",
    "pixel_boxes",
    "pixel_points",
]


_SEQUENCES = (list, tuple, np.ndarray)

# Coordinates between 0 and 1 are those of a pixel in the corner, or fractions given by mistake;
# in pictures this small they can be either.
_FEW_PIXELS = 4

# A box of a pixel may have lost some of it to rounding.
_NARROWEST = 1 - 1e-3


class PromptError(Sam3Error, ValueError):
    """A phrase, box, point, label or threshold that cannot be used; the message says why."""


def brief(value: Any) -> str:
    """What was given, for a message of one line."""
    try:
        words = " ".join(f"{value!r}".split())
    except Exception:  # an object's own
        words = f"a {type(value).__name__}"
    return words if len(words) <= 100 else f"{words[:97]}..."


def as_array(given: Any, takes: str, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """What was given as an array, in its own type or in ``dtype``.

    Args:
        given: numbers, nested in lists or in an array; booleans too where no ``dtype`` is asked.
        takes: how the message begins, such as "points are x, y each".
        dtype: of the array.

    Raises:
        PromptError: lists of unequal lengths, or anything but numbers: text, dates, objects,
            complex numbers.
    """
    try:
        array = np.asarray(given)
        accepted = "biuf" if dtype is None else "iuf"
        if array.size and (array.dtype.kind not in accepted or _hides_bools(given, array)):
            raise TypeError("no numbers")
        return array if dtype is None else np.asarray(given, dtype)
    # Besides what NumPy raises, whatever an object's own conversion to an array does.
    except Exception as error:
        raise PromptError(f"{takes}, not {brief(given)}") from error


def _hides_bools(given: Any, array: NDArray[Any]) -> bool:
    """Whether lists mix booleans with numbers, of which NumPy makes numbers."""
    if array.dtype.kind == "b" or isinstance(given, np.ndarray):
        return False
    if isinstance(given, list | tuple):
        return any(_hides_bools(entry, array) for entry in given)
    return isinstance(given, bool | np.bool_)


def count_entries(name: str, given: Any) -> int:
    """How many entries a list has.

    Raises:
        PromptError: it is no list.
    """
    try:
        return len(given)
    except Exception as error:  # an object's own length
        raise PromptError(
            f"{name} takes a list with an entry for each, not {brief(given)}"
        ) from error


@dataclass(frozen=True, eq=False)
class Prompt(PlainValue):
    """One thing to look for.

    Attributes:
        text: the phrase.
        boxes: float32 [N, 4], centre x, centre y, width, height as fractions of the picture.
        labels: int64 [N], 1 for a box around an example, 0 for one around what is not meant.
        points: float32 [M, 2], x and y as fractions of the picture.
        point_labels: int64 [M], 1 for a point on an example, 0 for one on what is not meant.
    """

    text: str
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    points: NDArray[np.float32]
    point_labels: NDArray[np.int64]


def build_prompts(
    text: str | Sequence[str] | None,
    boxes: Any,
    labels: Any,
    size: tuple[int, int],
    *,
    visual_text: str,
    max_boxes: int,
    points: Any = None,
    point_labels: Any = None,
    max_points: int | None = None,
) -> list[Prompt]:
    """The prompts of one call.

    Args:
        text: a phrase, several, or None for boxes and points alone.
        boxes: x0, y0, x1, y1 in the picture's pixels, [N, 4]; with several phrases either one
            such array for all of them or a list with an array or None for each.
        labels: one per box, in the same arrangement; by default all 1.
        size: height and width of the picture, pixels.
        visual_text: the phrase that goes with boxes and points alone.
        max_boxes: how many boxes a prompt may have.
        points: x, y in the picture's pixels, [M, 2], arranged like ``boxes``.
        point_labels: one per point, in the same arrangement; by default all 1.
        max_points: how many points a prompt may have; None where the model takes none.

    Raises:
        PromptError: nothing to look for, a phrase that is empty or no Unicode, or boxes, points or
            labels that cannot be.
    """
    if text is None:
        if all(given is None or _is_empty(given) for given in (boxes, points)):
            raise PromptError("nothing to look for: give text, boxes or both")
        phrases = [visual_text]
    elif isinstance(text, str):
        phrases = [text]
    else:
        try:
            phrases = list(text)
        except TypeError as error:
            raise PromptError(f"text takes phrases, not {brief(text)}") from error
        if not phrases:
            raise PromptError("text is an empty list: give at least one phrase")
    for phrase in phrases:
        if not isinstance(phrase, str):
            raise PromptError(f"text takes phrases, not {brief(phrase)}")
        if not phrase.strip():
            raise PromptError("text holds an empty phrase: leave it out to search by boxes alone")
        if any("\ud800" <= letter <= "\udfff" for letter in phrase):
            # Half a character, which bytes on a command line that aren't UTF-8 become, too.
            raise PromptError(f"text {phrase!a} is no valid Unicode: give it in UTF-8")
    if max_points is None and not (points is None or _is_empty(points)):
        raise PromptError(
            "this artifact takes no points: its source encodes boxes alone; give boxes, or compile "
            "from Meta's own model"
        )
    several = text is not None and not isinstance(text, str)
    of_boxes = _per_phrase("boxes", boxes, "box_labels", labels, len(phrases), several)
    of_points = _per_phrase("points", points, "point_labels", point_labels, len(phrases), several)
    return [
        _prompt(phrase, *of_boxes[i], *of_points[i], size, max_boxes, max_points or 0)
        for i, phrase in enumerate(phrases)
    ]


def _is_empty(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.size == 0
    return isinstance(value, _SEQUENCES) and len(value) == 0


def _per_phrase(
    name: str, values: Any, labels_name: str, labels: Any, count: int, several: bool
) -> list[tuple[Any, Any]]:
    """Boxes or points, and their labels, of each of ``count`` phrases."""
    if labels is not None and values is None:
        raise PromptError(f"{labels_name} need {name}")
    if not several or not _is_per_phrase(values):
        return [(values, labels)] * count
    if len(values) != count:
        raise PromptError(
            f"{name} has {len(values)} entries for {count} phrases: give one for each"
        )
    if labels is None or is_number(labels):
        labels = [labels] * count
    elif (found := count_entries(labels_name, labels)) != count:
        raise PromptError(f"{labels_name} has {found} entries for {count} phrases")
    return list(zip(values, labels, strict=True))


def check_threshold(threshold: float) -> None:
    """Refuse a threshold that no score can be compared with.

    Raises:
        PromptError: a threshold that is no number, or not between 0 and 1.
    """
    if isinstance(threshold, bool) or not is_number(threshold) or not 0 <= threshold <= 1:
        raise PromptError(f"threshold must be between 0 and 1, got {brief(threshold)}")


def is_number(value: Any) -> bool:
    """Whether it is one number, and no list or array with an axis."""
    if isinstance(value, np.ndarray):
        return value.ndim == 0 and value.dtype.kind in "iufb"
    # NumPy counts durations among the integers.
    return isinstance(value, int | float | np.integer | np.floating | np.bool_) and not isinstance(
        value, np.timedelta64
    )


def is_integer(value: Any) -> bool:
    """Whether it is one whole number of Python's or NumPy's; booleans and durations are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)


def _is_per_phrase(boxes: Any) -> bool:
    """Whether there is an array of boxes, or points, for each phrase rather than one for all."""
    if isinstance(boxes, np.ndarray):
        return boxes.ndim == 3
    if not isinstance(boxes, _SEQUENCES):
        return False
    return any(b is None or _is_empty(b) or _holds_lists(b) for b in boxes)


def _holds_lists(entry: Any) -> bool:
    """Whether this is a list of boxes or points, which are lists of numbers."""
    if isinstance(entry, np.ndarray):
        return entry.ndim > 1
    return isinstance(entry, _SEQUENCES) and isinstance(entry[0], _SEQUENCES)


def _prompt(
    text: str,
    boxes: ArrayLike | None,
    labels: Any,
    points: ArrayLike | None,
    point_labels: Any,
    size: tuple[int, int],
    max_boxes: int,
    max_points: int,
) -> Prompt:
    pixels, spots = pixel_boxes(boxes, size), pixel_points(points, size)
    for name, given, most in (("boxes", pixels, max_boxes), ("points", spots, max_points)):
        if len(given) > most:
            raise PromptError(f"{len(given)} {name} for {text!r}: at most {most} are taken")
    # In double precision until here, so that pixels and fractions agree to the last bit.
    low, high = pixels[:, :2], pixels[:, 2:]
    scale = np.array([size[1], size[0]], np.float64)
    normal = np.concatenate([(low + high) / 2 / scale, (high - low) / scale], 1)
    return Prompt(
        text,
        normal.astype(np.float32),
        checked_labels("box", "boxes", labels, len(pixels)),
        (spots / scale).astype(np.float32),
        checked_labels("point", "points", point_labels, len(spots)),
    )


def pixel_points(points: ArrayLike | None, size: tuple[int, int]) -> NDArray[np.float64]:
    """The points in pixels: float64 [M, 2]."""
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
    """The boxes in pixels, cut at the picture's edges: float64 [N, 4]."""
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
