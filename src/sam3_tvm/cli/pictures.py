"""Which pictures a command works on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sam3_tvm.errors import UsageError

__all__ = ["file_names", "find_pictures"]


def file_names(paths: Sequence[Path], pictures: Sequence[Path]) -> list[str]:
    """How documents call pictures: as they are called in the folder, if one folder was given, as
    COCO does; else by their paths, which tell those of several folders apart.

    Args:
        paths: as they were given.
        pictures: those that :func:`find_pictures` found for them.
    """
    if len(paths) == 1 and os.path.isdir(paths[0]):
        return [f"{picture.relative_to(paths[0])}" for picture in pictures]
    return [f"{picture}" for picture in pictures]


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """Files as given, and for a folder the pictures in it, sorted by name, without hidden files.

    A file that is given by name is kept whatever its suffix, and whether or not it exists:
    reading it says what is wrong with it. A picture that is named twice comes once.

    Raises:
        UsageError: a folder without pictures.
    """
    from sam3_tvm.runtime.pictures.image import pictures_in

    found: dict[Path, None] = {}
    for path in paths:
        if not os.path.isdir(path):
            found[path] = None
            continue
        try:
            inside = sorted(pictures_in(path))
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
        if not inside:
            raise UsageError(
                f"{path}: no pictures in this folder (its own folders are not searched)"
            )
        found.update(dict.fromkeys(inside))
    return list(found)
