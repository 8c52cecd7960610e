"""``sam3-tvm verify``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sam3_tvm.cli.options import JsonForTables, output_option
from sam3_tvm.cli.paths import local_path
from sam3_tvm.cli.pictures import find_pictures
from sam3_tvm.cli.sensitivity import measure_sensitivity
from sam3_tvm.cli.terminal import (
    byte_size,
    complain,
    json_text,
    reporting,
    say,
    say_json,
    show,
    table,
)
from sam3_tvm.errors import UsageError
from sam3_tvm.extras import needed
from sam3_tvm.files import OutputFile

if TYPE_CHECKING:
    from sam3_tvm.verify import FrameRow, VerifyReport

__all__ = ["command"]

# Films of more frames aren't printed frame by frame.
_LONG = 48


def command(
    artifacts: Annotated[
        list[Path],
        typer.Argument(
            help="The folder of an artifact; or of several of one checkpoint, such as its "
            "precisions, which are compared with one run of the reference.",
            metavar="DIR...",
            parser=local_path,
        ),
    ],
    image: Annotated[
        list[Path],
        typer.Option(
            help="A picture, or a folder of them, to compare end to end on; repeatable. By default "
            "the photographs that come with the package.",
            metavar="PATH",
            parser=local_path,
        ),
    ] = [],
    function: Annotated[
        list[str],
        typer.Option(
            help="Compare this function only, nothing end to end; with --sensitivity its layers; "
            "repeatable.",
            metavar="NAME",
        ),
    ] = [],
    only: Annotated[
        str | None,
        typer.Option(
            help="What to compare, separated by commas: functions, pictures, films (the pan over a "
            "photograph, and by phrase). By default all.",
            metavar="PARTS",
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            help="Frames of each film that is compared; by default 10 of the pan over a "
            "photograph, 8 to 24 by phrase. All of them are held in memory.",
            metavar="N",
            min=3,
            max=2000,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        output_option(
            "Where the report goes, as JSON. By default verify.json; with --json nowhere.", "FILE"
        ),
    ] = None,
    as_json: JsonForTables = False,
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity",
            help="Instead say which linear layer loses most in int8, each alone, in PyTorch.",
        ),
    ] = False,
    layers: Annotated[
        str | None,
        typer.Option(
            help="With --sensitivity: the layers alone whose names match, such as '*.mlp.fc2'.",
            metavar="PATTERN",
        ),
    ] = None,
    text: Annotated[
        list[str],
        typer.Option(
            help="With --sensitivity: look for this phrase; repeatable. By default what verify "
            "asks of any picture.",
            metavar="PHRASE",
        ),
    ] = [],
    integrity: Annotated[
        bool,
        typer.Option(
            "--integrity", help="Only compare every file's SHA-256 with the manifest; no torch."
        ),
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(
            help="With --integrity: the public key (its file, or its text, RW...) by which the "
            "manifest must be signed; with the extra \\[sign].",
            metavar="KEY",
        ),
    ] = None,
) -> None:
    """Compare artifacts with the PyTorch reference, function by function, then end to end.

    Prints a table for each artifact and writes all as JSON. The exit code is 1
    when a bound is broken. The reference takes longest, so verify artifacts of
    one checkpoint together.

    With --sensitivity every linear layer that compile --compute int8 has in
    eight bits is computed so alone, on the first photograph or on the pictures
    given. The report, sensitivity.json by default, has a plot beside it. At
    SAM 3's size that takes an hour or two; --function and --layers shorten it.
    Nothing is written before the end.

    [bold]Examples[/bold]

    sam3-tvm verify out/tiny
    sam3-tvm verify sam3-cpu sam3-half sam3-int8
    sam3-tvm verify sam3-cpu --image holidays/ -o report.json
    sam3-tvm verify out/shapes out/shapes-bf16 --only films --frames 200
    sam3-tvm verify sam3-cpu --sensitivity --function vision_encoder --layers '*.fc2'
    sam3-tvm verify sam3-cpu --integrity
    sam3-tvm verify sam3-cpu --integrity --key maker.key.pub
    """
    if key is not None and not integrity:
        raise UsageError("--key goes with --integrity")
    if sensitivity:
        if len(artifacts) != 1 or integrity or only or frames is not None:
            raise UsageError(
                "--sensitivity takes the folder of one artifact, no --frames, --only or --integrity"
            )
        if output is None and not as_json:
            output = Path("sensitivity.json")
        measure_sensitivity(artifacts[0], image, function, layers, text, output, as_json)
        return
    if layers is not None or text:
        raise UsageError("--layers and --text go with --sensitivity")
    parts = None if only is None else [n.strip() for n in only.split(",") if n.strip()]
    if parts == []:
        raise UsageError(f"--only {only!r} names no part; give functions, pictures or films")
    if function and only:
        raise UsageError("--function compares functions alone: it doesn't go with --only")
    if frames is not None and (function or integrity or (parts and "films" not in parts)):
        raise UsageError(
            "--frames is for films, which --function, --integrity and --only of others leave out"
        )
    if integrity:
        if image or function or only or output is not None:
            raise UsageError(
                "--integrity compares files alone: it goes with no --image, --function, --only "
                "or -o"
            )
        _check_files(artifacts, as_json, key)
        return
    if output is None and not as_json:
        output = Path("verify.json")
    pictures = find_pictures(image)
    report_file = None if output is None else OutputFile(output, "-o")
    with needed("compile", "comparing with PyTorch"):
        from sam3_tvm.verify import PARTS, verify

    with reporting() as progress:
        reports = verify(
            artifacts,
            images=pictures,
            functions=function or None,
            frames=frames,
            parts=parts or PARTS,
            progress=progress,
        )
    ok = all(report.ok for report in reports)
    document = _document(reports, ok)
    if as_json:
        say_json(document)
    else:
        for report in reports:
            _print_report(report)
    if report_file is not None:
        report_file.write_text(json_text(document) + "\n")
        if not as_json:
            say(f"wrote {output}")
    if not ok:
        for report in reports:
            if not report.ok:
                complain(f"{report.artifact}: bounds broken: {report.broken}")
        raise typer.Exit(1)
    if not as_json:
        say("every comparison is within its bound")


def _document(reports: list[VerifyReport], ok: bool) -> dict[str, Any]:
    """An artifact's report as it is; several below one verdict."""
    if len(reports) == 1:
        return reports[0].to_json()
    return {"ok": ok, "artifacts": [report.to_json() for report in reports]}


def _check_files(paths: Sequence[Path], as_json: bool, key: str | None) -> None:
    """Say of each artifact what was read, as it is read; as JSON when all are intact.

    Args:
        paths: of the artifacts.
        as_json: a document instead of lines.
        key: whose signature each must bear; None for nobody's.

    Raises:
        ArtifactError: a file that isn't the one that was written.
        SignatureError: a key is given, and the manifest isn't signed by it.
    """
    from sam3_tvm import artifact as artifacts

    intact = []
    for path in paths:
        files = artifacts.open(path, integrity="full", require_signature=key).manifest.files
        total = sum(f.bytes for f in files.values())
        intact.append({"artifact": str(path), "files": len(files), "bytes": total})
        if not as_json:
            say(f"{path}: {len(files)} files, {byte_size(total)}, every SHA-256 as written")
    if as_json:
        say_json({"ok": True, "artifacts": intact})


def _print_report(report: VerifyReport) -> None:
    if report.functions:
        _print_functions(report)
    if report.end_to_end:
        _print_pictures(report)
    if report.clicks:
        _print_clicks(report)
    if report.frames:
        _print_film(f"{report.artifact}: video", report.frames)
    if report.phrase_frames:
        _print_film(f"{report.artifact}: video by phrase", report.phrase_frames)
    for reason in report.left_out:
        say(f"{report.artifact}: not compared: {reason}")


def _print_functions(report: VerifyReport) -> None:
    numbers = ("max error", "mean error", "relative", "bound")
    rows = table("function", "case", *numbers, "", right=numbers)
    for row in report.functions:
        values = (row.max_error, row.mean_error, row.relative, row.bound)
        name = f"{row.name}.{row.output}"
        rows.add_row(name, row.case, *(f"{v:.2e}" for v in values), _word(row.ok))
    show(f"{report.artifact}: functions", rows)


def _print_pictures(report: VerifyReport) -> None:
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
    show(f"{report.artifact}: end to end", pairs)


def _print_clicks(report: VerifyReport) -> None:
    right = ("masks", "IoU mean", "IoU min", "score")
    clicked = table("picture", "prompt", *right, "", right=right)
    for one in report.clicks:
        shown = (f"{one.iou_mean:.5f}", f"{one.iou_min:.5f}", f"{one.score_error:.1e}")
        clicked.add_row(one.picture, one.prompt, f"{one.masks}", *shown, _word(one.ok))
    show(f"{report.artifact}: clicks", clicked)


def _print_film(title: str, frames: Sequence[FrameRow]) -> None:
    """Each frame; of a long film those that break a bound, and what there is to say of all."""
    each = frames if len(frames) <= _LONG else [row for row in frames if not row.ok]
    if each:
        _print_frames(title, each)
    if len(frames) > _LONG:
        worst = min(frames, key=lambda row: row.iou_min)
        same = sum(row.same_objects for row in frames)
        say(
            f"{title}: {frames[0].film}, {len(frames)} frames: the same objects on {same}; IoU "
            f"{sum(row.iou_mean for row in frames) / len(frames):.5f} in the mean, at least "
            f"{worst.iou_min:.5f} (frame {worst.frame}); scores within "
            f"{max(row.score_error for row in frames):.1e}"
        )


def _print_frames(title: str, frames: Sequence[FrameRow]) -> None:
    right = ("frame", "areas", "IoU mean", "IoU min", "score")
    rows = table("film", *right[:1], "objects", *right[1:], "", right=right)
    for row in frames:
        names = ", ".join(row.names)
        rows.add_row(
            row.film,
            f"{row.frame}",
            names if row.same_objects else f"{names}, others than the reference",
            " ".join(f"{area:.0%}" for area in row.areas),
            f"{row.iou_mean:.5f}",
            f"{row.iou_min:.5f}",
            f"{row.score_error:.1e}",
            _word(row.ok),
        )
    show(title, rows)


def _word(ok: bool) -> str:
    return "ok" if ok else "BROKEN"
