"""``sam3-tvm verify --sensitivity``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sam3_tvm.cli.pictures import find_pictures
from sam3_tvm.cli.terminal import complain, json_text, reporting, say, say_json, show, table
from sam3_tvm.errors import UsageError
from sam3_tvm.extras import needed
from sam3_tvm.files import OutputFile

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
    report_file = plot_file = None
    if output is not None:
        if output.suffix == ".png":
            raise UsageError(f"{output}: -o names the report, such as x.json; its plot is x.png")
        report_file, plot_file = (
            OutputFile(path, "-o") for path in (output, output.with_suffix(".png"))
        )
    pictures = find_pictures(images)
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
    if report_file is None or plot_file is None:
        return
    report_file.write_text(json_text(report.to_json()) + "\n")
    written = [report_file.path]
    try:
        from sam3_tvm.sensitivity.chart import draw

        plot_file.write(lambda path: draw(report, path))
        written.append(plot_file.path)
    except ModuleNotFoundError as error:
        complain(f"no plot: {error.name} is not installed: pip install 'sam3-tvm[bench]'")
    if not as_json:
        for path in written:
            say(f"wrote {path}")


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
