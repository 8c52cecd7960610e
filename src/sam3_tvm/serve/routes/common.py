"""What routes share."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Path, Request

from sam3_tvm.serve.forms.answered import ProblemAnswer
from sam3_tvm.serve.service import Service

__all__ = ["PictureId", "ServiceOf", "VideoId", "problems"]

_SAYS = {
    400: "The body is no JSON, or no form.",
    401: "The token is missing, or another.",
    404: "No such id is kept (any more).",
    406: "No form of the answer is accepted, or it doesn't fit into that.",
    408: "The request came in too slowly.",
    413: "Too large.",
    415: "A Content-Encoding.",
    422: "What cannot be read or used; the line is the library's.",
    429: "As many requests as are taken are under way; Retry-After says when to try again.",
    501: "An extra that it takes isn't installed.",
    502: "Label Studio doesn't give a picture.",
    503: "The model is being loaded, or it took too long.",
    507: "There is no room on the server's disk.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of problems."""
    return {status: {"model": ProblemAnswer, "description": _SAYS[status]} for status in statuses}


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceOf = Annotated[Service, Depends(_service)]

PictureId = Annotated[
    str, Path(alias="id", pattern="^[0-9a-f]{64}$", description="As POST /v1/images gave it.")
]
VideoId = Annotated[
    str, Path(alias="id", pattern="^[0-9a-f]{32}$", description="As POST /v1/videos gave it.")
]
