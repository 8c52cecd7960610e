"""What every format of a dataset is given, and what several of them need."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sam3_tvm.annotate.collect import Listed
from sam3_tvm.annotate.faults import PictureGone
from sam3_tvm.annotate.records import AnnotatedPicture
from sam3_tvm.errors import one_line

__all__ = ["Contents", "Format", "json_text", "place", "stems", "text_of"]

# File systems take 255 bytes; a suffix and a number need some.
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Contents:
    """A dataset's contents, from which every format is written in one way only.

    Attributes:
        folder: where the format will lie; it is written elsewhere, and then moved there.
        categories: their places are class numbers.
        read: gives the pictures and what was found in them, in their order; as often as asked.
        about: how the dataset was made, as plain data.
        copy: whether pictures that a format needs beside it are copied, rather than linked to.
    """

    folder: Path
    categories: tuple[str, ...]
    read: Callable[[], Iterator[tuple[Listed, AnnotatedPicture]]]
    about: dict[str, Any]
    copy: bool = False


def _is_there() -> None:
    """Nothing that the base installation lacks is needed."""


@dataclass(frozen=True)
class Format:
    """A format that a dataset can have.

    Attributes:
        name: what it is asked for by, and its folder in the dataset.
        write: writes it to an empty folder.
        check: raises a MissingExtraError where a package is missing.
    """

    name: str
    write: Callable[[Path, Contents], None]
    check: Callable[[], None] = _is_there


def json_text(data: Any) -> str:
    """JSON in one line. What isn't ASCII is escaped: a file's name may be no Unicode."""
    return json.dumps(data, allow_nan=False, separators=(",", ":"))


def text_of(name: str) -> str:
    """A name as text that any encoding and XML can hold."""
    return one_line(name)


def stems(pictures: Iterable[Listed], flat: bool, suffix: str = "") -> Iterator[str]:
    """A path for each picture without its suffix, unlike the others' on any file system.

    Names that are too long for a suffix and a number are cut.

    Args:
        pictures: in their order.
        flat: whether folders become part of the name, rather than folders.
        suffix: of the files that get these names; none of them is called like a folder.
    """
    paths = [_parts(picture.name, flat) for picture in pictures]
    taken = {
        "/".join(parts[:count]).casefold() for parts in paths for count in range(1, len(parts))
    }
    last: dict[str, int] = {}
    for parts in paths:
        wanted = "/".join(parts)
        # Many may be cut to the same: each goes on from where the one before it stopped.
        number = last.get(wanted, 1)
        made = wanted if number == 1 else f"{wanted}-{number}"
        while f"{made}{suffix}".casefold() in taken:
            number += 1
            made = f"{wanted}-{number}"
        last[wanted] = number
        taken.add(f"{made}{suffix}".casefold())
        yield made


def _parts(name: str, flat: bool) -> tuple[str, ...]:
    path = PurePosixPath(name)
    parts = [*path.parts[:-1], path.stem if path.suffix else path.name]
    if flat:
        # The file's own name tells more than its folders'.
        return (_cut("__".join(parts)[::-1])[::-1],)
    return tuple(map(_cut, parts))


def _cut(part: str) -> str:
    # In the bytes that the file system counts; a name may be none of UTF-8.
    while len(os.fsencode(part)) > _LONGEST_NAME:
        part = part[:-1]
    return part


def place(source: Path, target: Path, copy: bool) -> None:
    """Lay a picture into a dataset.

    Raises:
        PictureGone: it cannot be read any more.
        OSError: it cannot be linked to or copied.
    """
    if not copy:
        os.symlink(os.path.abspath(source), target)
        return
    try:
        opened = source.open("rb")
    except OSError as error:
        raise PictureGone(f"{source}: cannot be copied ({error.strerror or error})") from error
    with opened as taken, target.open("wb") as made:
        shutil.copyfileobj(taken, made)
