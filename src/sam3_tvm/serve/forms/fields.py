"""What forms are made of: numbers with their types, lists with their bounds, run lengths."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sam3_tvm.runtime.pictures.runs import are_runs

__all__ = [
    "EXAMPLE_PNG",
    "MOST",
    "SQUARE",
    "Asked",
    "Box",
    "Boxes",
    "Number",
    "Phrase",
    "PictureId",
    "Point",
    "Points",
    "RunLengths",
    "Strict",
    "example",
]

MOST = 1024
"""No list is longer than all prompts together may be; the server's own limit is lower."""

Number = Annotated[float, Field(allow_inf_nan=False)]
Point = Annotated[list[Number], Field(min_length=2, max_length=2)]
Box = Annotated[list[Number], Field(min_length=4, max_length=4)]
Points = Annotated[list[Point], Field(max_length=MOST)]
Boxes = Annotated[list[Box], Field(max_length=MOST)]
Phrase = Annotated[str, Field(max_length=2000)]
PictureId = Annotated[str, Field(min_length=64, max_length=64, pattern="^[0-9a-f]{64}$")]


class Strict(BaseModel):
    """A text is no number, true neither, and 1.0 no integer; 1 will do for a float."""

    model_config = ConfigDict(strict=True)


class Asked(Strict):
    """A misspelt name is an error, rather than a request for something else."""

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


class RunLengths(Strict):
    """A mask in COCO's compressed run lengths."""

    size: list[int]
    counts: str

    def cover(self, size: tuple[int, int]) -> bool:
        """Whether they are those of all pixels of a picture of this height and width."""
        return tuple(self.size) == size and are_runs(self.counts, size)


def example(**named: Any) -> ConfigDict:
    """What describes a form by an example of it."""
    return ConfigDict(json_schema_extra={"examples": [named]})


SQUARE = {"size": [8, 8], "counts": "04400000P1"}
"""A square of 4 x 4 px at the corner of a picture of 8 x 8, for examples."""

EXAMPLE_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR42mPUWBDAwMDAxMDAwMDAAAANIgEcdHmQiwAAAABJ"
    "RU5ErkJggg=="
)
"""A picture of 2 x 2 px in base64, for examples."""
