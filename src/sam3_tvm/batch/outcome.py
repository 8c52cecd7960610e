"""What is asked of every picture, and what one of them gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sam3_tvm.runtime import Model, Result

__all__ = ["Outcome", "Question"]


@dataclass(frozen=True)
class Question:
    """What :meth:`Model.segment` is asked, the same of every picture.

    Attributes:
        texts: phrases; none with boxes or points alone.
        boxes, box_labels, points, point_labels: examples, as there; lists of numbers.
        threshold: objects with a higher score are kept.
        nms: as there.
    """

    texts: list[str]
    boxes: list[list[float]]
    box_labels: list[int]
    points: list[list[float]]
    point_labels: list[int]
    threshold: float
    nms: float | None

    @property
    def several(self) -> bool:
        """Whether a picture gives several results."""
        return len(self.texts) > 1

    def described(self) -> dict[str, Any]:
        """The question as plain data."""
        return asdict(self)

    def ask(self, model: Model, picture: Path) -> list[Result]:
        """A picture's results: one for each phrase, one without.

        Raises:
            ImageError: it cannot be read.
            PromptError: the prompts cannot be used with it.
        """
        examples: dict[str, Any] = {
            "boxes": self.boxes or None,
            "box_labels": self.box_labels or None,
            "points": self.points or None,
            "point_labels": self.point_labels or None,
            "threshold": self.threshold,
            "nms": self.nms,
        }
        if self.texts:
            return model.segment(picture, self.texts, **examples)
        return [model.segment(picture, **examples)]


@dataclass(frozen=True)
class Outcome:
    """What one picture gave, as plain data.

    Attributes:
        number: its place among the pictures, from 0.
        picture: its path.
        file_name: how outputs call it.
        width, height: its size in pixels.
        found: for each prompt its phrase as ``text`` (None of clicks), what the model read of it
            as ``read``, and ``objects`` as :meth:`Result.to_coco` gives them.
        overlays: the pictures that were drawn in folders.
        about: what a line of JSON says besides.
    """

    number: int
    picture: str
    file_name: str
    width: int
    height: int
    found: list[dict[str, Any]]
    overlays: list[str]
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, number: int, picture: Path, file_name: str, results: Sequence[Result]) -> Outcome:
        """That of a picture whose results these are; nothing is drawn yet."""
        height, width = results[0].size
        found = [
            {"text": result.text, "read": result.text_read, "objects": result.to_coco()}
            for result in results
        ]
        return cls(number, f"{picture}", file_name, width, height, found, [])

    def cut(self) -> dict[str, str]:
        """The phrases that are longer than the model reads, and what it reads of them."""
        return {one["text"]: one["read"] for one in self.found if one["text"] != one["read"]}

    def line(self) -> dict[str, Any]:
        """The picture as a line of JSON has it."""
        objects = [
            {**({} if one["text"] is None else {"text": one["text"]}), **entry}
            for one in self.found
            for entry in one["objects"]
        ]
        place = {"file_name": self.file_name, "width": self.width, "height": self.height}
        return {**place, **self.about, "objects": objects}
