"""Paths as they are typed on the command line."""

from __future__ import annotations

import re
from pathlib import Path

from sam3_tvm.errors import Sam3Error

__all__ = ["UrlError", "local_path"]


class UrlError(Sam3Error):
    """A URL where a file's path was asked for."""


def local_path(text: str) -> Path:
    """What is typed to name a file or a folder to read.

    A path has already lost one of a URL's slashes.

    Raises:
        UrlError: a URL.
    """
    if url := re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        raise UrlError(
            f"{text}: URLs ({url[0]}) are not fetched; download it and give the file's path"
        )
    return Path(text)
