"""Datasets that are made, and looked at byte by byte."""

from __future__ import annotations

import os
from pathlib import Path

from sam3_tvm.annotate import Dataset, chosen_formats


def make(folder, find, pictures, formats=("coco",), sheet=5):
    with Dataset(folder, find, pictures) as dataset:
        found = list(dataset.run())
        dataset.write(chosen_formats(formats), sheet=sheet)
    return found


def everything(folder: Path) -> dict[str, bytes]:
    """Every file's bytes, and where links lead."""
    return {
        path.relative_to(folder).as_posix(): (
            os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
        )
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }
