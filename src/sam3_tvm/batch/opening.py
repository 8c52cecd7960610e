"""Which outputs paths ask for, by their form; those that cannot be written are refused."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from sam3_tvm.batch.outputs import Lines, Masks, OneOverlay, Outlines, Output, Overlays, Sheet
from sam3_tvm.files import OutputFolder, real_path
from sam3_tvm.film.faults import Refused
from sam3_tvm.film.outputs import places

__all__ = ["Form", "check_places", "form_of", "make_output", "refuse_mixed_masks"]

Form = Literal["overlays", "masks", "lines", "picture", "outlines"]
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
        if suffix in (".geojson", ".gpkg"):
            return "outlines"
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
    for path in paths:
        if real_path(path) in inputs:
            raise Refused(
                "output", f"{path}: would write over a picture that is read; choose another"
            )
    # Of one picture there is no journal.
    places.check_places(paths, pictures, lambda path: form_of(path) in _FOLDERS, len(pictures) > 1)


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
    if form == "outlines":
        return Outlines(path)
    if form == "picture":
        alone = pictures * phrases == 1
        return OneOverlay(path) if alone else Sheet(path, pictures, phrases)
    assert folder is not None, "folders are made before"
    return Masks(folder, first) if form == "masks" else Overlays(folder)
