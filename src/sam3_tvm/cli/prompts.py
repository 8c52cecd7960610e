"""What the command line looks for, checked before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sam3_tvm.errors import UsageError

__all__ = ["Prompts", "check_texts", "long_phrase", "parse_box", "parse_point", "parse_prompts"]

Box = tuple[float, float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True)
class Prompts:
    """Phrases, and boxes and points that go with each of them.

    Attributes:
        texts: the phrases; none to search by boxes alone.
        boxes: x0, y0, x1, y1 in the picture's pixels; none to search by phrases alone.
        labels: one per box, 1 for a box around an example, 0 for one around what is not meant.
        points: x, y in the picture's pixels.
        point_labels: one per point, 1 for one on an example, 0 for one on what is not meant.
    """

    texts: tuple[str, ...]
    boxes: tuple[Box, ...]
    labels: tuple[int, ...]
    points: tuple[Point, ...] = ()
    point_labels: tuple[int, ...] = ()


def parse_box(text: str, option: str = "--box") -> Box:
    """A box in the form ``x0,y0,x1,y1``, pixels from the upper left corner.

    Raises:
        UsageError: not four finite numbers, or corners that are not the upper left and the
            lower right one.
    """
    form = f"{option} takes x0,y0,x1,y1 in pixels, such as {option} 40,25,310,280"
    x0, y0, x1, y1 = _numbers(text, option, 4, "four", form)
    if x1 <= x0 or y1 <= y0:
        raise UsageError(
            f"{option} {text!r}: x1 must be greater than x0 and y1 greater than y0; {form}"
        )
    return x0, y0, x1, y1


def parse_point(text: str, option: str = "--point") -> Point:
    """A point in the form ``x,y``, pixels from the upper left corner.

    Raises:
        UsageError: not two finite numbers.
    """
    form = f"{option} takes x,y in pixels, such as {option} 175,150"
    x, y = _numbers(text, option, 2, "two", form)
    return x, y


def _numbers(text: str, option: str, count: int, word: str, form: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} {text!r}: not {word} numbers with commas; {form}") from None
    if len(numbers) != count:
        raise UsageError(f"{option} {text!r}: {len(numbers)} numbers instead of {word}; {form}")
    if not all(map(math.isfinite, numbers)):
        raise UsageError(f"{option} {text!r}: not a finite number; {form}")
    return numbers


def check_texts(texts: Sequence[str]) -> None:
    """Refuse an empty phrase.

    Raises:
        UsageError: there is one.
    """
    if any(not text.strip() for text in texts):
        raise UsageError("--text is empty: give a phrase, such as --text 'black cat'")


def long_phrase(phrase: str, read: str, given_as: str = "--text") -> str:
    """What is said of a phrase of which the model read the beginning alone.

    Args:
        phrase: as it was given.
        read: what the model read of it.
        given_as: what it was given as, to begin the message.
    """
    from sam3_tvm.runtime.pictures.arguments import brief  # so that --help needs no NumPy

    return (
        f"warning: {given_as} {brief(phrase)} is longer than the model reads: searched was "
        f"{brief(read)} alone"
    )


def parse_prompts(
    texts: Sequence[str],
    boxes: Sequence[str],
    negative_boxes: Sequence[str],
    points: Sequence[str] = (),
    negative_points: Sequence[str] = (),
    *,
    more: bool = False,
) -> Prompts:
    """The prompts of one command.

    Args:
        texts, boxes, negative_boxes, points, negative_points: as they were typed.
        more: whether there is something else to look for.

    Raises:
        UsageError: nothing to look for, an empty phrase, or a box or a point that cannot be read.
    """
    check_texts(texts)
    if not texts and not boxes and not points and not more:
        negative = "--negative-box" if negative_boxes else "--negative-point"
        unmeant = negative_boxes or negative_points
        only = f"a {negative} says only what is not meant" if unmeant else ""
        raise UsageError(
            f"{only or 'nothing to look for'}: give --text PHRASE, --box x0,y0,x1,y1 or --like "
            "PICTURE:x0,y0,x1,y1"
        )
    like = [parse_box(box) for box in boxes]
    unlike = [parse_box(box, "--negative-box") for box in negative_boxes]
    on = [parse_point(point) for point in points]
    off = [parse_point(point, "--negative-point") for point in negative_points]
    # A phrase given twice would be searched and drawn twice.
    return Prompts(
        tuple(dict.fromkeys(texts)),
        (*like, *unlike),
        (*(1 for _ in like), *(0 for _ in unlike)),
        (*on, *off),
        (*(1 for _ in on), *(0 for _ in off)),
    )
