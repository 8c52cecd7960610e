"""Errors in one form: problem details as of RFC 9457, with the one line that the library says."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from sam3_tvm.errors import MissingExtraError, Sam3Error, one_line

__all__ = ["MEDIA_TYPE", "ClientLeft", "Problem", "answer", "as_problem", "handle_problems"]

MEDIA_TYPE = "application/problem+json"

# Names that Python's versions don't agree on.
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}


class ClientLeft(Exception):
    """Nobody is there to be answered."""


class Problem(HTTPException):
    """What is wrong with a request, or keeps the server from answering it.

    Args:
        status: of HTTP.
        detail: the line for whoever asked.
        retry_after: seconds after which it may well be answered.
        headers: more of the answer's.
        more: further members of the document.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        told = dict(headers or {})
        if retry_after is not None:
            told["Retry-After"] = f"{retry_after}"
        super().__init__(status, one_line(detail), told)
        self.more = dict(more or {})

    def document(self) -> dict[str, Any]:
        """The problem as plain data. It has no ``type`` of its own: the status is its kind."""
        title = _TITLES.get(self.status_code) or HTTPStatus(self.status_code).phrase
        about = {"type": "about:blank", "title": title, "status": self.status_code}
        return {**about, "detail": self.detail, **self.more}


def as_problem(error: Exception) -> Problem:
    """An error as a problem; of what is no error of a user nothing is told but that it is ours."""
    if isinstance(error, Problem):
        return error
    if _of_full_disk(error):
        return Problem(507, "there is no room on the server's disk for this now")
    if isinstance(error, MissingExtraError):
        return Problem(501, f"{error}")
    if isinstance(error, Sam3Error):
        return Problem(422, f"{error}")
    if isinstance(error, HTTPException):
        if isinstance(error.__cause__, (ValueError, RecursionError)):  # of FastAPI's reading JSON
            return Problem(
                400,
                "the body is no JSON (not UTF-8, nested too deeply, or a number of too many "
                "digits)",
            )
        return Problem(error.status_code, f"{error.detail}", headers=error.headers)
    if isinstance(error, MemoryError):
        return Problem(503, "not enough memory for this now", retry_after=10)
    return Problem(500, "a fault of the server, whose log says more")


def _of_full_disk(error: Exception) -> bool:
    """Whether no room on the disk is what is wrong; the library says so of a file, its cause."""
    cause = error.__cause__ if isinstance(error, Sam3Error) else error
    # FFmpeg's errors have a number, and aren't all an OSError.
    return getattr(cause, "errno", None) in (errno.ENOSPC, getattr(errno, "EDQUOT", None))


def answer(problem: Problem) -> Response:
    """A problem as what is sent."""
    # ASCII, whatever a request had in it.
    content = json.dumps(problem.document())
    return Response(content, problem.status_code, problem.headers, MEDIA_TYPE)


def handle_problems(app: FastAPI) -> None:
    """Let every error of an application be answered in this form."""

    async def told(_: Request, error: Exception) -> Response:
        if isinstance(error.__cause__, ClientDisconnect):  # while FastAPI read what it sent
            return await left(_, error)
        return answer(as_problem(error))

    async def system(_: Request, error: Exception) -> Response:
        if not _of_full_disk(error):
            raise error  # a fault of ours, which is logged as such
        return answer(as_problem(error))

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer(_invalid(error))

    async def left(_: Request, __: Exception) -> Response:
        # What nginx logs for it; nobody is there to read it.
        return Response(status_code=499)

    handlers = {
        ClientLeft: left,
        ClientDisconnect: left,
        RequestValidationError: invalid,
        OSError: system,
    }
    told_as_they_are = (HTTPException, Sam3Error, MemoryError, Exception)
    handlers |= dict.fromkeys(told_as_they_are, told)
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _invalid(error: RequestValidationError) -> Problem:
    """What doesn't fit a request's form, its first fault as the line."""
    faults = []
    for one in error.errors():
        kind, message = one["type"], f"{one['msg']}".removeprefix("Value error, ")
        if kind == "json_invalid":
            why = one.get("ctx", {}).get("error", message)
            return Problem(400, f"the body is no JSON ({why})")
        place = [f"{part}" for part in one["loc"]]
        where, inner = place[0], place[1:]
        if where == "body" and not inner and kind != "value_error":
            message = "the body is to be a JSON object, sent as Content-Type: application/json"
        pointer = "".join(f"/{p.replace('~', '~0').replace('/', '~1')}" for p in inner)
        name = ".".join(inner)
        faults.append(
            {
                "detail": one_line(f"{name}: {message}" if name else message),
                "pointer": one_line(f"#{pointer}"),
            }
        )
    return Problem(422, faults[0]["detail"], more={"errors": faults[:20]})
