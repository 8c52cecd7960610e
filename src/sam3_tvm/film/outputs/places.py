"""Where a run's outputs may lie, and what is needed to go on with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sam3_tvm.files import PlaceError, real_path
from sam3_tvm.film.faults import Refused

__all__ = ["at_work", "check_places", "holds_something_else", "unfinished_work"]


def unfinished_work(beside: Path) -> Path:
    """The folder for what is needed to go on; gone when all is done.

    Args:
        beside: the first output's path.
    """
    named = beside if beside.name not in ("", "..") else real_path(beside)  # which are no names
    return named.with_name(f"{named.name}.resume")


def at_work(folder: Path) -> PlaceError:
    """The error of unfinished work that another process has locked."""
    return PlaceError(
        f"{folder}: another process is at work on it; wait for its end, or choose another name"
    )


def holds_something_else(folder: Path) -> PlaceError:
    """The error of a folder for unfinished work that was made by others."""
    return PlaceError(
        f"{folder}: is needed for unfinished work, and holds something else; move it away, or "
        "choose another name"
    )


def check_places(
    paths: Sequence[Path],
    inputs: Sequence[Path],
    is_folder: Callable[[Path], bool],
    can_go_on: bool = True,
) -> None:
    """Refuse outputs that would write over each other, or are removed at the end.

    Args:
        paths: of the outputs. In folders PNGs are written.
        inputs: what is read.
        is_folder: whether a path is written as a folder.
        can_go_on: whether there is a folder for unfinished work.

    Raises:
        Refused: such a path, one that is named twice, or an input that is removed at the end.
    """
    places = [real_path(path) for path in paths]
    for path, place in zip(paths, places, strict=True):
        if places.count(place) > 1:
            raise Refused("output", f"{path}: is named twice")
        if not place.name:
            raise Refused("output", f"{path}: is the root of the file system; name a folder in it")
    for path, place in zip(paths, places, strict=True):
        for other, folder in zip(paths, places, strict=True):
            if folder not in place.parents or not is_folder(other):
                continue
            # A folder in it is in the way of a picture alone.
            inner = place.relative_to(folder).parts[0]
            if not is_folder(path) or inner.casefold().endswith(".png"):
                raise Refused(
                    "output", f"{path}: lies in {other}, which is written, too; choose another"
                )
    if not can_go_on:
        return
    kept = unfinished_work(paths[0])
    real = real_path(kept)
    for path, place in zip(paths, places, strict=True):
        if real in (place, *place.parents):
            raise Refused(
                "output",
                f"{path}: {kept} is for unfinished work, and goes when all is done; choose "
                "another place",
            )
    for one in inputs:
        place = real_path(one)
        if real in (place, *place.parents):
            raise Refused(
                "output",
                f"{paths[0]}: {kept} is for unfinished work, and goes when all is done, and "
                f"{one} lies there; choose another place",
            )
