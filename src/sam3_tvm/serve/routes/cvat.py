"""What CVAT asks of an interactor, the JSON that its Nuclio functions take and give."""

from __future__ import annotations

import base64
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from sam3_tvm.labels.cvat.masks import encode
from sam3_tvm.serve.forms.asked import signed
from sam3_tvm.serve.forms.fields import EXAMPLE_PNG, Point, Points
from sam3_tvm.serve.presence import answered
from sam3_tvm.serve.problems import Problem
from sam3_tvm.serve.routes.common import ServiceOf, problems
from sam3_tvm.serve.service import Service
from sam3_tvm.serve.turns import Kind

__all__ = ["PATH", "router"]

PATH = "/v1/cvat/interact"

router = APIRouter(tags=["CVAT"])


# CVAT adds fields with its versions: those that aren't known are left alone.
class AskInteract(BaseModel):
    """What CVAT sends."""

    image: str = Field(description="The frame's file in base64.")
    pos_points: Points = Field(description="x, y in pixels, on the object.", default=[])
    neg_points: Points | None = Field(description="Points beside it.", default=None)
    obj_bbox: Annotated[list[Point], Field(max_length=2)] | None = Field(
        description="Two corners of a box around it, or nothing.", default=None
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"image": EXAMPLE_PNG, "pos_points": [[1, 1]], "neg_points": []}]
        }
    )


class Confidence(BaseModel):
    """CVAT's attribute 0: how sure an interactor is."""

    spec_id: int = 0
    value: str


class Shape(BaseModel):
    """A mask in CVAT's run lengths."""

    type: str = "mask"
    points: list[int]
    attributes: list[Confidence]


class InteractAnswer(BaseModel):
    """The mask, for CVATs of different ages: newer ones read ``shapes``, older ones ``mask``."""

    shapes: list[Shape]
    mask: list[list[int]] = Field(description="Rows of the picture, 1 on the object.")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "shapes": [
                        {
                            "type": "mask",
                            "points": [0, 4, 0, 0, 1, 1],
                            "attributes": [{"spec_id": 0, "value": "0.9312"}],
                        }
                    ],
                    "mask": [[1, 1], [1, 1]],
                }
            ]
        }
    )


@router.post(
    PATH,
    summary="Answer an interactor's prompts",
    response_model=InteractAnswer,
    responses=problems(400, 401, 408, 413, 415, 422, 429, 503),
)
async def interact(asked: AskInteract, request: Request, service: ServiceOf) -> Response:
    """The best mask. A frame that comes again is not encoded again, and then clicks pass ahead."""
    content = await answered(request, _answered(service, asked), service.limits.seconds)
    return Response(content, media_type="application/json")


async def _answered(service: Service, asked: AskInteract) -> str:
    model = service.model
    try:
        data = base64.b64decode(asked.image, validate=True)
    except ValueError as error:
        raise Problem(422, "image takes a picture's file in base64") from error
    if len(data) > service.limits.picture_bytes:
        raise Problem(
            413,
            f"the image has more than the {service.limits.picture_bytes:,} bytes that are taken",
        )
    if asked.obj_bbox and len(asked.obj_bbox) != 2:
        raise Problem(422, "obj_bbox takes two corners, [[x0, y0], [x1, y1]], or nothing")
    with service.turns.place(Kind.PICTURE):
        stored, _ = await service.encodings.encode(data)
    points, labels = signed(asked.pos_points, asked.neg_points or [])
    box = [*asked.obj_bbox[0], *asked.obj_bbox[1]] if asked.obj_bbox else None

    # Rows of twelve million pixels take a second or two to write: not where requests are heard.
    def call() -> str:
        result = model.click(stored.encoded, points, labels, box)
        assert not isinstance(result, list), "one object was asked for"
        mask = result.masks[result.best]
        shapes = []
        if mask.any():
            sure = Confidence(value=f"{float(result.iou[result.best]):.4f}")
            shapes = [Shape(points=encode(mask), attributes=[sure])]
        return InteractAnswer(shapes=shapes, mask=mask.astype(int).tolist()).model_dump_json()

    with service.turns.place(Kind.CLICK):
        return await service.turns.run(Kind.CLICK, call)
