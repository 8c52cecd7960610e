"""Files and folders that are written: refused before the work, written whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sam3_tvm.errors import UsageError
from sam3_tvm.unfinished import in_the_making

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "OutputFile",
    "OutputFolder",
    "PlaceError",
    "output_folder",
    "real_path",
    "unwritable",
    "write_whole",
]

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


def real_path(path: Path) -> Path:
    """Where a path leads to. Of links in a circle no more than that they are there is known.

    :meth:`Path.resolve` raises a RuntimeError for those before Python 3.13.
    """
    return Path(os.path.realpath(path))


def write_whole(path: Path, save: Callable[[Path], object], named: Path | None = None) -> None:
    """Let ``save`` write under a temporary name beside the file, then rename.

    Args:
        path: the file.
        save: writes to the path that it is given.
        named: how the file is called in messages, where that isn't its path.

    Raises:
        UsageError: the disk is full, or the folder has become unwritable.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with in_the_making(partial):
            save(partial)
            partial.replace(path)
    except OSError as error:
        raise unwritable(named or path, error) from error
    finally:
        with suppress(OSError):  # a disk that has become read-only says so even of nothing
            partial.unlink(missing_ok=True)


def _pour(path: Path, save: Callable[[Path], object]) -> None:
    """Hand what ``save`` writes to a device or a pipe, which can't be put in another's place."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / path.name
            save(whole)
            with whole.open("rb") as made, path.open("wb") as stream:
                shutil.copyfileobj(made, stream)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> UsageError:
    """The error of a file that could not be written (further)."""
    return UsageError(f"{path}: cannot be written ({error.strerror or error})")


class OutputFile:
    """A file to be written when the work is done.

    Args:
        path: where it goes. A file that is there is replaced; a link stays, and what it leads to
            is replaced; a device or a pipe gets what is written.
        option: the option that named it, for messages; None where there is none.

    Raises:
        PlaceError: its folder does not exist or may not be written to.
        UsageError: it is a folder itself.
    """

    def __init__(self, path: Path, option: str | None = None) -> None:
        self.path = path
        self._is_stream = os.path.exists(path) and not os.path.isfile(path)
        self._place = real_path(path)
        folder = self._place.parent
        if os.path.isdir(path):
            raise UsageError(f"{path}: is a folder; {option or 'this'} takes a file")
        if self._is_stream:
            if not os.access(path, os.W_OK):
                raise PlaceError(f"{path}: may not be written to; choose another", option)
            return
        if not os.path.isdir(folder):
            link = f" (a link to {self._place})" if path.is_symlink() else ""
            raise PlaceError(
                f"{path}{link}: its folder does not exist; make it, or choose another", option
            )
        try:
            with suppress(FileNotFoundError):
                path.lstat()
        except OSError as error:  # such as a name that is too long
            raise PlaceError(
                f"{path}: cannot be written ({error.strerror}); choose another", option
            ) from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PlaceError(f"{path}: its folder may not be written to; choose another", option)

    def write(self, save: Callable[[Path], object]) -> None:
        """Write what ``save`` writes to the path that it is given, whole or not at all.

        Raises:
            UsageError: as :func:`write_whole`.
        """
        if self._is_stream:
            _pour(self.path, save)
        else:
            write_whole(self._place, save, self.path)

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

    Attributes:
        given: the names that were given, in that order.

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
        folder = real_path(path)
        # Those of links, too. Compared without case: some file systems don't tell names apart
        # that differ in it.
        places = [real_path(q.parent) / q.name for q in inputs] + [real_path(q) for q in inputs]
        self.given: list[str] = []
        self._taken = {place.name.casefold() for place in places if place.parent == folder}
        # What can't have numbered names: ``photo`` where an input is ``photo-1.png``.
        numbered = (re.fullmatch(r"(.+)-[0-9]+\.png", name, re.DOTALL) for name in self._taken)
        self._unnumbered = {found[1] for found in numbered if found}

    def name(self, picture: Path, text: str | None = None, numbered: bool = False) -> Path:
        """A path for what was drawn on ``picture``, for one of several phrases if ``text``.

        Args:
            picture: whose stem the name has.
            text: a phrase.
            numbered: whether the path's stem is to be followed by numbers, ``photo-1.png``; no
                input lies under such a name then.
        """
        stem = picture.stem or picture.name
        if text is not None:
            stem = f"{stem}-{_slug(text)}"
        # In the bytes that the file system counts; a name may be none of UTF-8.
        while len(os.fsencode(stem)) > _LONGEST_NAME:
            stem = stem[:-1]
        for candidate in _numbered(stem):
            name = candidate.casefold()
            if numbered and name.removesuffix(".png") in self._unnumbered:
                continue
            if name not in self._taken:
                self.take(candidate)
                return self.path / candidate
        raise AssertionError("numbers don't run out")

    def take(self, name: str) -> None:
        """Hold a name as given, as an earlier process gave it."""
        self._taken.add(name.casefold())
        self.given.append(name)

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
