"""The chart of a benchmark: a panel for each part, a bar for each engine."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from sam3_tvm.bench.report import BenchReport, EngineResult, PartInfo, Timing
from sam3_tvm.bench.writing import OFF_MARK, duration, headline, percent, verdicts

__all__ = ["draw", "figure"]

_OURS, _BEST, _PEER = "#0b6e4f", "#8794a6", "#c3cad4"
_INK, _FAINT = "#1c2733", "#6b7683"


def draw(report: BenchReport, path: Path) -> None:
    """Write :func:`figure` as a PNG, 1920 pixels wide."""
    figure(report).savefig(path, dpi=150, format="png")


def figure(report: BenchReport) -> Any:
    """Times as bars, each with its error and its ratio to ours; the fastest of the others is
    darker, and one whose result is off is hatched.

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

    parts, engines = report.parts, _shown(report)
    # With names in front, what is said of each of ours takes more room.
    columns = min(len(parts), 3 if len(report.ours) == 1 else 2)
    rows = -(-len(parts) // columns)
    lines = max((len(_told(report, part)) for part in parts), default=0)
    above = 0.55 + 0.17 * lines  # inches: the title of a panel and what is said under it
    height = max(0.42 * len(engines) + 0.85 + above, 2.2) * rows + 1.5
    made = Figure(figsize=(12.8, max(7.2 if rows > 1 else 4.8, height)), facecolor="white")
    FigureCanvasAgg(made)
    grid = made.subplots(rows, columns, squeeze=False)
    for at, (axes, part) in enumerate(zip(grid.flat, parts, strict=False)):
        _panel(axes, report, part, named=at % columns == 0)
    for axes in grid.flat[len(parts) :]:
        axes.set_visible(False)
    inches = made.get_figheight()
    made.subplots_adjust(
        left=0.125,
        right=0.985,
        top=1 - (1.0 + above) / inches,
        bottom=0.75 / inches,
        wspace=0.06,
        hspace=(above + 0.35) / (0.42 * len(engines) + 0.5),
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
        textwrap.fill(headline(report), 140),
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


def _shown(report: BenchReport) -> list[EngineResult]:
    """The engines that ran, or should have."""
    timed = {t.engine for t in report.timings}
    return [e for e in report.engines if e.name in timed]


def _panel(ax: Any, report: BenchReport, part: PartInfo, named: bool) -> None:
    """One part; ``named`` writes the engines beside their bars, which the panels of a row share."""
    timings = {t.engine: t for t in report.timings if t.part == part.name}
    best = report.best_peer(part.name)
    rows = [(e, timings.get(e.name)) for e in _shown(report)]
    longest = max((max(t.seconds) for _, t in rows if t and t.seconds), default=1.0)
    for y, (engine, timing) in enumerate(rows):
        ours = engine.ours
        style = {"va": "center", "size": 9, "color": _INK if ours else _FAINT}
        if timing is None or not timing.seconds:
            ax.text(0.0, y, " not measured", **{**style, "style": "italic"})
            continue
        colour = _OURS if ours else _BEST if timing is best else _PEER
        hatch = {"hatch": "///", "edgecolor": "white", "linewidth": 0} if timing.off else {}
        ax.barh(y, timing.median, height=0.66, color=colour, zorder=2, **hatch)
        low, high = min(timing.seconds), max(timing.seconds)
        ax.plot([low, high], [y, y], color=_INK, linewidth=1.1, zorder=3)
        edge = high + 0.025 * longest
        weight = "bold" if ours else "normal"
        ax.text(edge, y, _label(report, timing), **{**style, "weight": weight})
    names = [_short(e.title) if named else "" for e, _ in rows]
    ax.set_yticks(range(len(rows)), names, size=10.5, color=_INK)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(0, 2.3 * longest)
    ax.set_xticks([])
    ax.tick_params(length=0)
    for side in ("top", "right", "bottom"):
        ax.spines[side].set_visible(False)
    ax.spines["left"].set_color(_FAINT)
    told = _told(report, part)
    ax.set_title(
        part.title, loc="left", size=11.5, weight="bold", color=_INK, pad=12 + 12 * len(told)
    )
    ahead = [one.times(one.exact) >= 1 for one in report.comparisons() if one.part is part]
    ax.annotate(
        "\n".join(told),
        (0, 1),
        (0, 8),
        xycoords="axes fraction",
        textcoords="offset points",
        size=7.5,
        color=_OURS if any(ahead) else _INK,
        va="bottom",
    )


def _told(report: BenchReport, part: PartInfo) -> list[str]:
    return [line for lines in verdicts(report, part) for line in lines]


def _short(title: str) -> str:
    return title if len(title) <= 18 else f"{title[:17]}…"


def _label(report: BenchReport, timing: Timing) -> str:
    words = [duration(timing.median), f"{report.ratio(timing):.2f}x"]
    if timing.engine == report.ours[0].name:
        words = [duration(timing.median), f"{percent(report.share(timing))} of peak"]
    mark = f" {OFF_MARK}" if timing.off else ""
    return ", ".join([*words, f"error {timing.error}{mark}"])


def _footer(report: BenchReport) -> str:
    versions: dict[str, str] = {}
    for engine in report.engines:
        versions |= engine.versions
    of = report.ours[0].title if len(report.ours) > 1 else "ours"
    shown = ", ".join(f"{k} {v}" for k, v in versions.items())
    rounds = f"{report.rounds} round" + ("s" if report.rounds != 1 else "")
    return (
        f"Median of {rounds}, line from min to max; x: times {of}; error: rms, relative to PyTorch "
        f"in float32; share of the peak of what it computes in, for PyTorch's graph. "
        f"{report.date[:10]}\n{shown}"
    )
