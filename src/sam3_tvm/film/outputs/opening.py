"""Which outputs paths ask for, by their form; those that cannot be written are refused."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from sam3_tvm.files import real_path
from sam3_tvm.film.faults import Refused
from sam3_tvm.film.outputs.base import Output
from sam3_tvm.film.outputs.json_lines import JsonLines
from sam3_tvm.film.outputs.mask_folder import MaskFolder
from sam3_tvm.film.outputs.places import check_places
from sam3_tvm.film.outputs.sheet import ContactSheet
from sam3_tvm.film.outputs.video import SLOWEST_FPS, OverlayVideo

__all__ = ["open_outputs", "parse_output"]


def open_outputs(
    paths: Sequence[Path], video: Path, fps: float | None, resume: bool
) -> list[Output]:
    """The outputs, none of which may be the film or lie in it, in another, or in what is removed.

    Args:
        paths: as :func:`parse_output` takes them.
        video: the film.
        fps: of the video that is written, where it isn't to be the film's.
        resume: whether what is there is to be gone on with.

    Raises:
        UsageError: an output that cannot be written, or frames per second that no film has.
    """
    if fps is not None and not (math.isfinite(fps) and SLOWEST_FPS <= fps <= 1000):
        raise Refused("fps", f"{fps:g}: frames per second lie between {SLOWEST_FPS} and 1000")
    source = real_path(video)
    for path in paths:
        place = real_path(path)
        if place == source or (os.path.isdir(source) and place.parent == source):
            raise Refused(
                "output", f"{path}: would write over or into {video}; choose another place"
            )
    check_places(paths, [video], _is_folder)
    return [parse_output(path, fps, resume) for path in paths]


def parse_output(path: Path, fps: float | None = None, resume: bool = False) -> Output:
    """The output that a path asks for by its form.

    Args:
        path: ``NAME.mp4``, ``NAME.jsonl``, ``NAME.png`` or a folder.
        fps: of the video that is written, where it isn't to be the film's.
        resume: whether what is there is to be gone on with.

    Raises:
        UsageError: another suffix, a place that may not be written to, or a folder with masks
            of another run.
    """
    suffix = path.suffix.lower()
    try:
        if path.is_dir() or not suffix:
            return MaskFolder(path, resume)
        if suffix == ".mp4":
            return OverlayVideo(path, fps)
        if suffix == ".jsonl":
            return JsonLines(path)
        if suffix == ".png":
            return ContactSheet(path)
    except OSError as error:  # a name that is too long, or a folder that may not be looked into
        raise Refused("output", f"{path}: cannot be written ({error.strerror or error})") from error
    raise Refused(
        "output",
        f"{path}: not a form that is written; give NAME.mp4 for a video, NAME.jsonl for "
        "run-length encoded masks, NAME.png for a contact sheet, or a folder for masks as PNG",
    )


def _is_folder(path: Path) -> bool:
    """Whether :func:`parse_output` makes a folder of a path; one that is too long is told there."""
    return os.path.isdir(path) or not path.suffix
