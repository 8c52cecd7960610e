"""What ``annotate`` says at the end: what was found and written, and what it couldn't look at."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sam3_tvm.cli.terminal import complain, say, say_json, show, table

if TYPE_CHECKING:
    from sam3_tvm.annotate import Dataset, Usage

__all__ = ["complain_of_faults", "print_summary", "warn_of_sizes"]

# More than anyone reads; summary.json has them all.
_FAILURES_SHOWN = 20


def print_summary(dataset: Dataset, paths: list[Path], usage: Usage | None, json: bool) -> None:
    """Print what was found and written, and in what time where there was anything to look at."""
    summary = dataset.summary()
    if json:
        run = None if usage is None else asdict(usage)
        say_json({**summary, "outputs": [f"{path}" for path in paths], "run": run})
        return
    rows = table("category", "objects", right=("objects",))
    for name, count in summary["objects"].items():
        rows.add_row(name, f"{count}")
    count, without = summary["pictures"], summary["without_objects"]
    show(f"{dataset.folder}: {count} pictures, {without} of them without objects", rows)
    for path in paths:
        say(f"wrote {path}")
    if usage is not None:  # beside what is the same for every run
        complain(
            f"looked at {usage.pictures} pictures in {usage.seconds:.1f} s, "
            f"{usage.pictures / usage.seconds:.2f} a second; the model computed "
            f"{usage.computing:.0%} of the time"
        )


def warn_of_sizes(dataset: Dataset) -> None:
    """Say which pictures aren't of the size that a COCO list has for them."""
    differing = [*dataset.other_sizes()]
    if differing:
        listed, (height, width) = differing[0]
        said = listed.coco_size or (0, 0)
        complain(
            f"warning: {len(differing)} of the pictures are of another size than their list says, "
            f"such as {listed.name}: {said[1]} x {said[0]} there, {width} x {height} in the file, "
            "upright; masks and boxes are of the file's"
        )


def complain_of_faults(dataset: Dataset) -> None:
    """Say what couldn't be written, and which pictures couldn't be looked at."""
    for reason in dataset.unwritten:
        complain(f"error: {reason}")
    if not dataset.failed:
        return
    for one in dataset.failed[:_FAILURES_SHOWN]:
        complain(f"error: {one.reason}")
    more = len(dataset.failed) - _FAILURES_SHOWN
    if more > 0:
        complain(f"... and {more} more, which summary.json names")
    complain(
        f"{len(dataset.failed)} of {len(dataset.pictures)} pictures could not be looked at; the "
        f"same command tries them again"
    )
