"""``sam3-tvm click``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sam3_tvm.cli.advice import what_to_type
from sam3_tvm.cli.options import ArtifactFolder, Threads, json_option, output_option
from sam3_tvm.cli.outputs import opened_outputs
from sam3_tvm.cli.paths import local_path
from sam3_tvm.cli.prompts import parse_box, parse_point
from sam3_tvm.cli.terminal import reporting, say, say_json, show, table
from sam3_tvm.errors import UsageError, one_line

if TYPE_CHECKING:
    from sam3_tvm.batch.outcome import Outcome
    from sam3_tvm.runtime import ClickResult, Model

__all__ = ["command"]


def command(
    artifact: ArtifactFolder,
    image: Annotated[Path, typer.Argument(help="A picture.", metavar="IMAGE", parser=local_path)],
    point: Annotated[
        list[str],
        typer.Option(
            help="A point on the object, in the picture's pixels; repeatable.", metavar="X,Y"
        ),
    ] = [],
    negative_point: Annotated[
        list[str],
        typer.Option(help="A point beside the object; repeatable.", metavar="X,Y"),
    ] = [],
    box: Annotated[
        str | None,
        typer.Option(help="A box around the object, in pixels.", metavar="X0,Y0,X1,Y1"),
    ] = None,
    multimask: Annotated[
        bool,
        typer.Option(
            "--multimask/--one-mask",
            help="Give the masks that a click could mean, or the one that it most likely does.",
        ),
    ] = True,
    output: Annotated[
        list[Path] | None,
        output_option(
            "A folder: the overlay, a PNG with the best mask. A folder whose name ends in masks: a "
            "PNG per mask. NAME.png: the overlay itself. NAME.jsonl: a line of JSON, masks "
            "run-length encoded as in COCO. Repeatable. By default sam3-out.",
            "OUT",
        ),
    ] = None,
    overlay: Annotated[
        bool,
        typer.Option(
            "--overlay/--no-overlay", help="Draw the best mask in a folder of overlays, or don't."
        ),
    ] = True,
    as_json: Annotated[
        bool,
        json_option("Print one JSON document, masks run-length encoded."),
    ] = False,
    threads: Threads = None,
) -> None:
    """Segment the one object that is clicked or boxed.

    Prints the masks that the clicks could mean, and writes the picture with the best one on it.

    [bold]Examples[/bold]

    sam3-tvm click sam3-cpu photo.jpg --point 175,150
    sam3-tvm click sam3-cpu photo.jpg --point 175,150 --negative-point 60,40 --one-mask
    sam3-tvm click sam3-cpu photo.jpg --point 175,150 -o dog.png -o masks/
    sam3-tvm click sam3-cpu photo.jpg --box 40,25,310,280 --json --no-overlay > dog.json
    """
    points = [parse_point(text) for text in point]
    labels = [1] * len(points)
    points += [parse_point(text, "--negative-point") for text in negative_point]
    labels += [0] * (len(points) - len(labels))
    corners = None if box is None else parse_box(box)
    if not points and corners is None:
        raise UsageError("nothing was clicked: give --point x,y or --box x0,y0,x1,y1")
    paths = output or [Path("sam3-out")]
    with what_to_type(), opened_outputs(paths, [image], [], overlay, first=0) as outputs:
        import sam3_tvm

        model = sam3_tvm.load(artifact, threads=threads)
        clicks = (points or None, labels or None, corners)
        with reporting(lines=False) as progress:
            progress(f"{image}", 0, 1)
            result: Any = model.click(image, *clicks, None, multimask)
        outcome = _outcome(result, image)
        for one in outputs:
            one.begin([], None)
            one.write(outcome, [result])
            one.finish()
    drawn = [Path(path) for path in outcome.overlays]
    if as_json:
        say_json(_document(result, image, drawn[0] if drawn else None, model))
        return
    _print_table(result, image)
    for path in [*drawn, *(one.path for one in outputs if one.path.is_file())]:
        say(f"wrote {one_line(f'{path}')}")


def _outcome(result: ClickResult, image: Path) -> Outcome:
    from sam3_tvm.batch.outcome import Outcome

    height, width = result.size
    about = {"object_score": result.object_score, "best": result.best}
    found = [{"text": None, "read": None, "objects": result.to_coco()}]
    return Outcome(0, f"{image}", f"{image}", width, height, found, [], about)


def _print_table(result: ClickResult, image: Path) -> None:
    height, width = result.size
    rows = table("mask", "predicted IoU", "area", "mask px", "", right=("area", "mask px"))
    for number, (iou, mask) in enumerate(zip(result.iou, result.masks, strict=True)):
        pixels = int(mask.sum())
        best = "best" if number == result.best and len(result) > 1 else ""
        rows.add_row(
            f"{number}", f"{iou:.3f}", f"{pixels / (height * width):.1%}", f"{pixels}", best
        )
    show(f"{image} ({width} x {height}), an object with {result.object_score:.3f}", rows)


def _document(result: ClickResult, image: Path, path: Path | None, model: Model) -> dict[str, Any]:
    """The answer as plain data, masks as in COCO's results."""
    source = model.manifest.source
    return {
        "info": {
            "description": f"SAM 3 ({source.checkpoint}) by sam3-tvm {model.manifest.sam3_tvm}",
            "artifact": model.fingerprint,
            **result.click.described(),
        },
        "image": {
            "file_name": f"{image}",
            "height": result.size[0],
            "width": result.size[1],
            "overlay": None if path is None else f"{path}",
        },
        "object_score": result.object_score,
        "best": result.best,
        "masks": result.to_coco(),
    }
