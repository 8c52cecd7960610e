"""Clicks: points, a box and a mask for each object, checked and as the functions take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.runtime.pictures.arguments import (
    PromptError,
    as_array,
    brief,
    count_entries,
    is_number,
)
from sam3_tvm.runtime.pictures.coordinates import checked_labels, pixel_boxes, pixel_points
from sam3_tvm.runtime.pictures.values import PlainValue

__all__ = ["Click", "build_clicks"]

# Labels of the functions: 1 and 0 for points, and these.
_DEEPEST = 4  # lists within lists of numbers: objects, rows, columns, and one too many

_NO_POINT, _UPPER_LEFT, _LOWER_RIGHT = -1, 2, 3


@dataclass(frozen=True, eq=False)
class Click(PlainValue):
    """What was said of one object.

    Attributes:
        points: float64 [N, 2], x and y in the picture's pixels.
        labels: int64 [N], 1 for a point on the object, 0 for one beside it.
        box: float64 [4], x0, y0, x1, y1 in the picture's pixels; or None.
        mask: logits of an earlier answer, float32 [4S, 4S]; or None.
    """

    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    box: NDArray[np.float64] | None
    mask: NDArray[np.float32] | None

    def described(self) -> dict[str, Any]:
        """Points, their labels and the box as plain data, for a document."""
        return {
            "points": self.points.tolist(),
            "point_labels": self.labels.tolist(),
            "box": None if self.box is None else self.box.tolist(),
        }

    def inputs(self, size: tuple[int, int], side: int) -> tuple[NDArray[Any], ...]:
        """The inputs of ``prompt_encoder`` for this object.

        Args:
            size: height and width of the picture, pixels.
            side: of masks, 4S.
        """
        points, labels = self.points, self.labels
        if self.box is not None:
            points = np.concatenate([points, self.box.reshape(2, 2)])
            labels = np.concatenate([labels, [_UPPER_LEFT, _LOWER_RIGHT]])
        if not len(points):
            points, labels = np.zeros((1, 2)), np.array([_NO_POINT])
        scale = np.array([size[1], size[0]], np.float64)
        mask = np.zeros((side, side), np.float32) if self.mask is None else self.mask
        return (
            (points / scale).astype(np.float32)[None],
            labels.astype(np.int64)[None],
            np.ascontiguousarray(mask)[None, None],
            np.array([self.mask is not None]),
        )


def build_clicks(
    points: Any,
    point_labels: Any,
    box: Any,
    mask: Any,
    size: tuple[int, int],
    *,
    side: int,
    most: int,
) -> tuple[list[Click], bool]:
    """The objects of one call.

    Args:
        points: of one object [N, 2]; or of several [M, N, 2], or a list with such an array, or
            None, for each. In the picture's pixels, as everything here.
        point_labels: one per point, in the same arrangement; by default all 1.
        box: of one object [4]; or of several [M, 4], or a list with a box or None for each.
        mask: logits of one object [4S, 4S]; or of several [M, 4S, 4S], or a list with an array or
            None for each.
        size: height and width of the picture, pixels.
        side: of masks, 4S.
        most: clicks that an object may have, a box counted as two.

    Returns:
        The objects, and whether several were asked for, be it one in a list.

    Raises:
        PromptError: nothing to go by, one and several objects mixed, other numbers of objects in
            the arguments, or points, labels, a box or a mask that cannot be used.
    """
    given = {"points": (points, 2), "box": (box, 1), "mask": (mask, 2)}
    known = {name: (value, rank) for name, (value, rank) in given.items() if value is not None}
    if not known:
        raise PromptError("nothing was clicked: give points, a box or a mask")
    if point_labels is not None and points is None:
        raise PromptError("point_labels need points")
    counts = {
        name: count_entries(name, value)
        for name, (value, rank) in known.items()
        if _rank(value, name) > rank
    }
    if not counts:
        return [_click(points, point_labels, box, mask, size, side, most)], False
    if single := [name for name in known if name not in counts]:
        several = next(iter(counts))
        raise PromptError(
            f"{several} has several objects and {single[0]} one: give each argument a list with an "
            "entry, or None, for each object"
        )
    if is_number(point_labels):
        point_labels = [point_labels] * next(iter(counts.values()))
    if point_labels is not None:
        counts["point_labels"] = count_entries("point_labels", point_labels)
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise PromptError(f"the arguments have other numbers of objects: {said}")
    count = next(iter(counts.values()))
    nothing = [None] * count
    columns = (nothing if v is None else v for v in (points, point_labels, box, mask))
    rows = zip(*columns, strict=True)
    return [_click(p, labels, b, m, size, side, most) for p, labels, b, m in rows], True


def _rank(value: Any, name: str, deep: int = 1) -> int:
    """How deep numbers lie; in lists, below the entries that aren't None."""
    if isinstance(value, np.ndarray):
        return value.ndim
    if isinstance(value, str | bytes):
        raise PromptError(f"{name} takes numbers, not {brief(value)}")
    if not isinstance(value, list | tuple):
        try:
            return int(np.ndim(value))
        except Exception as error:  # an object's own conversion to an array
            raise PromptError(f"{name} takes numbers, not {brief(value)}") from error
    if deep > _DEEPEST:
        raise PromptError(f"{name} takes numbers in lists at most {_DEEPEST} deep")
    inner = [_rank(entry, name, deep + 1) for entry in value if entry is not None]
    # A list of nothing but None is one of objects.
    return 1 + max(inner, default=0 if not len(value) else 8)


def _click(
    points: Any,
    labels: Any,
    box: Any,
    mask: Any,
    size: tuple[int, int],
    side: int,
    most: int,
) -> Click:
    spots = pixel_points(points, size)
    kinds = checked_labels("point", "points", labels, len(spots))
    corners = None
    if box is not None:
        if as_array(box, "box takes x0, y0, x1, y1").shape != (4,):
            raise PromptError(f"box takes x0, y0, x1, y1, not {brief(box)}")
        (corners,) = pixel_boxes([box], size)
    logits = None if mask is None else _logits(mask, side)
    count = len(spots) + (2 if corners is not None else 0)
    if count > most:
        raise PromptError(f"{len(spots)} points: at most {most} are taken, a box counted as two")
    if count == 0 and logits is None:
        raise PromptError("an object has nothing to go by: give it points, a box or a mask")
    return Click(spots, kinds, corners, logits)


def _logits(mask: Any, side: int) -> NDArray[np.float32]:
    array = as_array(mask, f"mask takes logits [{side}, {side}]")
    if array.dtype.kind != "f":
        raise PromptError(f"mask takes the logits of an earlier answer, not {array.dtype}")
    if array.shape != (side, side):
        raise PromptError(
            f"mask takes logits [{side}, {side}], such as result.logits[0], got {array.shape}"
        )
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    # Looked at as the functions get them: double precision has larger numbers.
    if not np.isfinite(single).all():
        raise PromptError("mask has logits that are no finite numbers in single precision")
    return single
