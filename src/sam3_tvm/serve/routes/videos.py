"""Films: sent once, and followed frame by frame."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from sam3_tvm.serve.films import Film
from sam3_tvm.serve.following import Following
from sam3_tvm.serve.forms.answered import EXAMPLE_LINE, VideoAnswer
from sam3_tvm.serve.forms.asked import AskTrack
from sam3_tvm.serve.presence import answered
from sam3_tvm.serve.receiving import FILE_BODY, save_file
from sam3_tvm.serve.routes.common import ServiceOf, VideoId, problems
from sam3_tvm.serve.turns import Kind

__all__ = ["router"]

router = APIRouter(prefix="/v1/videos", tags=["films"])

LINES = "application/x-ndjson"

_CHUNK = 1 << 18


@router.post(
    "",
    status_code=201,
    summary="Send a film",
    openapi_extra=FILE_BODY,
    responses=problems(400, 401, 408, 413, 415, 422, 429, 501, 503, 507),
)
async def send(request: Request, response: Response, service: ServiceOf) -> VideoAnswer:
    """A video file as the body, or in a form as `file`; it is kept until it is deleted, the server
    ends, or another needs its room and it wasn't used for ten minutes."""
    films = service.films
    with films.room(), films.file() as path:
        await save_file(request, path)
        looked = asyncio.to_thread(films.look, path)
        film = await answered(request, looked, service.limits.seconds)
        films.add(film)
    response.headers["Location"] = f"/v1/videos/{film.name}"
    return _about(film)


@router.get("/{id}", summary="Whether a film is here", responses=problems(401, 404, 422))
async def look(name: VideoId, service: ServiceOf) -> VideoAnswer:
    """As it was when it was sent."""
    return _about(service.films.get(name))


@router.delete("/{id}", status_code=204, summary="Forget a film", responses=problems(401, 404, 422))
async def forget(name: VideoId, service: ServiceOf) -> None:
    """Who follows it now goes on."""
    service.films.get(name)
    service.films.remove(name)


@router.post(
    "/{id}/track",
    summary="Follow objects through a film",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "A line of JSON per frame, as each is done.",
            "content": {LINES: {"schema": {"type": "string"}, "example": EXAMPLE_LINE}},
        },
        **problems(400, 401, 404, 408, 413, 415, 422, 429, 503, 507),
    },
)
async def track(
    name: VideoId, asked: AskTrack, request: Request, service: ServiceOf
) -> StreamingResponse:
    """Lines are those of `sam3-tvm track -o NAME.jsonl`: `frame`, `time`, and `objects` with run
    lengths as in COCO. What goes wrong on the way is a last line with `error`, a problem as of RFC
    9457. It ends when the client goes; between frames, others' requests pass.
    """
    async with AsyncExitStack() as stack:
        film = stack.enter_context(service.films.held(name))
        stack.enter_context(service.turns.place(Kind.FRAME))
        following = service.follow(film, asked)
        stack.push_async_callback(following.stop)
        await answered(request, following.begin(), service.limits.seconds)
        return _Lines(following, stack.pop_all())


@router.get(
    "/{id}/frames/{index}",
    summary="A frame of a film",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, **problems(401, 404, 422, 429, 503)},
)
async def frame(
    name: VideoId,
    index: Annotated[int, Path(ge=0, le=1_000_000_000)],
    request: Request,
    service: ServiceOf,
) -> Response:
    """As a JPEG, counted from 0: what is shown to who clicks on it."""
    with service.films.held(name) as film, service.showing.place():
        made = await answered(request, service.show(film, index), service.limits.seconds)
    # The id is never another film's.
    headers = {"Cache-Control": "private, max-age=3600, immutable"}
    return Response(made, media_type="image/jpeg", headers=headers)


@router.post(
    "/{id}/draw",
    summary="A film with what was found drawn on it",
    response_class=Response,
    openapi_extra={
        "requestBody": {"required": True, "content": {LINES: {"example": EXAMPLE_LINE}}}
    },
    responses={
        200: {"content": {"video/mp4": {}}},
        **problems(401, 404, 408, 413, 415, 422, 429, 503, 507),
    },
)
async def draw(name: VideoId, request: Request, service: ServiceOf) -> StreamingResponse:
    """Lines that `track` gave, or those of them that somebody chose, as `sam3-tvm track -o
    NAME.mp4` draws them."""
    with service.films.held(name) as film, service.drawing.place():
        lines = (await request.body()).splitlines()
        file = await answered(request, service.draw(film, lines), service.limits.seconds)
    return StreamingResponse(
        _chunks(file),
        media_type="video/mp4",
        headers={"Content-Disposition": 'attachment; filename="film.mp4"'},
    )


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """A file's bytes; it is closed then, however that ends."""
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk


class _Lines(StreamingResponse):
    """Lines as they come; what is held for them is given back when they end, however they do."""

    media_type = LINES

    def __init__(self, following: Following, held: AsyncExitStack) -> None:
        super().__init__(following.lines())
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await super().__call__(scope, receive, send)


def _about(film: Film) -> VideoAnswer:
    height, width = film.size
    return VideoAnswer(id=film.name, width=width, height=height, frames=film.count, fps=film.fps)
