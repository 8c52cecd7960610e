"""The plot of a sensitivity report: a panel for each function, a line for each kind of layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sam3_tvm.sensitivity.report import SensitivityReport, SensitivityRow

__all__ = ["draw", "figure", "place_of"]

_COLOURS = (
    "#0b6e4f",
    "#c2571a",
    "#3b6fb5",
    "#9a3d8f",
    "#b08900",
    "#4a4e57",
    "#d0455f",
    "#5aa9a3",
    "#7c5cd6",
    "#8c6d4f",
)
_INK, _FAINT = "#1c2733", "#6b7683"


def draw(report: SensitivityReport, path: Path) -> None:
    """Write :func:`figure` as a PNG, 1920 pixels wide."""
    figure(report).savefig(path, dpi=150, format="png")


def figure(report: SensitivityReport) -> Any:
    """Errors at the functions' ends over the blocks of each; a dashed line has all layers at once.

    Args:
        report: with at least one row.

    Returns:
        A ``matplotlib.figure.Figure``, 12.8 inches wide, which no window shows.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    functions = [f for f in dict.fromkeys(row.function for row in report.totals or report.rows)]
    columns = min(len(functions), 2)
    rows = -(-len(functions) // columns)
    made = Figure(figsize=(12.8, 3.9 * rows + 1.2), facecolor="white")
    FigureCanvasAgg(made)
    grid = made.subplots(rows, columns, squeeze=False)
    largest = max(row.function_error for row in [*report.rows, *report.totals])
    for axes, name in zip(grid.flat, functions, strict=False):
        _panel(axes, report, name, largest)
    for axes in grid.flat[len(functions) :]:
        axes.set_visible(False)
    inches = made.get_figheight()
    made.subplots_adjust(
        left=0.055,
        right=0.985,
        top=1 - 1.15 / inches,
        bottom=0.85 / inches,
        wspace=0.12,
        hspace=0.38,
    )
    title = f"What a linear layer in int8 costs at its function's end ({report.checkpoint})"
    made.text(
        0.012, 1 - 0.2 / inches, title, size=15, weight="bold", color=_INK, va="top", wrap=True
    )
    count = len(report.pictures)
    prompts = len(report.prompts)
    asked = f"{count} picture{'s' * (count != 1)}, {prompts} prompt{'s' * (prompts != 1)} each"
    made.text(
        0.012,
        0.16 / inches,
        f"Root mean square of differences from float32, relative to the output; every layer alone, "
        f"all else in float32; dashed: all layers of the function at once. {asked}",
        size=9,
        color=_FAINT,
        va="bottom",
    )
    return made


def place_of(row: SensitivityRow) -> tuple[int | None, str]:
    """The number of the block that layers are in, None outside of blocks, and what they are
    there."""
    parts = row.layer.split(".")
    at = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    if at is None:
        return None, row.layer
    return int(parts[at]), ".".join(parts[at + 1 :])


def _panel(ax: Any, report: SensitivityReport, function: str, largest: float) -> None:
    kinds: dict[str, list[tuple[int | None, float]]] = {}
    for row in report.rows:
        if row.function == function:
            block, kind = place_of(row)
            kinds.setdefault(kind, []).append((block, row.function_error))
    blocks = sorted({b for points in kinds.values() for b, _ in points if b is not None})
    beside = (blocks[-1] if blocks else -1) + 1
    # Three decades at most, the same in all panels, so that they compare; below lies what is
    # next to nothing.
    low = largest / 500
    for number, (kind, points) in enumerate(sorted(kinds.items())):
        places = sorted((beside if b is None else b, max(e, 1.1 * low)) for b, e in points)
        ax.plot(
            [x for x, _ in places],
            [y for _, y in places],
            color=_COLOURS[number % len(_COLOURS)],
            marker="o" if number < len(_COLOURS) else "s",
            markersize=4,
            linewidth=1.3,
            label=kind,
        )
    for row in report.totals:
        if row.function == function:
            ax.axhline(row.function_error, color=_INK, linestyle="--", linewidth=1)
    named = [None for points in kinds.values() for b, _ in points if b is None]
    shown = blocks if len(blocks) <= 12 else blocks[:: -(-len(blocks) // 12)]
    ticks = [*shown, *([beside] if named else [])]
    ax.set_xticks(ticks, [*map(str, shown), *(["beside"] if named else [])])
    ax.set_yscale("log")
    ax.set_ylim(low, largest * 2)
    ax.tick_params(labelsize=8.5, colors=_FAINT)
    ax.grid(axis="y", color="#e3e7ec", linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.set_title(function, loc="left", size=11.5, weight="bold", color=_INK)
    ax.set_xlabel("block", size=9, color=_FAINT)
    ax.legend(fontsize=7.5, frameon=False, ncols=2, loc="lower right")
