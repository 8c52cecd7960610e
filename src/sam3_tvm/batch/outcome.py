"""What is asked of every picture, and what one of them gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sam3_tvm.runtime import Exemplar, Model, Result
from sam3_tvm.runtime.concepts.sharing import Asked, share_out
from sam3_tvm.tiles import TiledResult, Tiling, segment_tiled

__all__ = ["Outcome", "Question"]


@dataclass(frozen=True)
class Question:
    """What :meth:`Model.segment` is asked, the same of every picture.

    Attributes:
        texts: phrases; none with boxes or points alone.
        boxes, box_labels, points, point_labels: examples, as there; lists of numbers.
        threshold: objects with a higher score are kept.
        nms: as there.
        tiling: how pictures are cut; None for whole ones.
        examples: on other pictures; see :func:`~sam3_tvm.runtime.concepts.sharing.share_out`.
    """

    texts: list[str]
    boxes: list[list[float]]
    box_labels: list[int]
    points: list[list[float]]
    point_labels: list[int]
    threshold: float
    nms: float | None

    examples: tuple[Exemplar, ...] = ()
    tiling: Tiling | None = None

    def described(self) -> dict[str, Any]:
        """The question as plain data."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        examples = [[one.name, one.digest] for one in self.examples]
        cut = self.tiling and [self.tiling.tile, self.tiling.overlap, self.tiling.again]
        return {**plain, "examples": examples, "tiling": cut}

    def asked(self) -> list[Asked[Exemplar]]:
        """What is looked for, in the order of the results; empty with boxes or points alone."""
        return share_out([(text, text) for text in self.texts], self.examples)

    def ask(self, model: Model, picture: Path) -> list[Result] | list[TiledResult]:
        """A picture's results: one for each thing that is looked for, one without any.

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
        asked = self.asked()
        if self.tiling is not None:
            del examples["points"], examples["point_labels"]  # which whole pictures alone take
            texts = [one.text for one in asked] or [None]
            examples["like"] = [one.like for one in asked] or [()]
            found: list[TiledResult] = segment_tiled(
                model, picture, texts, **examples, tiling=self.tiling
            )
            return found
        if asked:
            texts = [one.text for one in asked]
            # A tuple for each, so that none is taken for one that goes with all.
            return model.segment(picture, texts, **examples, like=[one.like for one in asked])
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
    def of(
        cls,
        number: int,
        picture: Path,
        file_name: str,
        results: Sequence[Result | TiledResult],
    ) -> Outcome:
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
