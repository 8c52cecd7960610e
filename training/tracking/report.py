"""What the model card says of the tracker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.tracking.train import TrackerRun

__all__ = ["section"]


def section(run: TrackerRun, parameters: int, report: Mapping[str, Any] | None) -> str:
    """The model card's text on films.

    Args:
        run: what was trained.
        parameters: how many of them.
        report: what was measured; None for nothing yet.
    """
    measured = _figures(report) if report else "Not measured yet.\n"
    before = f" after {run.first:,} steps of earlier runs" if run.first else ""
    frames = max(stage.plan.frames for stage in run.stages)
    return f"""The tracker is SAM 3's, too (transformers' `Sam3TrackerVideoModel`, unmodified), with
{parameters:,} parameters of its own on the detector's frozen backbone. `python -m training tracker`
trained it on drawn clips of moving shapes, {run.step - run.first:,} steps in
{run.seconds / 60:.0f} minutes{before}, on two CPU cores that did other work, too: shapes that move,
turn, grow, cross, hide behind bars, leave and come back, up to {frames} frames at a time. Seed
{run.seed}. The weights are an exponential average over the steps.

```sh
sam3-tvm track out/shapes film.mp4 --text "red star" -o tracked.mp4
```

{measured}"""


def _figures(report: Mapping[str, Any]) -> str:
    rows = [
        f"| {name} | {one['objects']} | {one['object_frames']:,} | {one['j']:.3f} | "
        f"{one['j_by_frame']:.3f} | {one['found']:.3f} | {one['j_found']:.3f} | "
        f"{one['switches_per_object']:.3f} | {one['hota']:.3f} | {one['deta']:.3f} | "
        f"{one['assa']:.3f} |"
        for name, one in report["figures"].items()
    ]
    absent = report.get("absent")
    silent = (
        ""
        if not absent
        else f"\nOf {absent['phrases']} phrases for what is in none of a clip's frames, "
        f"{absent['silent']} found nothing on any frame.\n"
    )
    return (
        f"On {report['clips']} clips of {report['frames']} frames that were drawn from another "
        "seed, a tenth of the things of kinds that no training clip has, through the compiled "
        "model:\n\n"
        "| shown | objects | object-frames | J | J by frame | found | J where found | "
        "identity switches per object | HOTA | DetA | AssA |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n" + silent + "\n"
        "J is the mean IoU of masks over all frames on which a tenth of an object is visible or "
        "more, each object held to the one track that fits it best over the whole clip, 0 where "
        "there is none; by frame, to the one that fits best on each. Found are the frames on which "
        "its IoU is at least 0.5. HOTA is that of "
        f"{report['library']}. `python -m training clips` measured it; `training/README.md` says "
        "what was asked of it, what is missing, and why.\n"
    )
