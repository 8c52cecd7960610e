"""``sam3-tvm segment``."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sam3_tvm.cli.advice import what_to_type
from sam3_tvm.cli.interrupts import Interrupts
from sam3_tvm.cli.like import (
    LikeOption,
    NegativeLikeOption,
    check_likes,
    make_exemplars,
    parse_likes,
)
from sam3_tvm.cli.options import ArtifactFolder, Threads, json_option, output_option
from sam3_tvm.cli.outputs import opened_outputs
from sam3_tvm.cli.paths import local_path
from sam3_tvm.cli.pictures import file_names, find_pictures
from sam3_tvm.cli.prompts import Prompts, long_phrase, parse_prompts
from sam3_tvm.cli.terminal import complain, passing, say, say_json, show, table
from sam3_tvm.cli.tiling import OnceOption, OverlapOption, TileOption, parse_tiling
from sam3_tvm.errors import UsageError, one_line

if TYPE_CHECKING:
    from sam3_tvm.batch.journal import Journal
    from sam3_tvm.batch.outcome import Outcome, Question
    from sam3_tvm.batch.run import Batch, Failure
    from sam3_tvm.runtime import Exemplar, Model
    from sam3_tvm.tiles import Tiling

__all__ = ["command"]

# More rows than anyone reads; --json has them all.
_ROWS_PER_PROMPT = 20


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
    ] = [],
    box: Annotated[
        list[str],
        typer.Option(
            help="An example of what to look for, in the picture's pixels; repeatable. Goes with "
            "every phrase.",
            metavar="X0,Y0,X1,Y1",
        ),
    ] = [],
    negative_box: Annotated[
        list[str],
        typer.Option(help="An example of what is not meant; repeatable.", metavar="X0,Y0,X1,Y1"),
    ] = [],
    point: Annotated[
        list[str],
        typer.Option(
            help="A point on what to look for, in the picture's pixels; repeatable. For artifacts "
            "made from Meta's own model.",
            metavar="X,Y",
        ),
    ] = [],
    negative_point: Annotated[
        list[str],
        typer.Option(help="A point on what is not meant; repeatable.", metavar="X,Y"),
    ] = [],
    like: LikeOption = [],
    negative_like: NegativeLikeOption = [],
    tile: TileOption = None,
    overlap: OverlapOption = None,
    once: OnceOption = False,
    threshold: Annotated[
        float,
        typer.Option(help="Objects with a higher score are kept, 0 to 1.", metavar="SCORE"),
    ] = 0.5,
    nms: Annotated[
        float | None,
        typer.Option(
            help="Of a phrase's objects whose masks overlap by more than this intersection over "
            "union, 0 to 1, keep the best alone; 0.7 takes out what is marked twice. By default "
            "all are kept.",
            metavar="IOU",
        ),
    ] = None,
    output: Annotated[
        list[Path] | None,
        output_option(
            "A folder: overlays, one PNG per phrase. A folder whose name ends in masks: a PNG per "
            "object. NAME.jsonl: a line of JSON per picture, masks run-length encoded as in COCO. "
            "NAME.png: the overlay; of several pictures or phrases a contact sheet. With --tile, "
            "NAME.geojson or NAME.gpkg: outlines in the picture's coordinate system. Repeatable. "
            "By default sam3-out.",
            "OUT",
        ),
    ] = None,
    overlay: Annotated[
        bool,
        typer.Option(
            "--overlay/--no-overlay", help="Draw what was found in a folder of overlays, or don't."
        ),
    ] = True,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on where the same command was interrupted."),
    ] = False,
    as_json: Annotated[
        bool,
        json_option("Print one JSON document in COCO's layout, masks run-length encoded."),
    ] = False,
    threads: Threads = None,
) -> None:
    """Find every object that a phrase names or that looks like an example.

    An example is a box or a point on the picture itself or, with --like, a box on another one.

    Prints a table, and writes the picture with masks, boxes and scores on it.
    A picture that cannot be read is skipped; the exit code is 1 then.

    Written as it goes. Of several pictures Ctrl-C (or SIGTERM, or a closed terminal)
    ends it after the one at hand; the same command with --resume goes on.

    [bold]Examples[/bold]

    sam3-tvm segment sam3-cpu photo.jpg --text "yellow school bus"
    sam3-tvm segment sam3-cpu holidays/ --text dog --text ball -o found
    sam3-tvm segment sam3-cpu holidays/ --text dog --nms 0.7 -o masks/ -o dogs.jsonl
    sam3-tvm segment sam3-cpu shelf.jpg --box 40,25,110,180 -o shelf-found.png
    sam3-tvm segment sam3-cpu shelves/ --like one.jpg:40,25,110,180=jar -o jars.jsonl
    sam3-tvm segment sam3-cpu city.tif --tile 1008 --text car -o cars.geojson
    sam3-tvm segment sam3-cpu photo.jpg --text dog --json --no-overlay > dogs.json
    """
    likes = parse_likes(like, negative_like)
    # An example of what isn't meant is taken, or not, when all of its name is known.
    prompts = parse_prompts(text, box, negative_box, point, negative_point, more=bool(likes))
    if not 0 <= threshold <= 1:
        raise UsageError(f"--threshold {threshold:g}: scores lie between 0 and 1")
    if nms is not None and not 0 <= nms <= 1:
        raise UsageError(f"--nms {nms:g}: an intersection over union lies between 0 and 1")
    tiling = parse_tiling(tile, overlap, once)
    if tiling is not None and prompts.points:
        raise UsageError("--point: a picture in tiles takes none; give --box")
    pictures = find_pictures(images)
    from sam3_tvm.batch.journal import Journal, settings
    from sam3_tvm.batch.run import Batch, Failure
    from sam3_tvm.runtime.concepts.detector import PhraseWarning
    from sam3_tvm.runtime.concepts.sharing import share_out

    phrases = [(one, one) for one in prompts.texts]
    looked_for = share_out(phrases, likes)
    if not prompts.boxes and not prompts.points:
        check_likes(looked_for)
    names = [one.name or "visual" for one in looked_for]
    paths = output or [Path("sam3-out")]
    done: list[Outcome] = []
    failed: list[Failure] = []
    cut: dict[str, str] = {}
    with (
        what_to_type(),
        opened_outputs(
            paths, pictures, names, overlay, resume=resume, tiled=tiling is not None
        ) as outputs,
        # With one picture there is nothing to go on with, and it may be cut short.
        Interrupts("this picture")
        if len(pictures) > 1
        else nullcontext(lambda: False) as interrupted,
    ):
        import sam3_tvm

        model: Model = sam3_tvm.load(artifact, threads=threads)
        if prompts.points and not model.manifest.sizes.points:
            source = model.manifest.source
            raise UsageError(
                f"--point: {artifact} was made from {source.checkpoint} ({source.kind}), whose "
                "model takes no points; give --box, or compile from Meta's own model"
            )
        question = _question(prompts, threshold, nms, make_exemplars(model, likes), tiling)
        written = [one.path for one in outputs]
        journal = Journal(paths[0]) if written and len(pictures) > 1 else None
        if resume and journal is None:
            raise UsageError("--resume: a run of one picture, or without -o, can't be gone on with")
        names = file_names(images, pictures)

        def warn(text: str) -> None:
            complain(f"warning: {text}")

        batch = Batch(model, question, pictures, names, outputs, journal, interrupted, warn)
        asked = settings(model.fingerprint, pictures, written, question)
        for outcome in batch.begin(asked, resume):
            cut |= outcome.cut()
            if as_json:
                done.append(outcome)
        with passing(len(pictures), batch.passed) as progress:
            # They are reported once, when all is done.
            warnings.simplefilter("ignore", PhraseWarning)
            for came in batch.run(lambda picture, number: progress.tell(f"{picture}", number)):
                with progress.aside():
                    if isinstance(came, Failure):
                        failed.append(came)
                        complain(f"error: {came.error}")
                        continue
                    cut |= came.cut()
                    if as_json:
                        done.append(came)
                    else:
                        _print_table(came, threshold)
    for path in written:
        if path.is_file() and not as_json:
            say(f"wrote {one_line(f'{path}')}")
    for phrase, read in cut.items():
        complain(long_phrase(phrase, read))
    if as_json:
        say_json(_coco(done, failed, cut, question, model, complete=batch.complete))
    if failed:
        unread = ", ".join(f"{one.picture}" for one in failed)
        complain(f"{len(failed)} of {len(pictures)} pictures failed: {unread}")
    if not batch.complete:
        complain(_how_to_go_on(batch, journal))
        raise typer.Exit(128 + (getattr(interrupted, "signal", None) or signal.SIGINT))
    if failed:
        raise typer.Exit(1)


def _question(
    prompts: Prompts,
    threshold: float,
    nms: float | None,
    examples: Sequence[Exemplar],
    tiling: Tiling | None,
) -> Question:
    from sam3_tvm.batch.outcome import Question

    return Question(
        list(prompts.texts),
        [list(box) for box in prompts.boxes],
        list(prompts.labels),
        [list(point) for point in prompts.points],
        list(prompts.point_labels),
        threshold,
        nms,
        tuple(examples),
        tiling,
    )


def _how_to_go_on(batch: Batch, journal: Journal | None) -> str:
    said = f"interrupted after {batch.passed} of {batch.total} pictures"
    if not batch.can_resume:
        return said
    assert journal is not None, "a run without one cannot be gone on with"
    return (
        f"{said}: what was written is whole; the same command with --resume goes on "
        f"({journal.path} is kept for it)"
    )


def _print_table(outcome: Outcome, threshold: float) -> None:
    height, width = outcome.height, outcome.width
    rows = table(
        *("text", "score", "box (x0, y0, x1, y1)", "area", "mask px"),
        right=("score", "area", "mask px"),
    )
    for prompt in outcome.found:
        label, objects = one_line(prompt["text"]), prompt["objects"]
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
        say(f"wrote {one_line(path)}")


def _coco(
    done: Sequence[Outcome],
    failed: Sequence[Failure],
    cut: Mapping[str, str],
    question: Question,
    model: Model,
    *,
    complete: bool,
) -> dict[str, Any]:
    """What was found as one document in the layout of COCO's annotation files."""
    source = model.manifest.source
    done = sorted(done, key=lambda one: one.number)
    visual = source.reference.visual_text
    phrases = [one.name or visual for one in question.asked()] or [visual]
    numbers = {text: number for number, text in enumerate(phrases, 1)}
    annotations = [
        {
            "id": 0,
            "image_id": image,
            "category_id": numbers[prompt["text"]],
            "iscrowd": 0,
            **one,
        }
        for image, outcome in enumerate(done, 1)
        for prompt in outcome.found
        for one in prompt["objects"]
    ]
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    return {
        "info": {
            "description": f"SAM 3 ({source.checkpoint}) by sam3-tvm {model.manifest.sam3_tvm}",
            "artifact": model.fingerprint,
            "complete": complete,
            **{name: value for name, value in question.described().items() if name != "texts"},
        },
        "images": [
            {
                "id": image,
                "file_name": outcome.file_name,
                "height": outcome.height,
                "width": outcome.width,
                "overlays": outcome.overlays,
            }
            for image, outcome in enumerate(done, 1)
        ],
        "categories": [
            # What is searched of a phrase that is longer than the model reads.
            {"id": number, "name": text, **({"searched": cut[text]} if text in cut else {})}
            for number, text in enumerate(phrases, 1)
        ],
        "annotations": annotations,
        "failed": [{"file_name": one.file_name, "error": f"{one.error}"} for one in failed],
    }
