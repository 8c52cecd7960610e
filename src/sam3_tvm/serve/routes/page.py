"""The page: files of this package, to be kept by browsers as long as they stay the same."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Header, Response

from sam3_tvm.serve.problems import Problem

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

# The page asks nobody else for anything. Pictures of a file that was picked are blobs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Kept, and asked for again each time: an upgraded server has another page.
    "Cache-Control": "no-cache",
}


class _File(NamedTuple):
    data: bytes
    kind: str
    tag: str


@cache
def _files() -> dict[str, _File]:
    """The page's files by name: nothing else is served, whatever a path says."""
    found = {}
    for entry in (resources.files("sam3_tvm.serve") / "page").iterdir():
        kind = _TYPES.get(f".{entry.name.rpartition('.')[2]}")
        if kind is not None:
            data = entry.read_bytes()
            found[entry.name] = _File(data, kind, f'"{hashlib.sha256(data).hexdigest()[:32]}"')
    return found


@router.get("/")
async def index(if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """The page itself."""
    return _sent("index.html", if_none_match)


@router.get("/page/{name}")
async def file(name: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """A style sheet or a script of the page's."""
    return _sent(name, if_none_match)


def _sent(name: str, known: str | None) -> Response:
    found = _files().get(name)
    if found is None:
        raise Problem(404, "the page has no such file")
    headers = {**_HEADERS, "ETag": found.tag}
    # A proxy that compresses makes a tag weak.
    tags = {tag.strip().removeprefix("W/") for tag in (known or "").split(",")}
    if found.tag in tags or "*" in tags:
        return Response(status_code=304, headers=headers)
    return Response(found.data, media_type=found.kind, headers=headers)
