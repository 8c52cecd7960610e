"""What shows an object on a frame of a film: points, a box or a mask, checked and normalised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.runtime.clicks.prompts import build_clicks
from sam3_tvm.runtime.pictures.arguments import (
    PromptError,
    as_array,
    brief,
    checked_integer,
)
from sam3_tvm.runtime.pictures.resample import resize_mask
from sam3_tvm.runtime.pictures.values import PlainValue

__all__ = ["FramePrompt", "build_frame_prompt", "checked_id"]

# States hold integers of 64 bits.
_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, eq=False)
class FramePrompt(PlainValue):
    """What was said of one object on one frame: points, or a mask.

    Attributes:
        points: float32 [N, 2], x and y as fractions of the frame; the corners of a box come first.
        labels: int64 [N], 1 on the object, 0 beside it, 2 and 3 for the corners of a box.
        mask: bool [I, I], of the model's picture, or [H, W] where it is taken in the frame's size;
            or None.
    """

    points: NDArray[np.float32]
    labels: NDArray[np.int64]
    mask: NDArray[np.bool_] | None = None


def checked_id(given: Any) -> int:
    """An object's id.

    Raises:
        PromptError: it is no integer of 64 bits.
    """
    name = checked_integer("an object's id", given)
    if not -_LARGEST_ID <= name <= _LARGEST_ID:
        raise PromptError(f"an object's id has 64 bits at most, not {brief(name)}")
    return name


def build_frame_prompt(
    points: Any,
    point_labels: Any,
    box: Any,
    mask: Any,
    size: tuple[int, int],
    *,
    side: int,
    most: int,
    earlier: FramePrompt | None = None,
    resized: bool = True,
) -> FramePrompt:
    """The prompt of one call.

    Args:
        points: x, y in the frame's pixels, [N, 2].
        point_labels: 1 on the object or 0 beside it, one per point; by default all 1.
        box: x0, y0, x1, y1 in the frame's pixels.
        mask: where the object is, bool or integers [H, W], instead of points and a box.
        size: height and width of the frame, pixels.
        side: of the model's picture, pixels.
        most: points that an object may have, a box counted as two.
        earlier: the prompt to which points are added.
        resized: whether a mask is brought to the size of the model's picture.

    Raises:
        PromptError: nothing to go by, a mask beside points or of another size, or points, labels
            or a box that cannot be used.
    """
    if mask is not None:
        if any(given is not None for given in (points, point_labels, box)):
            raise PromptError("a mask says where the object is: give no points or box beside it")
        taken = _checked_mask(mask, size)
        if resized:
            taken = resize_mask(taken, side, side)
        if not taken.any():
            raise PromptError("the mask is empty: give one that covers some of the object")
        return FramePrompt(np.zeros((0, 2), np.float32), np.zeros(0, np.int64), taken)
    clicks, several = build_clicks(points, point_labels, box, None, size, side=side, most=most)
    if several:
        raise PromptError("one object at a time: give points [N, 2] and a box [4]")
    (click,) = clicks
    spots, labels = click.points, click.labels
    if click.box is not None:
        if earlier is not None:
            raise PromptError("a box starts a prompt anew: add it without the earlier points")
        spots = np.concatenate([click.box.reshape(2, 2), spots])
        labels = np.concatenate([np.array([2, 3]), labels])
    scaled = (spots / np.array([size[1], size[0]], np.float64)).astype(np.float32)
    if earlier is not None:
        scaled = np.concatenate([earlier.points, scaled])
        labels = np.concatenate([earlier.labels, labels])
        if len(labels) > most:
            raise PromptError(f"{len(labels)} points together: at most {most} are taken")
    return FramePrompt(scaled, labels.astype(np.int64))


def _checked_mask(mask: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    array = as_array(mask, f"a mask is of bool or integers [{size[0]}, {size[1]}]")
    if array.dtype.kind not in "biu":
        raise PromptError(f"a mask is of bool or integers, not {array.dtype}")
    if array.shape != size:
        raise PromptError(
            f"a mask has the frame's size, [{size[0]}, {size[1]}], got {list(array.shape)}"
        )
    found: NDArray[np.bool_] = array != 0
    return found
