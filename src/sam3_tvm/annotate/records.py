"""What was found in a picture, as plain data, and as a line of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.runtime.pictures.runs import Window, window_of_runs
from sam3_tvm.tiles.place import Place

__all__ = ["AnnotatedObject", "AnnotatedPicture", "PictureFailure"]


@dataclass(frozen=True)
class AnnotatedObject:
    """An object in a picture. Its mask has at least one pixel.

    Attributes:
        phrase: what was looked for.
        category: what it is called.
        score: between 0 and 1.
        box: x0, y0, x1, y1 in pixels, cut at the picture's edges.
        area: pixels of the mask.
        counts: the mask, in COCO's compressed run-length encoding.
    """

    phrase: str
    category: str
    score: float
    box: tuple[float, float, float, float]
    area: int
    counts: str

    def window(self, size: tuple[int, int]) -> Window:
        """The part of the picture that has all of the mask; see :meth:`mask`."""
        return window_of_runs(self.counts, size)

    def mask(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """The mask, bool [H, W].

        Args:
            size: the picture's height and width.
        """
        from pycocotools import mask as coco

        runs = {"size": list(size), "counts": self.counts.encode("ascii")}
        mask: NDArray[np.bool_] = coco.decode(runs).astype(np.bool_)
        return mask


@dataclass(frozen=True)
class AnnotatedPicture:
    """A picture and what was found in it.

    Attributes:
        name: its path in the collection, with ``/`` between folders.
        path: where it lay.
        size: height and width, pixels, upright.
        file_size: of its file, in bytes.
        modified: when its file was last changed, in nanoseconds since 1970.
        sha256: of its file, in hexadecimal.
        objects: what was found, phrase by phrase, best first.
        place: where it lies on the earth; None if that isn't known, or wasn't looked for.
    """

    name: str
    path: str
    size: tuple[int, int]
    file_size: int
    modified: int
    sha256: str
    objects: tuple[AnnotatedObject, ...]
    place: Place | None = None

    def to_line(self) -> str:
        """A line of JSON, without the line break."""
        data = asdict(self)
        if self.place is None:
            del data["place"]
        return json.dumps(data, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str | bytes) -> AnnotatedPicture:
        """What :meth:`to_line` wrote.

        Raises:
            ValueError, TypeError, KeyError: another line.
        """
        return cls.from_data(json.loads(line))

    @classmethod
    def from_data(cls, data: Any) -> AnnotatedPicture:
        """What a line of :meth:`to_line` holds.

        Raises:
            ValueError, TypeError, KeyError: something else.
        """
        if not isinstance(data, dict):
            raise TypeError("no object")
        height, width = data["size"]
        objects = tuple(map(_object, data["objects"]))
        place = _place(data.get("place"))
        made = cls(**{**data, "size": (height, width), "objects": objects, "place": place})
        _check(made, ("name", "path", "sha256"), str)
        _check(made, ("file_size", "modified"), int)
        if not all(type(side) is int and side > 0 for side in made.size):
            raise ValueError(f"size: {made.size!r}")
        return made


def _place(data: Any) -> Place | None:
    if data is None:
        return None
    a, b, c, d, e, f = map(float, data["transform"])
    return Place(str(data["crs"]), (a, b, c, d, e, f))


def _object(data: Any) -> AnnotatedObject:
    x0, y0, x1, y1 = (float(value) for value in data["box"])
    made = AnnotatedObject(**{**data, "box": (x0, y0, x1, y1)})
    _check(made, ("phrase", "category", "counts"), str)
    _check(made, ("area",), int)
    _check(made, ("score",), (int, float))
    if not made.counts.isascii():
        raise ValueError("counts: not in ASCII")
    return made


def _check(made: object, names: tuple[str, ...], kind: type | tuple[type, ...]) -> None:
    for name in names:
        if not isinstance(getattr(made, name), kind):
            raise TypeError(f"{name}: of another kind")


@dataclass(frozen=True)
class PictureFailure:
    """A picture in which nothing could be looked for.

    Attributes:
        name: its path in the collection, with ``/`` between folders.
        reason: why, in one line.
    """

    name: str
    reason: str
