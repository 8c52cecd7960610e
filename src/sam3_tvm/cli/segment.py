"""``sam3-tvm segment``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sam3_tvm.cli.options import ArtifactFolder, Threads, json_option, output_option
from sam3_tvm.cli.paths import local_path
from sam3_tvm.cli.pictures import find_pictures
from sam3_tvm.cli.prompts import Prompts, long_phrase, parse_prompts
from sam3_tvm.cli.terminal import complain, reporting, say, say_json, show, table
from sam3_tvm.errors import UsageError, one_line
from sam3_tvm.files import OutputFolder, output_folder

if TYPE_CHECKING:
    from sam3_tvm.runtime import Model, Result

__all__ = ["command"]

# More rows than anyone reads; --json has them all.
_ROWS_PER_PROMPT = 20

# Masks of a picture are kept between counting and drawing up to this many bytes; beyond, they
# are made twice.
_KEPT_MASK_BYTES = 512 << 20


@dataclass
class _Segmented:
    """One picture's outcome, without its masks."""

    picture: Path
    size: tuple[int, int]
    found: list[tuple[str, list[dict[str, Any]]]]
    overlays: list[Path] = field(default_factory=list)
    cut: dict[str, str] = field(default_factory=dict)


def command(
    artifact: ArtifactFolder,
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Pictures, and folders with pictures in them.",
            metavar="IMAGE",
            parser=local_path,
        ),
    ],
    text: Annotated[
        list[str], typer.Option(help="A phrase to look for; repeatable.", metavar="PHRASE")
    ] = [],  # noqa: B006 - typer copies it
    box: Annotated[
        list[str],
        typer.Option(
            help="An example of what to look for, in the picture's pixels; repeatable. Goes with "
            "every phrase.",
            metavar="X0,Y0,X1,Y1",
        ),
    ] = [],  # noqa: B006
    negative_box: Annotated[
        list[str],
        typer.Option(help="An example of what is not meant; repeatable.", metavar="X0,Y0,X1,Y1"),
    ] = [],  # noqa: B006
    point: Annotated[
        list[str],
        typer.Option(
            help="A point on what to look for, in the picture's pixels; repeatable. For artifacts "
            "made from Meta's own model.",
            metavar="X,Y",
        ),
    ] = [],  # noqa: B006
    negative_point: Annotated[
        list[str],
        typer.Option(help="A point on what is not meant; repeatable.", metavar="X,Y"),
    ] = [],  # noqa: B006
    threshold: Annotated[
        float,
        typer.Option(help="Objects with a higher score are kept, 0 to 1.", metavar="SCORE"),
    ] = 0.5,
    output: Annotated[
        Path,
        output_option("Folder for the overlays, one PNG per phrase.", "OUT"),
    ] = Path("sam3-out"),
    overlay: Annotated[
        bool, typer.Option("--overlay/--no-overlay", help="Draw what was found, or don't.")
    ] = True,
    as_json: Annotated[
        bool,
        json_option("Print one JSON document in COCO's layout, masks run-length encoded."),
    ] = False,
    threads: Threads = None,
) -> None:
    """Find every object that a phrase names or that looks like those in boxes or under points.

    Prints a table, and writes the picture with masks, boxes and scores on it.
    A picture that cannot be read is skipped; the exit code is 1 then.

    [bold]Examples[/bold]

    sam3-tvm segment sam3-cpu photo.jpg --text "yellow school bus"
    sam3-tvm segment sam3-cpu holidays/ --text dog --text ball -o found
    sam3-tvm segment sam3-cpu shelf.jpg --box 40,25,110,180
    sam3-tvm segment sam3-cpu photo.jpg --text dog --json --no-overlay > dogs.json
    """
    prompts = parse_prompts(text, box, negative_box, point, negative_point)
    if not 0 <= threshold <= 1:
        raise UsageError(f"--threshold {threshold:g}: scores lie between 0 and 1")
    pictures = find_pictures(images)
    with output_folder(output if overlay else None, pictures, "-o") as folder:
        import sam3_tvm

        model = sam3_tvm.load(artifact, threads=threads)
        if prompts.points and not model.manifest.sizes.points:
            source = model.manifest.source
            raise UsageError(
                f"--point: {artifact} was made from {source.checkpoint} ({source.kind}), whose "
                "model takes no points; give --box, or compile from Meta's own model"
            )
        done, failed = _segment_all(model, pictures, prompts, threshold, folder, tables=not as_json)
    for phrase, read in _cut(done).items():
        complain(long_phrase(phrase, read))
    if as_json:
        say_json(_coco(done, failed, prompts, threshold, model))
    if failed:
        names = ", ".join(map(str, failed))
        complain(f"{len(failed)} of {len(pictures)} pictures failed: {names}")
        raise typer.Exit(1)


def _segment_all(
    model: Model,
    pictures: Sequence[Path],
    prompts: Prompts,
    threshold: float,
    folder: OutputFolder | None,
    *,
    tables: bool,
) -> tuple[list[_Segmented], dict[Path, str]]:
    """The pictures' outcomes, each printed if ``tables``, and why others have none."""
    from sam3_tvm.components import AbiError
    from sam3_tvm.runtime import ImageError, PromptError
    from sam3_tvm.runtime.concepts.detector import PhraseWarning

    done: list[_Segmented] = []
    failed: dict[Path, str] = {}
    for number, picture in enumerate(pictures):
        # Opened anew for each picture, so that its table isn't printed through the bar.
        with reporting(lines=len(pictures) > 1) as progress:
            # They are reported once, when all is done.
            warnings.simplefilter("ignore", PhraseWarning)
            progress(f"{picture}", number, len(pictures))
            try:
                outcome = _segment(model, picture, prompts, threshold, folder)
            except (AbiError, ImageError, PromptError) as error:
                failed[picture] = f"{error}"
                complain(f"error: {error}")
                continue
        done.append(outcome)
        if tables:
            _print_table(outcome, threshold)
    return done, failed


def _segment(
    model: Model, picture: Path, prompts: Prompts, threshold: float, folder: OutputFolder | None
) -> _Segmented:
    geometry: dict[str, Any] = {
        "boxes": [list(box) for box in prompts.boxes] or None,
        "box_labels": list(prompts.labels) or None,
        "points": [list(point) for point in prompts.points] or None,
        "point_labels": list(prompts.point_labels) or None,
    }
    results: Sequence[Result]
    if prompts.texts:
        results = model.segment(picture, text=list(prompts.texts), threshold=threshold, **geometry)
    else:
        results = [model.segment(picture, threshold=threshold, **geometry)]
    outcome = _Segmented(picture, results[0].size, [])
    for result in results:
        height, width = result.size
        if folder is not None and len(result) * height * width <= _KEPT_MASK_BYTES:
            result.masks  # noqa: B018 - computed once and kept, for both uses below
        outcome.found.append((result.text, result.to_coco()))
        if result.text_read != result.text:
            outcome.cut[result.text] = result.text_read
        if folder is not None:
            path = folder.name(picture, result.text if len(results) > 1 else None)
            folder.write(result.overlay(), path)
            outcome.overlays.append(path)
    return outcome


def _print_table(outcome: _Segmented, threshold: float) -> None:
    height, width = outcome.size
    rows = table(
        *("text", "score", "box (x0, y0, x1, y1)", "area", "mask px"),
        right=("score", "area", "mask px"),
    )
    for text, objects in outcome.found:
        label = one_line(text)
        if not objects:
            rows.add_row(label, "", f"nothing above {threshold:g}", "", "")
        for one in objects[:_ROWS_PER_PROMPT]:
            x, y, w, h = one["bbox"]
            rows.add_row(
                label,
                f"{one['score']:.3f}",
                f"{x:.1f}, {y:.1f}, {x + w:.1f}, {y + h:.1f}",
                f"{one['area'] / (height * width):.1%}",
                f"{one['area']}",
            )
        if len(objects) > _ROWS_PER_PROMPT:
            more = len(objects) - _ROWS_PER_PROMPT
            rows.add_row(label, "", f"... and {more} more (--json lists all)", "", "")
    show(f"{outcome.picture} ({width} x {height})", rows)
    for path in outcome.overlays:
        say(f"wrote {one_line(str(path))}")


def _cut(done: Sequence[_Segmented]) -> dict[str, str]:
    """The phrases that are longer than the model reads, and what it reads of them."""
    return {phrase: read for one in done for phrase, read in one.cut.items()}


def _coco(
    done: Sequence[_Segmented],
    failed: dict[Path, str],
    prompts: Prompts,
    threshold: float,
    model: Model,
) -> dict[str, Any]:
    """What was found as one document in the layout of COCO's annotation files."""
    source = model.manifest.source
    cut = _cut(done)
    phrases = prompts.texts or (source.reference.visual_text,)
    annotations = [
        {"id": 0, "image_id": image, "category_id": phrases.index(text) + 1, "iscrowd": 0, **one}
        for image, outcome in enumerate(done, 1)
        for text, objects in outcome.found
        for one in objects
    ]
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    return {
        "info": {
            "description": f"SAM 3 ({source.checkpoint}) by sam3-tvm {model.manifest.sam3_tvm}",
            "artifact": model.fingerprint,
            "threshold": threshold,
            "boxes": [list(box) for box in prompts.boxes],
            "box_labels": list(prompts.labels),
            "points": [list(point) for point in prompts.points],
            "point_labels": list(prompts.point_labels),
        },
        "images": [
            {
                "id": image,
                "file_name": f"{outcome.picture}",
                "height": outcome.size[0],
                "width": outcome.size[1],
                "overlays": [f"{path}" for path in outcome.overlays],
            }
            for image, outcome in enumerate(done, 1)
        ],
        "categories": [
            # What is searched of a phrase that is longer than the model reads.
            {"id": number, "name": text, **({"searched": cut[text]} if text in cut else {})}
            for number, text in enumerate(phrases, 1)
        ],
        "annotations": annotations,
        "failed": [{"file_name": f"{path}", "error": why} for path, why in failed.items()],
    }
