"""``sam3-tvm verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam3_tvm.cli.pictures import find_pictures
from sam3_tvm.cli.prompts import UsageError
from sam3_tvm.cli.terminal import (
    byte_size,
    complain,
    json_text,
    need_extra,
    reporting,
    say,
    show,
    table,
)

if TYPE_CHECKING:
    from sam3_tvm.verify import VerifyReport

__all__ = ["command"]


def command(
    artifact: Annotated[Path, typer.Argument(help="The artifact's folder.", metavar="DIR")],
    image: Annotated[
        list[Path],
        typer.Option(
            help="A picture, or a folder of them, to compare end to end on; repeatable. By default "
            "the photographs that come with the package.",
            metavar="PATH",
        ),
    ] = [],  # noqa: B006 - typer copies it
    function: Annotated[
        list[str],
        typer.Option(
            help="Compare this function only, nothing end to end; repeatable.", metavar="NAME"
        ),
    ] = [],  # noqa: B006
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Where the report goes, as JSON.", metavar="FILE")
    ] = Path("verify.json"),
    integrity: Annotated[
        bool,
        typer.Option(
            "--integrity", help="Only compare every file's SHA-256 with the manifest; no torch."
        ),
    ] = False,
) -> None:
    """Compare an artifact with the PyTorch reference, function by function, then end to end.

    Prints a table and writes it as JSON. The exit code is 1 when a bound is broken.

    [bold]Examples[/bold]

    sam3-tvm verify out/tiny
    sam3-tvm verify sam3-cpu --image holidays/ -o report.json
    sam3-tvm verify sam3-cpu --integrity
    """
    if integrity:
        _check_files(artifact)
        return
    pictures = find_pictures(image)
    if not output.absolute().parent.is_dir():
        raise UsageError(f"{output}: its folder does not exist; make it, or choose another with -o")
    with need_extra("comparing with PyTorch"):
        from sam3_tvm.verify import verify

    with reporting() as progress:
        report = verify(artifact, images=pictures, functions=function or None, progress=progress)
    _print_report(artifact, report)
    try:
        output.write_text(json_text(report.to_json()) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output}: cannot be written ({error.strerror})") from error
    say(f"wrote {output}")
    if not report.ok:
        broken = sum(not row.ok for row in report.functions)
        broken += sum(not row.ok for row in report.end_to_end)
        complain(f"bounds broken: {broken}")
        raise typer.Exit(1)
    say("every comparison is within its bound")


def _check_files(path: Path) -> None:
    from sam3_tvm import artifact as artifacts

    files = artifacts.open(path, integrity="full").manifest.files
    total = byte_size(sum(f.bytes for f in files.values()))
    say(f"{path}: {len(files)} files, {total}, every SHA-256 as written")


def _print_report(path: Path, report: VerifyReport) -> None:
    numbers = ("max error", "mean error", "relative", "bound")
    rows = table("function", "case", *numbers, "", right=numbers)
    for row in report.functions:
        values = (row.max_error, row.mean_error, row.relative, row.bound)
        name = f"{row.name}.{row.output}"
        rows.add_row(name, row.case, *(f"{v:.2e}" for v in values), _word(row.ok))
    show(f"{path}: functions", rows)
    if not report.end_to_end:
        return
    columns = ("threshold", "kept", "IoU mean", "IoU min", "box px", "score")
    pairs = table("picture", "prompt", *columns, "", right=columns)
    for pair in report.end_to_end:
        pairs.add_row(
            pair.picture,
            pair.prompt,
            f"{pair.threshold:.3f}",
            f"{pair.kept}" if pair.same_kept else f"{pair.kept}, others than the reference",
            f"{pair.iou_mean:.5f}",
            f"{pair.iou_min:.5f}",
            f"{pair.box_error_px:.1e}",
            f"{pair.score_error:.1e}",
            _word(pair.ok),
        )
    show(f"{path}: end to end", pairs)


def _word(ok: bool) -> str:
    return "ok" if ok else "BROKEN"
