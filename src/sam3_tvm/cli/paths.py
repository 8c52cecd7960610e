"""Paths as they are typed on the command line."""

from __future__ import annotations

import re
from pathlib import Path

from sam3_tvm.errors import Sam3Error

__all__ = ["EmptyPathError", "UrlError", "local_path", "named_path"]


class UrlError(Sam3Error):
    """A URL where a file's path was asked for."""


class EmptyPathError(Sam3Error):
    """Nothing where a path was asked for, as a variable that isn't set gives it to a shell."""


def named_path(text: str) -> Path:
    """What is typed to name a file or a folder.

    Raises:
        EmptyPathError: nothing, which would be the working directory.
    """
    if not text:
        raise EmptyPathError("a path is empty: name a file or a folder (. is the one at work in)")
    return Path(text)


def local_path(text: str) -> Path:
    """What is typed to name a file or a folder to read.

    A path has already lost one of a URL's slashes.

    Raises:
        EmptyPathError: nothing.
        UrlError: a URL.
    """
    if url := re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        raise UrlError(
            f"{text}: URLs ({url[0]}) are not fetched; download it and give the file's path"
        )
    return named_path(text)
