"""What is to be followed: objects that are shown, phrases, and which frames are passed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.errors import UsageError
from sam3_tvm.film.faults import Refused
from sam3_tvm.runtime.pictures.image import read_picture
from sam3_tvm.runtime.video.frames import Frames

__all__ = ["Passage", "ShownPrompt", "check_fits", "read_mask"]

Box = tuple[float, float, float, float]
Point = tuple[float, float]


@dataclass
class ShownPrompt:
    """What is said of one object on one frame.

    Attributes:
        frame: the frame's number, from 0.
        object_id: the object's number, from 1.
        box: x0, y0, x1, y1 in the frame's pixels.
        points: x, y in the frame's pixels.
        point_labels: one per point, 1 for one on the object, 0 for one beside it.
        mask: a picture of the frame's size, the object light on black.
    """

    frame: int
    object_id: int
    box: Box | None = None
    points: list[Point] = field(default_factory=list)
    point_labels: list[int] = field(default_factory=list)
    mask: Path | None = None

    def described(self) -> dict[str, object]:
        """The same as plain data."""
        return {
            "frame": self.frame,
            "object_id": self.object_id,
            "box": None if self.box is None else list(self.box),
            "points": [list(point) for point in self.points],
            "point_labels": self.point_labels,
            "mask": None if self.mask is None else f"{self.mask}",
        }


@dataclass(frozen=True)
class Passage:
    """What is followed through which frames.

    Attributes:
        shown: what is said of the objects, by frame.
        first: the frame at which it begins.
        most: frames to pass in each direction; None for all.
        forward, backward: the directions; of both, backward comes first.
        phrases: what is looked for on every frame that is passed.
        live: whether results of phrases are wanted at once.
    """

    shown: Sequence[ShownPrompt]
    first: int
    most: int | None
    forward: bool
    backward: bool
    phrases: Sequence[str] = ()
    live: bool = False

    def is_new(self, shown: ShownPrompt, reverse: bool) -> bool:
        """Whether a pass that comes to this prompt hears of its object for the first time."""
        step = -1 if reverse else 1
        return not any(
            one.object_id == shown.object_id and (one.frame - shown.frame) * step < 0
            for one in self.shown
        )

    def reaches(self, frame: int) -> bool:
        """Whether what is said on a frame is heard: on those passed, and before them."""
        ahead = self.most is None or abs(frame - self.first) < self.most
        if frame >= self.first:
            return (self.forward and ahead) or not self.forward
        return (self.backward and ahead) or not self.backward

    def total(self, count: int | None) -> int | None:
        """How many frames are passed of a film of ``count``; None if that isn't known."""
        passed = 0
        if self.backward:
            before = self.first if self.forward else self.first + 1
            passed += before if self.most is None else min(before, self.most)
        if self.forward:
            if count is None and self.most is None:
                return None
            ahead = self.most if count is None else max(0, count - self.first)
            assert ahead is not None
            passed += ahead if self.most is None else min(ahead, self.most)
        return passed


def check_fits(shown: Sequence[ShownPrompt], film: Frames) -> None:
    """Refuse early what would be refused when its frame comes.

    Args:
        shown: what is said of the objects.
        film: the opened film.

    Raises:
        UsageError: a frame that the film doesn't have, or what lies outside its frames.
        ImageError: a mask that cannot be read.
    """
    height, width = film.size
    for one in shown:
        if film.count is not None and one.frame >= film.count:
            raise UsageError(
                f"object {one.object_id} is shown on frame {one.frame}; {film.name} has "
                f"{film.count} frames, counted from 0"
            )
        for x, y in one.points:
            if not (0 <= x <= width and 0 <= y <= height):
                raise UsageError(
                    f"point {x:g},{y:g} lies outside the frames of {width} x {height} px"
                )
        if one.box is not None:
            x0, y0, x1, y1 = one.box
            if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
                raise UsageError(
                    f"box {x0:g},{y0:g},{x1:g},{y1:g} lies outside the frames of "
                    f"{width} x {height} px"
                )
        if one.mask is not None and (found := read_mask(one.mask).shape) != (height, width):
            raise Refused(
                "mask",
                f"{one.mask}: is {found[1]} x {found[0]} px, the frames are {width} x {height} px",
            )


def read_mask(path: Path) -> NDArray[np.bool_]:
    """A mask from a picture, bool [H, W]: what is lighter than half of its lightest pixel.

    Raises:
        Refused: the picture is all black.
        ImageError: it cannot be read.
    """
    light = read_picture(path).max(-1)
    if not light.any():
        raise Refused("mask", f"{path}: is all black; the object is what is light in it")
    mask: NDArray[np.bool_] = light > light.max() // 2
    return mask
