"""Files and folders that are written: refused before the work, written whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sam3_tvm.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["OutputFile", "OutputFolder", "PlaceError", "output_folder", "write_whole"]

# File systems take 255 bytes; the suffix, a number and the temporary name need some.
_LONGEST_NAME = 200


class PlaceError(UsageError):
    """A place that cannot be written to; another is to be chosen.

    Args:
        text: ends in that.
        option: the option that named it, for messages; None where there is none.
    """

    def __init__(self, text: str, option: str | None = None) -> None:
        super().__init__(text if option is None else f"{text} with {option}")
        self.option = option


def write_whole(path: Path, save: Callable[[Path], object]) -> None:
    """Let ``save`` write under a temporary name beside the file, then rename.

    Raises:
        UsageError: the disk is full, or the folder has become unwritable.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        save(partial)
        partial.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):  # a disk that has become read-only says so even of nothing
            partial.unlink(missing_ok=True)


class OutputFile:
    """A file to be written when the work is done.

    Args:
        path: where it goes. What is there is replaced.
        option: the option that named it, for messages; None where there is none.

    Raises:
        PlaceError: its folder does not exist or may not be written to.
        UsageError: it is a folder itself.
    """

    def __init__(self, path: Path, option: str | None = None) -> None:
        self.path = path
        folder = path.absolute().parent
        if not folder.is_dir():
            raise PlaceError(
                f"{path}: its folder does not exist; make it, or choose another", option
            )
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; {option or 'this'} takes a file")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PlaceError(f"{path}: its folder may not be written to; choose another", option)

    def write(self, save: Callable[[Path], object]) -> None:
        """Write what ``save`` writes to the path that it is given, whole or not at all.

        Raises:
            UsageError: as :func:`write_whole`.
        """
        write_whole(self.path, save)

    def write_text(self, text: str) -> None:
        """Write text in UTF-8, whole or not at all.

        Raises:
            UsageError: as :meth:`write`.
        """
        self.write(lambda path: path.write_text(text, encoding="utf-8"))


class OutputFolder:
    """Hands out names in a folder and writes pictures there, each whole or not at all.

    A name is given once, and never one under which an input lies.

    Args:
        path: the folder; made where it does not exist.
        inputs: files that must not be overwritten.
        option: the option that named it, for messages; None where there is none.

    Raises:
        PlaceError: the folder cannot be made or written to.
    """

    def __init__(self, path: Path, inputs: Sequence[Path], option: str | None = None) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PlaceError(
                f"{path}: cannot be made a folder ({error.strerror}); choose another", option
            ) from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise PlaceError(f"{path}: may not be written to; choose another folder", option)
        folder = path.resolve()
        # Compared without case: some file systems don't tell names apart that differ in it.
        self._taken = {
            p.name.casefold() for p in (q.resolve() for q in inputs) if p.parent == folder
        }

    def name(self, picture: Path, text: str | None = None) -> Path:
        """A path for what was drawn on ``picture``, for one of several phrases if ``text``."""
        stem = picture.stem or picture.name
        if text is not None:
            stem = f"{stem}-{_slug(text)}"
        # In the bytes that the file system counts; a name may be none of UTF-8.
        while len(os.fsencode(stem)) > _LONGEST_NAME:
            stem = stem[:-1]
        for candidate in _numbered(stem):
            if candidate.casefold() not in self._taken:
                self._taken.add(candidate.casefold())
                return self.path / candidate
        raise AssertionError("numbers don't run out")

    def write(self, image: Image, path: Path) -> None:
        """Save as PNG, whole or not at all.

        Raises:
            UsageError: as :func:`write_whole`.
        """
        write_whole(path, lambda partial: image.save(partial, format="PNG"))


@contextmanager
def output_folder(
    path: Path | None, inputs: Sequence[Path], option: str | None = None
) -> Iterator[OutputFolder | None]:
    """A folder to write to, made before the work begins; one that stays empty goes again.

    Args:
        path: the folder; None where nothing is to be written.
        inputs: files that must not be overwritten.
        option: the option that named it, for messages; None where there is none.

    Raises:
        PlaceError: the folder cannot be made or written to.
    """
    if path is None:
        yield None
        return
    made = [folder for folder in (path, *path.parents) if not os.path.exists(folder)]
    try:
        yield OutputFolder(path, inputs, option)
    finally:
        for folder in made:
            # Not empty is how it should be.
            with suppress(OSError):
                folder.rmdir()


def _slug(text: str) -> str:
    """A phrase as part of a file name: words in any script, joined by hyphens."""
    return "-".join(re.findall(r"\w+", text.lower()))[:40] or "prompt"


def _numbered(stem: str) -> Iterator[str]:
    yield f"{stem}.png"
    number = 2
    while True:
        yield f"{stem}-{number}.png"
        number += 1
