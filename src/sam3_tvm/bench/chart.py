"""The chart of a benchmark: a panel for each part, a bar for each engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sam3_tvm.bench.engines import OURS
from sam3_tvm.bench.report import BenchReport, PartInfo, Timing, duration, headline, verdict

__all__ = ["draw", "figure"]

_OURS, _BEST, _PEER = "#0b6e4f", "#8794a6", "#c3cad4"
_INK, _FAINT = "#1c2733", "#6b7683"


def draw(report: BenchReport, path: Path) -> None:
    """Write :func:`figure` as a PNG, 1920 pixels wide."""
    figure(report).savefig(path, dpi=150, format="png")


def figure(report: BenchReport) -> Any:
    """Times as bars, each with its ratio to ours; the fastest of the others is darker.

    Parts take from milliseconds to minutes, so each has a panel and a scale of its own; within
    a panel lengths compare.

    Args:
        report: with at least one part.

    Returns:
        A ``matplotlib.figure.Figure``, 12.8 inches wide, which no window shows.
    """
    # The object interface: no window system, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    parts, engines = report.parts, report.engines
    columns = min(len(parts), 3)
    rows = -(-len(parts) // columns)
    height = max(0.42 * len(engines) + 1.4, 2.2) * rows + 1.5
    made = Figure(figsize=(12.8, max(7.2 if rows > 1 else 4.8, height)), facecolor="white")
    FigureCanvasAgg(made)
    grid = made.subplots(rows, columns, squeeze=False)
    for at, (axes, part) in enumerate(zip(grid.flat, parts, strict=False)):
        _panel(axes, report, part, named=at % columns == 0)
    for axes in grid.flat[len(parts) :]:
        axes.set_visible(False)
    inches = made.get_figheight()
    made.subplots_adjust(
        left=0.115,
        right=0.985,
        top=1 - 1.75 / inches,
        bottom=0.75 / inches,
        wspace=0.06,
        hspace=0.6,
    )
    kind = "quick model" if report.quick else report.checkpoint
    made.text(
        0.012,
        1 - 0.2 / inches,
        f"SAM 3 on a CPU: time, less is better ({kind})",
        size=17,
        weight="bold",
        color=_INK,
        va="top",
    )
    made.text(
        0.012,
        1 - 0.63 / inches,
        headline(report),
        size=10.5,
        color=_FAINT,
        va="top",
    )
    made.text(
        0.012,
        0.16 / inches,
        _footer(report),
        size=8.5,
        color=_FAINT,
        va="bottom",
    )
    return made


def _panel(ax: Any, report: BenchReport, part: PartInfo, named: bool) -> None:
    """One part; ``named`` writes the engines beside their bars, which the panels of a row share."""
    timings = {t.engine: t for t in report.timings if t.part == part.name}
    best = report.best_peer(part.name)
    rows = [(e, timings.get(e.name)) for e in report.engines]
    longest = max((max(t.seconds) for _, t in rows if t and t.seconds), default=1.0)
    for y, (engine, timing) in enumerate(rows):
        ours = engine.name == OURS
        style = {"va": "center", "size": 10, "color": _INK if ours else _FAINT}
        if timing is None or not timing.seconds:
            ax.text(0.0, y, " not measured", **{**style, "style": "italic"})
            continue
        colour = _OURS if ours else _BEST if timing is best else _PEER
        ax.barh(y, timing.median, height=0.66, color=colour, zorder=2)
        low, high = min(timing.seconds), max(timing.seconds)
        ax.plot([low, high], [y, y], color=_INK, linewidth=1.1, zorder=3)
        edge = high + 0.025 * longest
        weight = "bold" if ours else "normal"
        ax.text(edge, y, _label(report, timing, ours), **{**style, "weight": weight})
    names = [e.title if named else "" for e, _ in rows]
    ax.set_yticks(range(len(rows)), names, size=10.5, color=_INK)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(0, 1.85 * longest)
    ax.set_xticks([])
    ax.tick_params(length=0)
    for side in ("top", "right", "bottom"):
        ax.spines[side].set_visible(False)
    ax.spines["left"].set_color(_FAINT)
    ax.set_title(part.title, loc="left", size=11.5, weight="bold", color=_INK, pad=25)
    ahead = best is not None and best.seconds and report.ratio(best) >= 1
    ax.annotate(
        verdict(report, part),
        (0, 1),
        (0, 9),
        xycoords="axes fraction",
        textcoords="offset points",
        size=9.5,
        color=_OURS if ahead else _INK,
        va="bottom",
    )


def _label(report: BenchReport, timing: Timing, ours: bool) -> str:
    time = duration(timing.median)
    share = f"{report.rate(timing) / report.peak:.0%}"
    return f"{time}, {share} of peak" if ours else f"{time}, {share}, {report.ratio(timing):.2f}x"


def _footer(report: BenchReport) -> str:
    versions: dict[str, str] = {}
    for engine in report.engines:
        versions |= engine.versions
    shown = ", ".join(f"{k} {v}" for k, v in versions.items())
    rounds = f"{report.rounds} round" + ("s" if report.rounds != 1 else "")
    return (
        f"Median of {rounds}, line from min to max; share of the FMA peak, for the arithmetic of "
        f"PyTorch's graph; times ours. {report.date[:10]}\n{shown}"
    )
