"""Files that requests bring: as the body itself, or as the part ``file`` of a form."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import python_multipart  # noqa: F401 - by which Starlette reads forms: missed here, not there
from fastapi import Request
from starlette.datastructures import UploadFile

from sam3_tvm.serve.problems import Problem

__all__ = ["FILE_BODY", "read_file", "save_file"]

FILE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}
"""What OpenAPI says of such a request."""

_CHUNK = 1 << 20


async def read_file(request: Request) -> bytes:
    """The file's bytes.

    Raises:
        Problem: there is none, or a form that cannot be read.
        OSError: no room on the disk, where large parts of forms lie.
    """
    if not _is_form(request):
        return _not_empty(await request.body())
    async with request.form(max_files=1, max_fields=8) as form:
        return _not_empty(await _part(form.getlist("file")).read())


async def save_file(request: Request, path: Path) -> None:
    """Write the file to ``path`` as it comes.

    Raises:
        Problem: there is none, or a form that cannot be read.
        OSError: no room on the disk.
    """
    length = 0
    with path.open("wb") as file:
        if _is_form(request):
            async with request.form(max_files=1, max_fields=8) as form:
                part = _part(form.getlist("file"))
                while chunk := await part.read(_CHUNK):
                    length += await asyncio.to_thread(file.write, chunk)
        else:
            async for chunk in request.stream():
                length += await asyncio.to_thread(file.write, chunk)
    if not length:
        _not_empty(b"")


def _is_form(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "multipart/form-data"


def _part(parts: list[UploadFile | str]) -> UploadFile:
    if len(parts) != 1 or not isinstance(parts[0], UploadFile):
        raise Problem(422, "a form brings one file, in its part named file (curl -F file=@NAME)")
    return parts[0]


def _not_empty(data: bytes) -> bytes:
    if not data:
        raise Problem(
            422,
            "nothing was sent: give a file as the body (curl --data-binary @NAME), or in a form",
        )
    return data
