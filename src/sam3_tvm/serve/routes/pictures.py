"""Pictures: sent once, encoded once, and asked about as often as one likes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from sam3_tvm.serve.answers import Form, chosen_form
from sam3_tvm.serve.forms.answered import ClickAnswer, PictureAnswer, SegmentAnswer
from sam3_tvm.serve.forms.asked import AskClick, AskSegment
from sam3_tvm.serve.presence import answered
from sam3_tvm.serve.receiving import FILE_BODY, read_file
from sam3_tvm.serve.routes.common import PictureId, ServiceOf, problems
from sam3_tvm.serve.store import Stored
from sam3_tvm.serve.turns import Kind

__all__ = ["router"]

router = APIRouter(prefix="/v1/images", tags=["pictures"])

_FORMS: dict[str, Any] = {
    Form.OUTLINES.value: {"schema": {"type": "object"}},
    Form.PNG.value: {"schema": {"type": "string", "format": "binary"}},
}


@router.post(
    "",
    status_code=201,
    summary="Send a picture",
    openapi_extra=FILE_BODY,
    responses={
        200: {"model": PictureAnswer, "description": "It was here already."},
        **problems(400, 401, 408, 413, 415, 422, 429, 503, 507),
    },
)
async def send(request: Request, response: Response, service: ServiceOf) -> PictureAnswer:
    """A picture's file (JPEG, PNG, WebP, TIFF, BMP ...) as the body, or in a form as `file`.

    It is encoded, which takes a while, and kept until others need its room. Its EXIF orientation
    is applied: coordinates are those of the upright picture. The same file gives the same id, and
    is encoded once.
    """
    with service.turns.place(Kind.PICTURE):
        service.check_loaded()
        data = await read_file(request)
        work = service.encodings.encode(data)
        stored, new = await answered(request, work, service.limits.seconds)
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"/v1/images/{stored.name}"
    return _about(stored)


@router.get("/{id}", summary="Whether a picture is here", responses=problems(401, 404, 422))
async def look(name: PictureId, service: ServiceOf) -> PictureAnswer:
    """The id is the SHA-256 of the file: a client can ask before it sends it."""
    return _about(service.store.get(name))


@router.delete(
    "/{id}", status_code=204, summary="Forget a picture", responses=problems(401, 404, 422)
)
async def forget(name: PictureId, service: ServiceOf) -> None:
    """For all who sent it; what is being asked about it is still answered."""
    service.store.get(name)
    service.store.remove(name)


@router.post(
    "/{id}/segment",
    summary="Find what phrases name or what looks like examples",
    response_model=SegmentAnswer,
    responses={
        200: {"content": _FORMS},
        **problems(400, 401, 404, 406, 408, 413, 415, 422, 429, 503),
    },
)
async def segment(
    name: PictureId,
    asked: AskSegment,
    request: Request,
    service: ServiceOf,
) -> Response:
    """Every object of each phrase, best first.

    `application/json`: run lengths as in COCO. `application/geo+json`: outlines along the edges of
    pixels, in pixels. `image/png`: each object's number in its pixels, or with `draw` the picture
    with what was found on it.
    """
    form = _form(request)
    with service.turns.place(Kind.PROMPT):
        work = service.segment(name, asked, form)
        content = await answered(request, work, service.limits.seconds)
    return _sent(content, form)


@router.post(
    "/{id}/click",
    summary="Segment the object that is clicked",
    response_model=ClickAnswer,
    responses={
        200: {"content": _FORMS},
        **problems(400, 401, 404, 406, 408, 413, 415, 422, 429, 503),
    },
)
async def click(
    name: PictureId,
    asked: AskClick,
    request: Request,
    service: ServiceOf,
) -> Response:
    """The masks that the clicks could mean; they pass ahead of all other requests.

    `application/json`: run lengths as in COCO. `application/geo+json`: outlines along the edges of
    pixels, in pixels. `image/png`: the best mask, or with `draw` the picture with it.
    """
    form = _form(request)
    with service.turns.place(Kind.CLICK):
        work = service.click(name, asked, form)
        content = await answered(request, work, service.limits.seconds)
    return _sent(content, form)


def _form(request: Request) -> Form:
    """Which form masks are sent in."""
    # Lines of one name are one list, RFC 9110, 5.3.
    return chosen_form(", ".join(request.headers.getlist("accept")))


def _about(stored: Stored) -> PictureAnswer:
    height, width = stored.encoded.size
    return PictureAnswer(id=stored.name, width=width, height=height, bytes=stored.bytes)


def _sent(content: bytes, form: Form) -> Response:
    return Response(content, media_type=form.value, headers={"Vary": "Accept"})
