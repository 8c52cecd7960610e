"""What requests ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from sam3_tvm.serve.forms.fields import (
    MOST,
    SQUARE,
    Asked,
    Box,
    Boxes,
    Number,
    Phrase,
    PictureId,
    Points,
    RunLengths,
    Strict,
    example,
)

__all__ = [
    "AskClick",
    "AskExport",
    "AskSegment",
    "AskTrack",
    "Exported",
    "Like",
    "Shown",
    "TrackLine",
    "signed",
]


class Like(Asked):
    """Examples on another picture."""

    image: PictureId = Field(description="The other picture's id.")
    boxes: Boxes = Field(description="x0, y0, x1, y1 in its pixels, around examples.", default=[])
    negative_boxes: Boxes = Field(description="Boxes around what is not meant.", default=[])
    name: Phrase | None = Field(
        description="What results call what it finds, where no phrase does.", default=None
    )


class AskSegment(Asked):
    """What to look for: phrases, or what looks like examples, or both."""

    phrases: list[Phrase] = Field(
        description="Each is looked for by itself. None to look for what looks like the examples.",
        default=[],
        max_length=MOST,
    )
    boxes: Boxes = Field(
        description="x0, y0, x1, y1 in the picture's pixels, around examples of what is meant; "
        "they go with every phrase.",
        default=[],
    )
    negative_boxes: Boxes = Field(description="Boxes around what is not meant.", default=[])
    points: Points = Field(
        description="x, y in pixels, on what is meant; for artifacts of Meta's own model.",
        default=[],
    )
    negative_points: Points = Field(description="Points on what is not meant.", default=[])
    like: list[Like] = Field(
        description="Examples on other pictures; they go with every phrase.",
        default=[],
        max_length=MOST,
    )
    threshold: Number = Field(
        description="Objects with a higher score are kept, 0 to 1.", default=0.5
    )
    nms: Number | None = Field(
        description="Leave out objects whose masks overlap a better one's by more than this "
        "intersection over union, 0 to 1.",
        default=None,
    )
    draw: bool = Field(
        description="For image/png: the picture with masks, boxes and scores drawn on it, instead "
        "of the masks alone.",
        default=False,
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"phrases": ["green hexagon", "red star"], "threshold": 0.5},
                {"boxes": [[64, 20, 180, 133]], "draw": True},
            ]
        },
    )


class AskClick(Asked):
    """Clicks on one object."""

    points: Points = Field(description="x, y in the picture's pixels, on the object.", default=[])
    negative_points: Points = Field(description="Points beside the object.", default=[])
    box: Box | None = Field(description="x0, y0, x1, y1 around the object.", default=None)
    mask: str | None = Field(
        description="Logits of an earlier answer, as its masks have them under logits, to be "
        "refined by the clicks of both.",
        default=None,
    )
    multimask: bool = Field(
        description="Give the masks that a click could mean, rather than one.", default=True
    )
    logits: bool = Field(
        description="Give every mask's logits, base64 of float32 little-endian, for a next "
        "request's mask.",
        default=False,
    )
    draw: bool = Field(
        description="For image/png: the picture with the best mask drawn on it, instead of the "
        "mask alone.",
        default=False,
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"points": [[118, 78]], "negative_points": [[20, 20]]},
                {"box": [64, 20, 180, 133], "multimask": False, "logits": True},
            ]
        },
    )


class Shown(Asked):
    """What shows an object on one frame."""

    id: int = Field(description="The object's number, from 1.", ge=1, le=1_000_000_000)
    frame: int | None = Field(
        description="On which frame, from 0; by default start, or 0.",
        default=None,
        ge=0,
        le=1_000_000_000,
    )
    points: Points = Field(description="x, y in the frame's pixels, on the object.", default=[])
    negative_points: Points = Field(description="Points beside the object.", default=[])
    box: Box | None = Field(description="x0, y0, x1, y1 around the object.", default=None)


class AskTrack(Asked):
    """What to follow through a film: what phrases name, objects that are shown, or both."""

    phrases: list[Phrase] = Field(
        description="All that each names is found on every frame, and followed.",
        default=[],
        max_length=MOST,
    )
    objects: list[Shown] = Field(
        description="Objects that are shown; on a later frame, corrections of them.",
        default=[],
        max_length=MOST,
    )
    start: int | None = Field(
        description="The frame at which to begin; by default the first (backward the last) on "
        "which an object is shown, with phrases the film's.",
        default=None,
        ge=0,
        le=1_000_000_000,
    )
    frames: int | None = Field(
        description="How many frames to pass at most in a direction.",
        default=None,
        ge=1,
        le=1_000_000_000,
    )
    direction: Literal["forward", "backward", "both"] = Field(
        description="Of both, backward comes first, and lines in the film's order.",
        default="forward",
    )
    live: bool = Field(
        description="Give results of phrases at once, not some frames later, when what turned "
        "out to be no object is left out.",
        default=False,
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"phrases": ["red star"], "frames": 25},
                {"objects": [{"id": 1, "box": [20, 40, 60, 90]}], "direction": "both"},
            ]
        },
    )


class Exported(Asked):
    """An object for a dataset."""

    category: str = Field(description="What it is called.", min_length=1, max_length=2000)
    phrase: Phrase = Field(description="What was looked for; by default the category.", default="")
    score: Annotated[float, Field(ge=0, le=1)]
    bbox: Box | None = Field(
        description="x, y, width, height in pixels, as results have it; else the mask's.",
        default=None,
    )
    segmentation: RunLengths


class AskExport(Asked):
    """Results, as they came or chosen among, to be written in a dataset's format."""

    width: Annotated[int, Field(ge=1, le=1 << 20)]
    height: Annotated[int, Field(ge=1, le=1 << 20)]
    file_name: str = Field(
        description="The picture's.", default="picture.png", min_length=1, max_length=200
    )
    sha256: PictureId | None = Field(
        description="Of the picture's file, which is its id here.", default=None
    )
    objects: list[Exported] = Field(max_length=10_000)

    model_config = example(
        width=8,
        height=8,
        file_name="photo.jpg",
        objects=[{"category": "square", "score": 0.93, "segmentation": SQUARE}],
    )


class Followed(Strict):
    """An object on a frame."""

    id: int = Field(ge=0)
    phrase: Phrase | None = None
    score: float
    segmentation: RunLengths


class TrackLine(Strict):
    """A line of those that following a film gives."""

    frame: int = Field(ge=0)
    objects: list[Followed] = Field(max_length=MOST)


def signed(
    meant: Sequence[list[float]], unmeant: Sequence[list[float]]
) -> tuple[list[list[float]] | None, list[int] | None]:
    """Boxes or points, and a label for each; None where there are none."""
    every = [*meant, *unmeant]
    return (every, [1] * len(meant) + [0] * len(unmeant)) if every else (None, None)
