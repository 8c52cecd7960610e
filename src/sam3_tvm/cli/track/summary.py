"""What ``track`` says at the end: where each object was seen, and what was written.

Of objects that phrases found those alone are there that were written on a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam3_tvm.cli.terminal import say, show, table
from sam3_tvm.errors import one_line

if TYPE_CHECKING:
    from sam3_tvm.film.passage import Passage
    from sam3_tvm.film.tally import Tally
    from sam3_tvm.runtime import Model
    from sam3_tvm.runtime.video.frames import Frames

__all__ = ["print_table", "summary"]


def print_table(
    tally: Tally, video: Path, film: Frames, paths: Sequence[Path], phrases: Sequence[str] = ()
) -> None:
    """Print where each object was seen, how many each phrase found, and what was written."""
    height, width = film.size
    right = ("frames", "first", "last", "score", "area")
    rows = table("object", *(["phrase"] if phrases else []), *right, right=("object", *right))
    for name, entry in tally.objects.items():
        seen = entry["frames"]
        of = [one_line(entry.get("phrase", ""))] if phrases else []
        if not seen:
            rows.add_row(name, *of, "0", "", "", "", "nowhere")
            continue
        area = entry["area"] / seen / (height * width)
        rows.add_row(
            name,
            *of,
            f"{seen}",
            f"{entry['first']}",
            f"{entry['last']}",
            f"{entry['score'] / seen:.3f}",
            f"{area:.1%}",
        )
    show(f"{video} ({width} x {height}), {tally}", rows)
    for phrase in phrases:
        count = tally.found(phrase)
        say(f"{one_line(phrase)}: {count or 'no'} object{'' if count == 1 else 's'}")
    for path in paths:
        say(f"wrote {path}")


def summary(
    tally: Tally,
    model: Model,
    film: Frames,
    passage: Passage,
    paths: Sequence[Path],
    complete: bool,
) -> dict[str, Any]:
    """The summary as plain data."""
    source = model.manifest.source
    height, width = film.size
    return {
        "info": {
            "description": f"SAM 3 ({source.checkpoint}) by sam3-tvm {model.manifest.sam3_tvm}",
            "artifact": model.fingerprint,
            "shown": [one.described() for one in passage.shown],
        },
        "video": {"file_name": film.name, "width": width, "height": height, "fps": film.fps},
        "complete": complete,
        "frames": tally.frames,
        "phrases": [
            {"phrase": phrase, "objects": tally.found(phrase)} for phrase in passage.phrases
        ],
        "objects": [
            {
                "id": int(name),
                "phrase": entry.get("phrase"),
                "frames": entry["frames"],
                "first": entry["first"],
                "last": entry["last"],
                "mean_score": entry["score"] / entry["frames"] if entry["frames"] else None,
                "mean_area": entry["area"] / entry["frames"] if entry["frames"] else None,
            }
            for name, entry in tally.objects.items()
        ],
        "outputs": [f"{path}" for path in paths],
    }
