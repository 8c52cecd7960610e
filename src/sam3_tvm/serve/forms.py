"""What requests ask, and what answers say, as JSON; pydantic checks it and describes it.

Here numbers have their types and lists their bounds. What they mean on a picture the library
checks, and says in its own words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sam3_tvm.runtime.pictures.runs import are_runs

__all__ = [
    "EXAMPLE_LINE",
    "EXAMPLE_PNG",
    "AskClick",
    "AskExport",
    "AskSegment",
    "AskTrack",
    "ClickAnswer",
    "Exported",
    "Health",
    "Info",
    "Like",
    "PictureAnswer",
    "ProblemAnswer",
    "SegmentAnswer",
    "Shown",
    "TrackLine",
    "VideoAnswer",
    "Working",
    "signed",
]

# No list is longer than all prompts together may be; the server's own limit is lower.
_MOST = 1024

Number = Annotated[float, Field(allow_inf_nan=False)]
Point = Annotated[list[Number], Field(min_length=2, max_length=2)]
Box = Annotated[list[Number], Field(min_length=4, max_length=4)]
Points = Annotated[list[Point], Field(max_length=_MOST)]
Boxes = Annotated[list[Box], Field(max_length=_MOST)]
Phrase = Annotated[str, Field(max_length=2000)]
PictureId = Annotated[str, Field(min_length=64, max_length=64, pattern="^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    # A text is no number, true neither, and 1.0 no integer; 1 will do for a float.
    model_config = ConfigDict(strict=True)


class _Asked(_Strict):
    # A misspelt name is an error, rather than a request for something else.
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, data: Any) -> Any:
        """One error, whatever comes: pydantic's own are as many as a body has unknown names."""
        if isinstance(data, dict):
            unknown = next((name for name in data if name not in cls.model_fields), None)
            if unknown is not None:
                raise ValueError(
                    f"{unknown[:40]!r} is no name that is known here: {', '.join(cls.model_fields)}"
                )
        return data


class Like(_Asked):
    """Examples on another picture."""

    image: PictureId = Field(description="The other picture's id.")
    boxes: Boxes = Field(description="x0, y0, x1, y1 in its pixels, around examples.", default=[])
    negative_boxes: Boxes = Field(description="Boxes around what is not meant.", default=[])
    name: Phrase | None = Field(
        description="What results call what it finds, where no phrase does.", default=None
    )


class AskSegment(_Asked):
    """What to look for: phrases, or what looks like examples, or both."""

    phrases: list[Phrase] = Field(
        description="Each is looked for by itself. None to look for what looks like the examples.",
        default=[],
        max_length=_MOST,
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
        max_length=_MOST,
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


class AskClick(_Asked):
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


class Shown(_Asked):
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


class AskTrack(_Asked):
    """What to follow through a film: what phrases name, objects that are shown, or both."""

    phrases: list[Phrase] = Field(
        description="All that each names is found on every frame, and followed.",
        default=[],
        max_length=_MOST,
    )
    objects: list[Shown] = Field(
        description="Objects that are shown; on a later frame, corrections of them.",
        default=[],
        max_length=_MOST,
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


def _example(**named: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [named]})


# A square of 4 x 4 px at the corner of a picture of 8 x 8.
_SQUARE = {"size": [8, 8], "counts": "04400000P1"}
_MASK = {"segmentation": _SQUARE, "bbox": [0, 0, 4, 4], "area": 16, "score": 0.93}


class PictureAnswer(BaseModel):
    """A picture that is kept, encoded."""

    id: str = Field(description="SHA-256 of its file: the same for whoever sends it.")
    width: int
    height: int
    bytes: int = Field(description="Memory that it takes.")

    model_config = _example(id="de10f56a" * 8, width=384, height=384, bytes=3358720)


class VideoAnswer(BaseModel):
    """A film that is kept."""

    id: str
    width: int
    height: int
    frames: int | None = Field(description="As many as the file says that it has.")
    fps: float | None

    model_config = _example(id="debf12d6" * 4, width=192, height=192, frames=48, fps=12)


class RunLengths(_Strict):
    """A mask in COCO's compressed run lengths."""

    size: list[int]
    counts: str

    def cover(self, size: tuple[int, int]) -> bool:
        """Whether they are those of all pixels of a picture of this height and width."""
        return tuple(self.size) == size and are_runs(self.counts, size)


class MaskAnswer(BaseModel):
    """A mask in COCO's results format."""

    segmentation: RunLengths
    bbox: list[float] = Field(description="x, y, width, height in pixels.")
    area: int = Field(description="Pixels.")
    score: float
    logits: str | None = Field(description="Where they were asked for.", default=None)


class PhraseAnswer(BaseModel):
    """What was found for one phrase, best first."""

    text: str
    text_read: str = Field(description="What the model reads of a very long one.")
    objects: list[MaskAnswer]


class SegmentAnswer(BaseModel):
    """What was found."""

    width: int
    height: int
    results: list[PhraseAnswer]

    model_config = _example(
        width=8,
        height=8,
        results=[{"text": "green square", "text_read": "green square", "objects": [_MASK]}],
    )


class ClickAnswer(BaseModel):
    """The masks that answer clicks; a score is the predicted intersection over union."""

    width: int
    height: int
    object_score: float = Field(description="Probability that there is an object at all.")
    best: int = Field(description="Which of the masks has the highest score.")
    masks: list[MaskAnswer]

    model_config = _example(width=8, height=8, object_score=0.99, best=0, masks=[_MASK])


class ProblemAnswer(BaseModel):
    """What is wrong, as of RFC 9457."""

    type: str
    title: str
    status: int
    detail: str = Field(description="One line.")
    errors: list[dict[str, Any]] | None = None

    model_config = _example(
        type="about:blank",
        title="Unprocessable Content",
        status=422,
        detail="point (11118, 78) lies outside the picture of 384 x 384 px",
    )


class Working(BaseModel):
    """How long requests of a kind take."""

    seconds: float | None = Field(description="Of computing, a mean of the latest; null before.")
    under_way: int = Field(description="Requests of this kind that are under way now.")


class Info(BaseModel):
    """What the server can do, and how long that takes."""

    version: str = Field(description="Of sam3-tvm.")
    tasks: list[str] = Field(description="What the artifact is for.")
    kinds: dict[str, Working] = Field(description="By click, segment, encode (a picture), frame.")
    limits: dict[str, int | float] = Field(description="What is taken; see `sam3-tvm serve`.")

    model_config = _example(
        version="0.1.0",
        tasks=["concepts", "clicks", "video"],
        kinds={"encode": {"seconds": 9.7, "under_way": 1}},
        limits={"prompts": 64},
    )


class Exported(_Asked):
    """An object for a dataset."""

    category: str = Field(description="What it is called.", min_length=1, max_length=2000)
    phrase: Phrase = Field(description="What was looked for; by default the category.", default="")
    score: Annotated[float, Field(ge=0, le=1)]
    bbox: Box | None = Field(
        description="x, y, width, height in pixels, as results have it; else the mask's.",
        default=None,
    )
    segmentation: RunLengths


class AskExport(_Asked):
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

    model_config = _example(
        width=8,
        height=8,
        file_name="photo.jpg",
        objects=[{"category": "square", "score": 0.93, "segmentation": _SQUARE}],
    )


class Followed(_Strict):
    """An object on a frame."""

    id: int = Field(ge=0)
    phrase: Phrase | None = None
    score: float
    segmentation: RunLengths


class TrackLine(_Strict):
    """A line of those that following a film gives."""

    frame: int = Field(ge=0)
    objects: list[Followed] = Field(max_length=_MOST)


EXAMPLE_LINE = (
    json.dumps(
        {
            "frame": 0,
            "time": 0.0,
            "objects": [{"id": 1, "phrase": "square", "score": 0.93, "segmentation": _SQUARE}],
        }
    )
    + "\n"
)
"""A line of those that following a film gives, for examples."""

EXAMPLE_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR42mPUWBDAwMDAxMDAwMDAAAANIgEcdHmQiwAAAABJ"
    "RU5ErkJggg=="
)
"""A picture of 2 x 2 px in base64, for examples."""


class Health(BaseModel):
    """How the server is."""

    status: str

    model_config = _example(status="ok")


def signed(
    meant: Sequence[list[float]], unmeant: Sequence[list[float]]
) -> tuple[list[list[float]] | None, list[int] | None]:
    """Boxes or points, and a label for each; None where there are none."""
    every = [*meant, *unmeant]
    return (every, [1] * len(meant) + [0] * len(unmeant)) if every else (None, None)
