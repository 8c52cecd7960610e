"""``sam3-tvm evaluate``."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam3_tvm.cli.options import ArtifactFolder, JsonForTables, Threads, output_option
from sam3_tvm.cli.paths import local_path, named_path
from sam3_tvm.cli.terminal import (
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
from sam3_tvm.progress import Progress

if TYPE_CHECKING:
    from sam3_tvm.evaluate import Agreement, Dataset, Detector, Evaluation

__all__ = ["command"]

_OURS = "artifact"
_THEIRS = "other"

# Where stderr is no terminal, a line about progress comes after so many seconds.
_SECONDS_PER_LINE = 10.0

# What two models are compared by: fields of Figures and how they are called in tables.
_COMPARED = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "matched_iou": "IoU of matched",
    "target_iou": "IoU of all targets",
    "rejected": "absent rejected",
}


def command(
    artifact: ArtifactFolder,
    data: Annotated[
        Path | None,
        typer.Argument(
            help="A folder with annotations.json and its pictures.",
            metavar="DATA",
            parser=local_path,
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="Instead of DATA: a file in COCO's layout.", metavar="FILE", parser=local_path
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="The folder of its pictures.", metavar="FOLDER", parser=local_path),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(help="Objects with a higher score count, 0 to 1.", metavar="SCORE"),
    ] = 0.5,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first N pictures.", metavar="N")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="Also measure this checkpoint in PyTorch, as compile takes it, on pictures of the "
            "artifact's size, or this other artifact, and show the differences: of the figures, "
            "and object by object.",
            metavar="CHECKPOINT|DIR",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        output_option("Where the report goes, as JSON, with every prompt.", "FILE"),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            help="Draw the worst prompts to this PNG: predictions coloured, targets outlined.",
            metavar="FILE",
            parser=named_path,
        ),
    ] = None,
    worst: Annotated[
        int, typer.Option(min=1, max=240, help="So many prompts on the sheet.", metavar="N")
    ] = 24,
    as_json: JsonForTables = False,
    threads: Threads = None,
) -> None:
    """Measure an artifact on annotated pictures.

    A prediction is matched with a target at an IoU of 0.5 or more, one to one. Annotations are
    COCO's instances: every category in a picture is looked for by its name, and mask AP is
    computed, too; or the prompts are listed in the file (docs/evaluation.md). Pictures are looked
    at before anything is measured; a picture or a prompt that fails later is named, the others are
    reported, and the exit code is 1.

    [bold]Examples[/bold]

    sam3-tvm evaluate out/shapes held-out/
    sam3-tvm evaluate out/shapes held-out/ --against checkpoints/shapes -o report.json
    sam3-tvm evaluate out/shapes-bf16 held-out/ --against out/shapes
    sam3-tvm evaluate out/shapes held-out/ --limit 50 --sheet worst.png
    sam3-tvm evaluate sam3-cpu --annotations instances_val2017.json --images val2017
    """
    if not 0 <= threshold <= 1:
        raise UsageError(f"--threshold {threshold:g}: scores lie between 0 and 1")
    files = _locate(data, annotations, images)
    report_file = None if output is None else OutputFile(output, "-o")
    sheet_file = None if sheet is None else OutputFile(sheet, "--sheet")

    import sam3_tvm
    from sam3_tvm.evaluate import (
        ModelDetector,
        agreement,
        check_headers,
        evaluate,
        read_dataset,
    )

    dataset = read_dataset(*files, limit)
    with reporting() as progress:
        check_headers(dataset, _with_rate(progress))
    model = sam3_tvm.load(artifact, threads=threads)
    detectors: dict[str, Detector] = {_OURS: ModelDetector(model)}
    if against is not None:
        detectors[_THEIRS] = _other(against, threads, model.manifest.sizes.image)
    with reporting() as progress:
        found = evaluate(detectors, dataset, threshold, _with_rate(progress))
    ours, theirs = found[_OURS], found.get(_THEIRS)
    both = None if theirs is None else agreement(ours.outcomes, theirs.outcomes)
    document = {
        "artifact": f"{artifact}",
        "annotations": f"{dataset.annotations}",
        "threshold": threshold,
        "pictures": len(dataset.pictures) - ours.unread,
        **ours.to_json(),
        "against": None
        if theirs is None or both is None
        else {"checkpoint": against, **theirs.to_json(), "agreement": asdict(both)},
    }
    if as_json:
        say_json(document)
    else:
        _print(f"{artifact}", dataset, ours, threshold)
        if theirs is not None and both is not None:
            _print_comparison(f"{against}", ours, theirs, both)
        if ours.seconds > 0:
            measured = len(dataset.pictures) - ours.unread
            say(f"{measured / ours.seconds:.1f} pictures/s, {ours.seconds:.1f} s in all")
    if report_file is not None:
        document["outcomes"] = [outcome.to_json() for outcome in ours.outcomes]
        report_file.write_text(json_text(document) + "\n")
        _tell(f"wrote {output}", as_json)
    if sheet_file is not None:
        _draw(ours, sheet_file, worst, as_json)
    if ours.failed:
        for one in ours.failed:
            complain(one.reason)
        prompts = len(ours.failed) - ours.unread
        complain(
            f"{ours.unread} of {len(dataset.pictures)} pictures were not measured"
            + (f", and {prompts} prompts of the others" if prompts else "")
        )
        raise typer.Exit(1)


def _locate(data: Path | None, annotations: Path | None, images: Path | None) -> tuple[Path, Path]:
    """The annotation file and the folder of its pictures.

    Raises:
        UsageError: neither of the two ways to name them, or both.
    """
    if data is not None and annotations is None and images is None:
        return data / "annotations.json", data
    if data is None and annotations is not None and images is not None:
        return annotations, images
    raise UsageError(
        "which pictures: give a folder DATA with annotations.json and its pictures, or "
        "--annotations FILE and --images FOLDER"
    )


def _with_rate(progress: Progress) -> Progress:
    """Adds pictures per second; where stderr is no terminal, a line every few seconds is enough."""
    begun = time.perf_counter()
    last = -math.inf

    def report(step: str, done: int, total: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if not sys.stderr.isatty() and done < total and now - last < _SECONDS_PER_LINE:
            return
        last = now
        rate = f" ({done / (now - begun):.1f} pictures/s)" if done else ""
        progress(f"{step}{rate}", done, total)

    return report


def _other(name: str, threads: int | None, image_size: int) -> Detector:
    """An artifact's folder, or a checkpoint in PyTorch, on pictures of this side."""
    from sam3_tvm.artifact import MANIFEST

    if (Path(name) / MANIFEST).exists():
        import sam3_tvm
        from sam3_tvm.evaluate import ModelDetector

        return ModelDetector(sam3_tvm.load(name, threads=threads))
    with needed("compile", "comparing with PyTorch"):
        from sam3_tvm.evaluate.reference import ReferenceDetector
    return ReferenceDetector(name, image_size)


def _print(name: str, dataset: Dataset, ours: Evaluation, threshold: float) -> None:
    figures = ours.figures()
    counts = ("prompts", "targets", "found", "precision", "recall", "F1")
    ratios = ("IoU matched", "IoU targets", "absent rejected")
    rows = table("", *counts, *ratios, right=(*counts, *ratios))
    for group, one in figures.items():
        rows.add_row(
            group,
            *(f"{n}" for n in (one.prompts, one.targets, one.predictions)),
            *map(_number, (one.precision, one.recall, one.f1, one.matched_iou, one.target_iou)),
            f"{one.rejected:.1%} of {one.absent}" if one.absent else "",
        )
    show(
        f"{name} on {dataset.annotations}: {len(dataset.pictures) - ours.unread} pictures, "
        f"{len(ours.outcomes)} prompts, threshold {threshold:g}",
        rows,
    )
    if ours.ap is not None:
        say(f"mask AP {ours.ap.ap:.3f}, AP50 {ours.ap.ap50:.3f}, AP75 {ours.ap.ap75:.3f}")


def _print_comparison(name: str, ours: Evaluation, theirs: Evaluation, both: Agreement) -> None:
    figures, others = ours.figures(), theirs.figures()
    columns = (_OURS, _THEIRS, "difference")
    rows = table("", "figure", *columns, right=columns)
    pairs = [
        (group, title, getattr(figures[group], field), getattr(others[group], field))
        for group in figures
        for field, title in _COMPARED.items()
    ]
    if ours.ap is not None and theirs.ap is not None:
        for one in fields(ours.ap):
            pairs.append(
                ("mask", one.name.upper(), getattr(ours.ap, one.name), getattr(theirs.ap, one.name))
            )
    pairs = [pair for pair in pairs if not all(map(math.isnan, pair[2:]))]
    for group, title, a, b in pairs:
        rows.add_row(group, title, f"{a:.4f}", f"{b:.4f}", f"{a - b:+.4f}")
    show(f"beside {name} ({theirs.seconds:.1f} s)", rows)
    largest = max((abs(a - b) for _, _, a, b in pairs), default=0.0)
    say(f"largest difference {largest:.4f}")
    share = both.same / both.prompts
    say(f"the same objects in {both.same} of {both.prompts} prompts ({share:.1%})")
    if both.objects:
        say(
            f"{both.objects} objects found by both: IoU {both.iou_mean:.4f}, at least "
            f"{both.iou_min:.4f}; scores differ by {both.score_mean:.4f}, at most "
            f"{both.score_max:.4f}"
        )


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _draw(evaluation: Evaluation, file: OutputFile, worst: int, as_json: bool) -> None:
    chosen = evaluation.worst(worst)
    if not chosen:
        _tell(f"{file.path} is not written: every prompt was answered exactly", as_json)
        return
    from sam3_tvm.evaluate.sheet import contact_sheet

    image = contact_sheet(chosen)
    file.write(lambda path: image.save(path, format="PNG"))
    _tell(f"wrote {file.path}", as_json)


def _tell(text: str, as_json: bool) -> None:
    """Say what was written, but nothing beside a JSON document."""
    if not as_json:
        say(text)
