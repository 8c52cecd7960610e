"""What to look for: phrases, boxes and points, checked and as the functions take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam3_tvm.runtime.concepts.exemplar import Exemplar, Tokens
from sam3_tvm.runtime.pictures.arguments import PromptError, brief, count_entries, is_number
from sam3_tvm.runtime.pictures.coordinates import checked_labels, pixel_boxes, pixel_points
from sam3_tvm.runtime.pictures.values import PlainValue

__all__ = ["Prompt", "build_prompts", "check_boxes", "check_threshold"]


_SEQUENCES = (list, tuple, np.ndarray)


@dataclass(frozen=True, eq=False)
class Prompt(PlainValue):
    """One thing to look for.

    Attributes:
        text: the phrase.
        boxes: float32 [N, 4], centre x, centre y, width, height as fractions of the picture.
        labels: int64 [N], 1 for a box around an example, 0 for one around what is not meant.
        points: float32 [M, 2], x and y as fractions of the picture.
        point_labels: int64 [M], 1 for a point on an example, 0 for one on what is not meant.
        like: examples on other pictures.
        alone: whether these are all that is given.
        tokens: what is taken of them: each one's tokens and which count.
    """

    text: str
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    points: NDArray[np.float32]
    point_labels: NDArray[np.int64]
    like: tuple[Exemplar, ...] = ()
    alone: bool = False
    tokens: tuple[Tokens, ...] = ()

    @property
    def name(self) -> str:
        """What to call what it finds."""
        names = (one.name for one in self.like if one.name is not None)
        return next(names, self.text) if self.alone else self.text


def build_prompts(
    text: str | Sequence[str | None] | None,
    boxes: Any,
    labels: Any,
    size: tuple[int, int],
    *,
    visual_text: str,
    max_boxes: int,
    points: Any = None,
    point_labels: Any = None,
    max_points: int | None = None,
    like: Sequence[tuple[Exemplar, ...]] | None = None,
    max_like: int = 0,
) -> list[Prompt]:
    """The prompts of one call.

    Args:
        text: a phrase, several, or None for boxes, points and examples alone.
        boxes: x0, y0, x1, y1 in the picture's pixels, [N, 4]; with several phrases either one
            such array for all of them or a list with an array or None for each.
        labels: one per box, in the same arrangement; by default all 1.
        size: height and width of the picture, pixels.
        visual_text: the phrase that goes with boxes and points alone.
        max_boxes: how many boxes a prompt may have.
        points: x, y in the picture's pixels, [M, 2], arranged like ``boxes``.
        point_labels: one per point, in the same arrangement; by default all 1.
        max_points: how many points a prompt may have; None where the model takes none.
        like: examples on other pictures, for each phrase; None for none.
        max_like: how many boxes they may have, with one for each example.

    Raises:
        PromptError: nothing to look for, a phrase that is empty or no Unicode, or boxes, points or
            labels that cannot be.
    """
    phrases: list[Any]
    if text is None:
        if not any(like or ()) and all(
            given is None or _is_empty(given) for given in (boxes, points)
        ):
            raise PromptError("nothing to look for: give text, boxes or both")
        phrases = [None]
    elif isinstance(text, str):
        phrases = [text]
    else:
        try:
            phrases = list(text)
        except TypeError as error:
            raise PromptError(f"text takes phrases, not {brief(text)}") from error
        if not phrases:
            raise PromptError("text is an empty list: give at least one phrase")
    likes = [()] * len(phrases) if like is None else like
    for phrase, examples in zip(phrases, likes, strict=True):
        if phrase is None and (text is None or examples):
            continue
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
    prompts = []
    for i, phrase in enumerate(phrases):
        words = visual_text if phrase is None else phrase
        made = _prompt(words, *of_boxes[i], *of_points[i], size, max_boxes, max_points or 0)
        alone = phrase is None and not len(made.boxes) + len(made.points)
        _check_like(likes[i], alone, max_like)
        examples = _with_views(likes[i], alone, max_like)
        tokens = _like_tokens(examples, alone)
        prompts.append(replace(made, like=examples, alone=alone, tokens=tokens))
    return prompts


def _with_views(like: tuple[Exemplar, ...], alone: bool, most: int) -> tuple[Exemplar, ...]:
    """Examples as a prompt uses them: with views where one is all that is given, and they fit."""
    count = sum(mask.shape[1] for _, mask in _like_tokens(like, alone))
    # Two examples differ more than two views of one do.
    if alone and sum(one.meant is not None for one in like) == 1 and count <= most:
        return like
    return tuple(replace(one, views=()) if one.views else one for one in like)


def _like_tokens(like: tuple[Exemplar, ...], alone: bool) -> tuple[Tokens, ...]:
    """What a prompt takes of examples."""
    if not alone:
        return tuple(one.tokens for one in like)
    # What isn't meant, without a phrase that says what is, misleads the detector.
    meant = [one.meant for one in like if one.meant is not None]
    return (*meant, *(view.tokens for one in like for view in one.views))


def _check_like(like: tuple[Exemplar, ...], alone: bool, most: int) -> None:
    """Refuse examples that say too little or too much.

    Raises:
        PromptError: they say only what is not meant, and are alone; or are too many.
    """
    if alone and not any(one.labels.any() for one in like):
        raise PromptError(
            "nothing to look for: these exemplars say only what is not meant; give text, or an "
            "exemplar of what is"
        )
    if (tokens := sum(len(one.labels) + 1 for one in like)) > most:
        raise PromptError(
            f"{len(like)} exemplars of {tokens - len(like)} boxes are too many: boxes and "
            f"exemplars together may be {most}"
        )


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


def check_boxes(boxes: Any) -> None:
    """Refuse to make an exemplar of nothing.

    Raises:
        PromptError: no boxes, or none in their list.
    """
    if boxes is None or _is_empty(boxes):
        raise PromptError("an exemplar takes boxes on its picture: give one or more")


def check_threshold(threshold: float) -> None:
    """Refuse a threshold that no score can be compared with.

    Raises:
        PromptError: a threshold that is no number, or not between 0 and 1.
    """
    if isinstance(threshold, bool) or not is_number(threshold) or not 0 <= threshold <= 1:
        raise PromptError(f"threshold must be between 0 and 1, got {brief(threshold)}")


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
