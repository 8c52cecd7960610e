"""What answers say."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, Field

from sam3_tvm.serve.forms.fields import SQUARE, RunLengths, example

__all__ = [
    "EXAMPLE_LINE",
    "ClickAnswer",
    "Health",
    "Info",
    "PictureAnswer",
    "ProblemAnswer",
    "SegmentAnswer",
    "VideoAnswer",
    "Working",
]

_MASK = {"segmentation": SQUARE, "bbox": [0, 0, 4, 4], "area": 16, "score": 0.93}


class PictureAnswer(BaseModel):
    """A picture that is kept, encoded."""

    id: str = Field(description="SHA-256 of its file: the same for whoever sends it.")
    width: int
    height: int
    bytes: int = Field(description="Memory that it takes.")

    model_config = example(id="de10f56a" * 8, width=384, height=384, bytes=3358720)


class VideoAnswer(BaseModel):
    """A film that is kept."""

    id: str
    width: int
    height: int
    frames: int | None = Field(description="As many as the file says that it has.")
    fps: float | None

    model_config = example(id="debf12d6" * 4, width=192, height=192, frames=48, fps=12)


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

    model_config = example(
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

    model_config = example(width=8, height=8, object_score=0.99, best=0, masks=[_MASK])


class ProblemAnswer(BaseModel):
    """What is wrong, as of RFC 9457."""

    type: str
    title: str
    status: int
    detail: str = Field(description="One line.")
    errors: list[dict[str, Any]] | None = None

    model_config = example(
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

    model_config = example(
        version="0.1.0",
        tasks=["concepts", "clicks", "video"],
        kinds={"encode": {"seconds": 9.7, "under_way": 1}},
        limits={"prompts": 64},
    )


class Health(BaseModel):
    """How the server is."""

    status: str

    model_config = example(status="ok")


EXAMPLE_LINE = (
    json.dumps(
        {
            "frame": 0,
            "time": 0.0,
            "objects": [{"id": 1, "phrase": "square", "score": 0.93, "segmentation": SQUARE}],
        }
    )
    + "\n"
)
"""A line of those that following a film gives, for examples."""
