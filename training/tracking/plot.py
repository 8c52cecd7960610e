"""A run's log as a figure."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["plot_log"]

_LOSSES = ("dice", "iou", "there")
_FIGURES = ("iou", "back", "there")


def plot_log(log: Path, figure: Path) -> None:
    """Draw the losses and the figures of validation over the steps.

    Args:
        log: what :func:`training.tracking.train.train_tracker` wrote.
        figure: a PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    steps = [line for line in lines if "loss" in line]
    validated = [line for line in lines if "validation" in line]
    drawn = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(drawn)
    above, below = drawn.subplots(2, 1, sharex=True)
    for name in _LOSSES:
        above.plot([line["step"] for line in steps], [line[name] for line in steps], label=name)
    for stage in dict.fromkeys(line["stage"] for line in steps):
        begin = next(line["step"] for line in steps if line["stage"] == stage)
        above.axvline(begin, color="0.8", zorder=0)
        above.annotate(stage, (begin, 1), xycoords=("data", "axes fraction"), va="bottom", size=8)
    above.set_ylabel("loss")
    for name in _FIGURES:
        places = [line["step"] for line in validated]
        below.plot(places, [line["validation"][name] for line in validated], "o-", label=name)
    below.set(xlabel="step", ylabel="validation", ylim=(0, 1))
    for axes in (above, below):
        axes.legend(loc="best")
    drawn.savefig(figure, dpi=120)
