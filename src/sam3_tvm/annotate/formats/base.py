"""What every format of a dataset is given, and what several of them need."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sam3_tvm.annotate.collect import Listed
from sam3_tvm.annotate.records import AnnotatedPicture
from sam3_tvm.errors import one_line

__all__ = ["Contents", "Format", "json_text", "place", "stems", "text_of"]


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


def stems(pictures: Iterable[Listed], flat: bool) -> Iterator[str]:
    """A path for each picture without its suffix, unlike the others' on any file system.

    Args:
        pictures: in their order.
        flat: whether folders become part of the name, rather than folders.
    """
    taken: set[str] = set()
    for picture in pictures:
        path = PurePosixPath(picture.name)
        stem = path.stem if path.suffix else path.name
        parts = [*path.parts[:-1], stem]
        wanted = ("__" if flat else "/").join(parts)
        made, number = wanted, 2
        while made.casefold() in taken:
            made, number = f"{wanted}-{number}", number + 1
        taken.add(made.casefold())
        yield made


def place(source: Path, target: Path, copy: bool) -> None:
    """Lay a picture into a dataset.

    Raises:
        OSError: it cannot be linked to or copied.
    """
    if not copy:
        os.symlink(os.path.abspath(source), target)
        return
    with source.open("rb") as taken, target.open("wb") as made:
        while block := taken.read(1 << 20):
            made.write(block)
