"""What must be the same for an interrupted run to be gone on with, and what differs if it isn't."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sam3_tvm.errors import UsageError
from sam3_tvm.files import real_path
from sam3_tvm.film.passage import Passage, ShownPrompt
from sam3_tvm.runtime.pictures.arguments import brief
from sam3_tvm.runtime.pictures.image import pictures_in

__all__ = ["differences", "settings"]

_DIRECTIONS = {(True, False): "backward", (True, True): "both ways"}


def settings(
    artifact: str, video: Path, passage: Passage, paths: Sequence[Path], fps: float | None
) -> dict[str, Any]:
    """What must be the same for a run to be gone on with, as plain data.

    Args:
        artifact: the model's fingerprint.
        video: the film's file or folder.
        passage: what is passed.
        paths: of the outputs.
        fps: of the video that is written, where it isn't to be the film's.

    Raises:
        UsageError: the film or a mask is gone or may not be looked at.
    """
    return {
        "artifact": artifact,
        "film": _known_by(video),
        "shown": [_described(one) for one in passage.shown],
        "phrases": list(passage.phrases),
        "live": passage.live,
        "direction": _DIRECTIONS.get((passage.backward, passage.forward), "forward"),
        "first": passage.first,
        "frames": passage.most,
        "outputs": [f"{real_path(path)}" for path in paths],
        "fps": fps,
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two runs' :func:`settings`, in words, and what it was before."""
    found = []
    if before["artifact"] != now["artifact"]:
        found.append("the artifact, which is another or compiled anew")
    if before["film"] != now["film"]:
        found.append(f"the film ({_changed(before['film'], now['film'])})")
    found += _shown_otherwise(before["shown"], now["shown"])
    if before["phrases"] != now["phrases"]:
        found.append(f"the phrases ({', '.join(map(brief, before['phrases'])) or 'none'} then)")
    if before["live"] != now["live"]:
        found.append(f"when results come ({'at once' if before['live'] else 'late'} then)")
    if before["direction"] != now["direction"]:
        found.append(f"the direction ({before['direction']} then)")
    if before["first"] != now["first"]:
        found.append(f"the first frame ({before['first']} then)")
    if before["outputs"] != now["outputs"]:
        found.append(f"the outputs ({', '.join(before['outputs'])} then)")
    for name, words in (("frames", "the number of frames"), ("fps", "the frames per second")):
        if before[name] != now[name]:
            was = "not given" if before[name] is None else f"{before[name]:g}"
            found.append(f"{words} ({was} then)")
    return found


def _known_by(path: Path) -> list[str | int]:
    """What tells whether a file, or a folder's pictures, are still those that they were.

    Returns:
        The path; for a file its size and time of change, in nanoseconds; for a folder how many
        pictures it holds, and a digest of their names, sizes and times. A folder's own time says
        nothing of a picture that is written anew in its place.
    """
    try:
        if not path.is_dir():
            about = path.stat()
            return [f"{real_path(path)}", about.st_size, about.st_mtime_ns]
        digest = hashlib.sha256()
        pictures = sorted(pictures_in(path))
        for picture in pictures:
            about = picture.stat()
            digest.update(f"{picture.name!a} {about.st_size} {about.st_mtime_ns}\n".encode())
        return [f"{real_path(path)}", len(pictures), digest.hexdigest()]
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error


def _described(shown: ShownPrompt) -> dict[str, Any]:
    mask = None if shown.mask is None else _known_by(shown.mask)
    return {**shown.described(), "mask": mask}


def _changed(before: Sequence[Any], now: Sequence[Any]) -> str:
    """How what :func:`_known_by` gives of two runs differs."""
    if before[0] != now[0]:
        return f"{before[0]} then"
    if not isinstance(now[2], str):
        return f"{Path(now[0]).name} has changed since"
    if before[1] != now[1]:
        return f"{before[1]} pictures then"
    return "its pictures have changed since"


def _shown_otherwise(
    before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What differs in the prompts."""
    then, these = (
        {(one["frame"], one["object_id"]): one for one in all_shown} for all_shown in (before, now)
    )
    differing = [key for key in sorted({*then, *these}) if then.get(key) != these.get(key)]
    if not differing:
        return []
    frame, name = differing[0]
    old, new = then.get(differing[0]), these.get(differing[0])
    what = f"what is shown of object {name} on frame {frame}"
    if old is None or new is None:
        what += f" (nothing {'then' if old is None else 'now'})"
    elif old["mask"] != new["mask"] and old["mask"] and new["mask"]:
        what += f" (the mask: {_changed(old['mask'], new['mask'])})"
    if len(differing) > 1:
        what += f" and {len(differing) - 1} more"
    return [what]
