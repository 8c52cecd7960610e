"""Which pictures a collection has, in which order, and how a dataset calls them."""

from __future__ import annotations

import glob
import os
import reprlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from sam3_tvm.annotate.faults import Refused
from sam3_tvm.errors import one_line
from sam3_tvm.files import real_path
from sam3_tvm.json_file import read_json, read_regular
from sam3_tvm.runtime.pictures.image import picture_suffixes, pictures_in

__all__ = ["JOURNAL", "IdWarning", "Listed", "collect"]

JOURNAL = "journal.jsonl"
"""The file by which a folder is known as a dataset that was made here."""

# As every journal begins.
_BEGINS = b'{"form":'


class IdWarning(UserWarning):
    """Ids of a COCO image list are not kept."""


@dataclass(frozen=True)
class Listed:
    """A picture of a collection.

    Attributes:
        path: where it lies.
        name: its path in the collection, with ``/`` between folders.
        coco_id: the number that a COCO image list gives it.
        coco_size: the height and width that such a list gives it, in pixels.
    """

    path: Path
    name: str
    coco_id: int | None = None
    coco_size: tuple[int, int] | None = None


def collect(sources: Sequence[str | os.PathLike[str]], images: Path | None = None) -> list[Listed]:
    """The pictures that are meant, each once.

    A source is a picture's file, of whatever suffix. It may not be there if it is named like a
    picture: reading it says what is wrong. It is a folder: the pictures in it and in its folders,
    by name, without hidden ones and without datasets that were made here. It is a pattern such as
    ``shots/**/*.jpg``, with ``*``, ``?`` and ``[...]``; ``NAME.txt``, with a path on each line,
    seen from that file's folder; or ``NAME.json`` in COCO's layout, whose ``images`` have a
    ``file_name`` each.

    Args:
        sources: in the order in which they are to be worked through.
        images: the folder from which a COCO image list's names are seen; by default the list's.

    Returns:
        The pictures. Their names are seen from the folder that is the one source, or from the
        deepest that holds all of them. A picture that is reached in two ways comes once.

    Raises:
        Refused: no such folder; a folder, a pattern or a list without pictures; a list that cannot
            be read, or whose ids don't tell its pictures apart; a path that can be none;
            ``images`` without a COCO image list.

    Warns:
        IdWarning: ids of a list that are not kept.
    """
    given = [_checked(source) for source in sources]
    if images is not None and not any(map(_is_coco, given)):
        raise Refused(
            "images",
            f"{images}: is where a COCO image list's names are seen from; give such a list",
        )
    found: dict[Path, _Found] = {}
    roots = []
    for source in given:
        root, pictures = _expanded(source, images)
        roots.append(root)
        for one in pictures:
            before = found.setdefault(real_path(one.path), one)
            if None not in (one.number, before.number) and one.number != before.number:
                _warn(
                    f"{one.path}: is listed as {before.path}, too; its id {one.number} is dropped"
                )
    if not found:
        raise Refused("pictures", "no pictures: give files, folders, patterns or lists of them")
    paths = [Path(os.path.abspath(one.path)) for one in found.values()]
    root = _root(roots, paths)
    numbers = [one.number for one in found.values()]
    if None in numbers or len({*numbers}) < len(numbers):
        if any(number is not None for number in numbers):
            _warn("ids of a COCO image list don't tell all pictures apart: none are kept")
        numbers = [None] * len(numbers)
    return [
        Listed(path, path.relative_to(root).as_posix(), number, one.size)
        for path, number, one in zip(paths, numbers, found.values(), strict=True)
    ]


def _checked(source: Any) -> str:
    try:
        text = os.fsdecode(source)
    except TypeError as error:
        raise Refused(
            "pictures", f"{source!r}: is no path; give files, folders or lists"
        ) from error
    if fault := _fault_of(text):
        raise Refused("pictures", f"{text!r}: {fault}")
    return text


def _fault_of(path: str) -> str | None:
    """Why no file can have this path."""
    if not path:
        return "is empty; give a path"
    if "\0" in path:
        return "no path holds a NUL character"
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return "no path holds half a character"
    return None


def _is_coco(source: str) -> bool:
    return source.lower().endswith(".json") and not os.path.isdir(source)


def _warn(text: str) -> None:
    warnings.warn(one_line(text), IdWarning, stacklevel=3)


class _Found(NamedTuple):
    """A picture, and what a COCO image list says of it: its number, and its height and width."""

    path: Path
    number: int | None = None
    size: tuple[int, int] | None = None


def _expanded(source: str, images: Path | None) -> tuple[Path | None, Iterable[_Found]]:
    """A source's pictures, and the folder from which it sees them, if it has one."""
    path = Path(source)
    try:
        if os.path.isdir(path):
            return path, map(_Found, _in_folder(path))
        if not os.path.lexists(path) and glob.has_magic(source):
            return None, map(_Found, _matching(source))
        if path.suffix.lower() == ".txt":
            return path.parent, [_Found(one) for one in _in_list(path)]
        if path.suffix.lower() == ".json":
            folder = images if images is not None else path.parent
            return folder, list(_in_coco(path, folder))
    except OSError as error:
        raise Refused("pictures", f"{path}: cannot be read ({error.strerror or error})") from error
    if not os.path.lexists(path) and path.suffix.lower() not in picture_suffixes():
        raise Refused(
            "pictures",
            f"{path}: no such file or folder; give pictures, folders, patterns or lists of them",
        )
    return None, [_Found(path)]


def _in_folder(folder: Path) -> list[Path]:
    found = []
    for place, inner, _ in os.walk(folder, onerror=_raise):
        inner[:] = sorted(
            name
            for name in inner
            if not name.startswith(".") and not _is_dataset(Path(place) / name)
        )
        found += sorted(pictures_in(Path(place)))
    if not found:
        raise Refused("pictures", f"{folder}: no pictures in this folder, nor in its folders")
    # A folder's pictures before those of the folders in it, or after: as the names come.
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def _is_dataset(folder: Path) -> bool:
    """Whether a folder was made here: its pictures are drawings, and links to others."""
    try:
        with (folder / JOURNAL).open("rb") as file:
            return file.read(len(_BEGINS)) == _BEGINS
    except OSError:
        return False


def _raise(error: OSError) -> None:
    raise error


def _matching(pattern: str) -> list[Path]:
    suffixes = picture_suffixes()
    matching = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]
    found = [one for one in matching if one.suffix.lower() in suffixes and os.path.isfile(one)]
    # A dataset that the pattern names is meant; one that it comes across isn't.
    spelt = [*takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts)]
    reached = {folder for one in found for folder in one.parents if len(folder.parts) > len(spelt)}
    datasets = {folder for folder in reached if _is_dataset(folder)}
    found = [one for one in found if datasets.isdisjoint(one.parents)]
    if not found:
        raise Refused("pictures", f"{pattern}: no picture matches")
    return found


def _in_list(path: Path) -> Iterator[Path]:
    try:
        text = read_regular(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused("pictures", f"{path}: byte {error.start} is no UTF-8") from error
    names = [line for line in text.splitlines() if line.strip()]
    for name in names:
        if fault := _fault_of(name):
            raise Refused("pictures", f"{path}: names {name!r}: {fault}")
    if not names:
        raise Refused("pictures", f"{path}: names no pictures; it has a path on each line")
    return (path.parent / name for name in names)


def _in_coco(path: Path, folder: Path) -> Iterator[_Found]:
    try:
        document = read_json(path)
    except ValueError as error:
        raise Refused("pictures", f"{path}: is no JSON: {error}") from error
    entries = document.get("images") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise Refused("pictures", f"{path}: is no COCO image list: it has no list of images")
    seen: dict[int, str] = {}
    for place, entry in enumerate(entries, 1):
        name: Any = entry.get("file_name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name:
            raise Refused("pictures", f"{path}: image {place} of its list has no file_name")
        if fault := _fault_of(name):
            raise Refused("pictures", f"{path}: image {place} of its list, {name!r}: {fault}")
        number = entry.get("id")
        if number is not None and (type(number) is not int or number < 0):
            raise Refused(
                "pictures",
                f"{path}: image {place} of its list has the id {reprlib.repr(number)}; an id is a "
                "whole number from 0 on",
            )
        if number is not None and seen.setdefault(number, name) != name:
            raise Refused(
                "pictures", f"{path}: has the id {number} twice, of {seen[number]} and of {name}"
            )
        sides = entry.get("height"), entry.get("width")
        known = all(type(side) is int and side > 0 for side in sides)
        yield _Found(folder / name, number, sides if known else None)


def _root(roots: Sequence[Path | None], paths: Sequence[Path]) -> Path:
    """The folder from which names are seen."""
    if len(roots) == 1 and roots[0] is not None:
        root = Path(os.path.abspath(roots[0]))
        if all(root in path.parents for path in paths):
            return root
    return Path(os.path.commonpath([path.parent for path in paths]))
