"""Which outputs paths ask for, by their form; those that cannot be written are refused."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from sam3_tvm.batch.journal import Journal
from sam3_tvm.batch.outputs import Lines, Masks, OneOverlay, Output, Overlays, Sheet
from sam3_tvm.files import OutputFolder, real_path
from sam3_tvm.film.faults import Refused

__all__ = ["Form", "check_places", "form_of", "make_output", "refuse_mixed_masks"]

Form = Literal["overlays", "masks", "lines", "picture"]
_FOLDERS = ("overlays", "masks")

# Forms that one could expect to be written, and that aren't; other suffixes are parts of names.
_OTHERS = (
    *(".json", ".npz", ".npy", ".csv", ".txt", ".zip", ".pdf", ".mp4"),
    *(".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
)


def form_of(path: Path) -> Form:
    """What a path asks for.

    A folder whose name ends in ``masks`` is for masks, any other for overlays.

    Raises:
        Refused: a suffix of a form that isn't written.
    """
    suffix = path.suffix.lower()
    if not os.path.isdir(path):
        if suffix == ".jsonl":
            return "lines"
        if suffix == ".png":
            return "picture"
        if suffix in _OTHERS:
            raise Refused(
                "output",
                f"{path}: not a form that is written; give NAME.jsonl for run-length encoded "
                "masks, NAME.png for one picture, a folder whose name ends in masks for masks as "
                "PNG, or another folder for overlays",
            )
    return "masks" if real_path(path).name.lower().endswith("masks") else "overlays"


def check_places(paths: Sequence[Path], pictures: Sequence[Path]) -> None:
    """Refuse outputs that would write over a picture or each other, or are removed at the end.

    Raises:
        Refused: such a path, or one that is named twice.
    """
    inputs = {real_path(picture) for picture in pictures}
    places = [real_path(path) for path in paths]
    for path, place in zip(paths, places, strict=True):
        if place in inputs:
            raise Refused(
                "output", f"{path}: would write over a picture that is read; choose another"
            )
        if places.count(place) > 1:
            raise Refused("output", f"{path}: is named twice")
        if not place.name:
            raise Refused("output", f"{path}: is the root of the file system; name a folder in it")
    for path, place in zip(paths, places, strict=True):
        for other, folder in zip(paths, places, strict=True):
            if folder in place.parents and _collide(form_of(path), place, form_of(other), folder):
                raise Refused(
                    "output", f"{path}: lies in {other}, which is written, too; choose another"
                )
    if len(pictures) > 1:  # of one there is no journal
        _check_journal(paths, places, pictures)


def _collide(form: Form, place: Path, outer: Form, folder: Path) -> bool:
    """Whether a place in a folder that is written could be a picture's there, too."""
    if outer not in _FOLDERS:
        return False
    # A folder in it is in the way of a picture alone.
    inner = place.relative_to(folder).parts[0]
    return form not in _FOLDERS or inner.casefold().endswith(".png")


def _check_journal(paths: Sequence[Path], places: Sequence[Path], pictures: Sequence[Path]) -> None:
    """Refuse what lies where the journal is, which goes when all is done."""
    path = Journal(paths[0]).path
    journal = real_path(path)
    for output, place in zip(paths, places, strict=True):
        if journal in (place, *place.parents):
            raise Refused(
                "output",
                f"{output}: {path} is for unfinished work, and goes when all is done; choose "
                "another place",
            )
    for picture in pictures:
        if journal in real_path(picture).parents or journal == real_path(picture):
            raise Refused(
                "output",
                f"{paths[0]}: {path} is for unfinished work, and goes when all is done, and "
                f"{picture} lies there; choose another place",
            )


def refuse_mixed_masks(
    folder: OutputFolder, pictures: Sequence[Path], texts: Sequence[str]
) -> None:
    """Refuse a folder that holds masks of these pictures from another run.

    Args:
        folder: the folder.
        pictures: whose masks are to be written there.
        texts: phrases.

    Raises:
        Refused: it does; with new ones they would get mixed up.
    """
    names = OutputFolder(folder.path, pictures)
    phrases = texts if len(texts) > 1 else [None]
    stems = {
        names.name(p, text, numbered=True).stem.casefold() for p in pictures for text in phrases
    }
    for path in folder.path.iterdir():
        found = re.fullmatch(r"(.+)-[0-9]+\.png", path.name.casefold(), re.DOTALL)
        if found and found[1] in stems:
            raise Refused(
                "output",
                f"{folder.path}: holds {path.name}, which would get mixed up with new masks; "
                "choose another folder",
            )


def make_output(
    form: Form,
    path: Path,
    folder: OutputFolder | None,
    pictures: int,
    phrases: int,
    first: int = 1,
) -> Output:
    """The output of a form.

    Args:
        form: as :func:`form_of` gives it.
        path: where it goes.
        folder: the folder of that path, for overlays and masks.
        pictures: how many there are.
        phrases: how many results each has.
        first: the number of a picture's first mask.

    Raises:
        UsageError: it cannot be written there.
    """
    if form == "lines":
        return Lines(path)
    if form == "picture":
        alone = pictures * phrases == 1
        return OneOverlay(path) if alone else Sheet(path, pictures, phrases)
    assert folder is not None, "folders are made before"
    return Masks(folder, first) if form == "masks" else Overlays(folder)
