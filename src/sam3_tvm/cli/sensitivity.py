"""``sam3-tvm verify --sensitivity``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sam3_tvm.cli.pictures import find_pictures
from sam3_tvm.cli.terminal import complain, json_text, reporting, say, say_json, show, table
from sam3_tvm.errors import UsageError
from sam3_tvm.extras import needed
from sam3_tvm.files import OutputFile, real_path

if TYPE_CHECKING:
    from sam3_tvm.sensitivity import SensitivityReport, SensitivityRow

__all__ = ["measure_sensitivity"]


def measure_sensitivity(
    artifact: Path,
    images: Sequence[Path],
    functions: Sequence[str],
    pattern: str | None,
    phrases: Sequence[str],
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure an artifact's checkpoint, print the table, and write the report and its plot.

    Raises:
        Sam3Error: what can't be measured or written.
    """
    if any(not phrase.strip() for phrase in phrases):
        raise UsageError("a phrase of --text is empty")
    pictures = find_pictures(images)
    report_file = plot_file = None
    if output is not None:
        report_file = OutputFile(output, "-o")
        plot_file = _plot_of(output, pictures)
    with needed("compile", "measuring in PyTorch"):
        from sam3_tvm.verify.sensitivity import sensitivity

    with reporting(left=True) as progress:
        report = sensitivity(
            artifact,
            images=pictures,
            functions=functions or None,
            layers=pattern,
            phrases=phrases,
            progress=progress,
        )
    if as_json:
        say_json(report.to_json())
    else:
        _print(report)
    if report_file is None:
        return
    report_file.write_text(json_text(report.to_json()) + "\n")
    written = [report_file.path]
    if plot_file is not None:
        try:
            from sam3_tvm.sensitivity.chart import draw

            plot_file.write(lambda path: draw(report, path))
            written.append(plot_file.path)
        except ModuleNotFoundError as error:
            complain(f"no plot: {error.name} is not installed: pip install 'sam3-tvm[bench]'")
    if not as_json:
        for path in written:
            say(f"wrote {path}")


def _plot_of(output: Path, pictures: Sequence[Path]) -> OutputFile | None:
    """Where the plot of a report goes: beside it; nowhere if that goes to a device or a pipe."""
    if os.path.exists(output) and not os.path.isfile(output):
        return None
    plot = output.with_suffix(".png")
    if output.suffix.lower() == ".png":
        raise UsageError(f"{output}: -o names the report, such as x.json; its plot is x.png")
    if real_path(plot) in map(real_path, pictures):
        raise UsageError(f"{output}: its plot would replace the picture {plot}; choose another -o")
    return OutputFile(plot, "-o")


def _print(report: SensitivityReport) -> None:
    right = ("K x N", "own error", "at the end", "score", "IoU")
    rows = table("function", "layer", *right, right=right)

    def add(row: SensitivityRow) -> None:
        rows.add_row(
            row.function,
            row.layer,
            f"{row.inputs} x {row.outputs}" if row.inputs else "",
            f"{row.own:.2e}",
            f"{row.function_error:.2e}",
            f"{row.score_error:.1e}",
            f"{row.iou:.5f}",
        )

    for row in report.rows:
        add(row)
    rows.add_section()
    for row in report.totals:
        add(row)
    show(f"{report.checkpoint}: linear layers in int8, each alone", rows)
