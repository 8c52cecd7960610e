"""``sam3-tvm track``."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam3_tvm.cli.advice import warnings_in_a_line, what_to_type
from sam3_tvm.cli.interrupts import Interrupts
from sam3_tvm.cli.options import ArtifactFolder, Threads, json_option, output_option
from sam3_tvm.cli.paths import local_path
from sam3_tvm.cli.terminal import complain, counting, say_json
from sam3_tvm.cli.track.prompts import parse_passage, parse_shown
from sam3_tvm.cli.track.summary import print_table, summary
from sam3_tvm.files import output_folder

if TYPE_CHECKING:
    from sam3_tvm.film.checkpoint import WorkFolder
    from sam3_tvm.film.run import Run
    from sam3_tvm.runtime import Model

__all__ = ["command"]


def command(
    artifact: ArtifactFolder,
    video: Annotated[
        Path,
        typer.Argument(
            help="A video file, or a folder of pictures.", metavar="VIDEO", parser=local_path
        ),
    ],
    text: Annotated[
        list[str],
        typer.Option(
            help="A phrase: all that it names is found on every frame, and followed. Repeatable.",
            metavar="PHRASE",
        ),
    ] = [],
    box: Annotated[
        list[str],
        typer.Option(
            help="A box around an object, in the frame's pixels. Each is an object of its own, "
            "numbered from 1, unless :ID says which.",
            metavar="X0,Y0,X1,Y1[@FRAME][:ID]",
        ),
    ] = [],
    point: Annotated[
        list[str],
        typer.Option(
            help="A point on the object; :ID is needed where there are several objects.",
            metavar="X,Y[@FRAME][:ID]",
        ),
    ] = [],
    negative_point: Annotated[
        list[str],
        typer.Option(help="A point beside the object.", metavar="X,Y[@FRAME][:ID]"),
    ] = [],
    mask: Annotated[
        list[str],
        typer.Option(
            help="A picture of the frame's size, the object light on black. Each is an object of "
            "its own unless :ID says which.",
            metavar="FILE[@FRAME][:ID]",
        ),
    ] = [],
    output: Annotated[
        list[Path] | None,
        output_option(
            "NAME.mp4: the video with the masks on it. NAME.jsonl: a line of JSON per frame, "
            "masks run-length encoded as in COCO. NAME.png: a contact sheet. A folder: a PNG per "
            "frame and object. Repeatable. By default sam3-out/VIDEO.mp4.",
            "OUT",
        ),
    ] = None,
    backward: Annotated[
        bool,
        typer.Option("--backward", "--reverse", help="Follow towards the film's beginning."),
    ] = False,
    both: Annotated[
        bool,
        typer.Option(
            "--both",
            help="Follow backward, then forward, from the first prompt (of --text alone from "
            "--start).",
        ),
    ] = False,
    start: Annotated[
        int | None,
        typer.Option(
            help="The frame at which to begin; by default the first (with --backward the last) "
            "on which an object is shown; with --text the film's.",
            metavar="FRAME",
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(help="How many frames to pass at most in a direction.", metavar="N"),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            help="Frames per second of NAME.mp4; by default the film's, of a folder 25.",
            metavar="FPS",
        ),
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Give the results of --text at once, not some frames later, when what turned out "
            "to be no object is left out.",
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on where the same command was interrupted."),
    ] = False,
    as_json: Annotated[bool, json_option("Print the summary as one JSON document.")] = False,
    threads: Threads = None,
) -> None:
    """Follow the objects that phrases name, or that are boxed, clicked or masked.

    What --text finds comes and goes; each object has a number of its own, from 0,
    that none has after it. What is boxed, clicked or masked stays beside it.

    @FRAME at a prompt's end says on which frame it is, from 0; by default it is
    --start, or 0. :ID says of which object, from 1. On a later frame a prompt is
    a correction.

    Written as it goes. Ctrl-C (or SIGTERM, or a closed terminal) ends it after the
    frame at hand, with all whole; the same command with --resume goes on.

    [bold]Examples[/bold]

    sam3-tvm track sam3-cpu dance.mp4 --box 120,40,260,400 -o tracked.mp4
    sam3-tvm track sam3-cpu dance.mp4 --text dog --text ball -o out.mp4 -o x.jsonl
    sam3-tvm track sam3-cpu dance.mp4 --text dog --box 120,40,260,400 --live
    sam3-tvm track sam3-cpu dance.mp4 --point 180,150 --negative-point 90,80
    sam3-tvm track sam3-cpu dance.mp4 --box 20,40,60,90 --box 9,5,30,60@75
    sam3-tvm track sam3-cpu dance.mp4 --box 20,40,60,90 --point 44,61@120
    sam3-tvm track sam3-cpu frames/ --mask dog.png@30 --both -o masks -o x.jsonl
    """
    from sam3_tvm.film.outputs.opening import open_outputs
    from sam3_tvm.film.passage import check_fits

    shown = parse_shown(box, point, negative_point, mask, start or 0, text)
    paths = output or [Path("sam3-out") / f"{video.stem or 'video'}.mp4"]
    with what_to_type(), output_folder(None if output else paths[0].parent, []):
        outputs = open_outputs(paths, video, fps, resume)

        import sam3_tvm
        from sam3_tvm.film.checkpoint import WorkFolder
        from sam3_tvm.film.run import Run
        from sam3_tvm.film.settings import settings
        from sam3_tvm.runtime.video.open import open_frames
        from sam3_tvm.runtime.video.passes import last_frame

        with open_frames(video) as film, warnings_in_a_line():

            def last() -> int:
                return last_frame(film)

            passage = parse_passage(shown, start, frames, backward, both, text, live, last)
            check_fits(shown, film)
            model: Model = sam3_tvm.load(artifact, threads=threads)
            session = model.track(film, live=live)
            folder = WorkFolder(paths[0], settings(model.fingerprint, video, passage, paths, fps))
            saved = folder.load(outputs) if resume else None
            with Interrupts("this frame") as interrupted:
                done = saved.counts["frames"] if saved else 0
                with counting("frames", passage.total(film.count), done) as report:
                    run = Run(session, film, passage, outputs, folder, interrupted, report)
                    complete = run.carry_out(saved)
            if as_json:
                say_json(summary(run.tally, model, film, passage, paths, complete))
            else:
                print_table(run.tally, video, film, paths, passage.phrases)
    _exit(run, complete, video, folder, 128 + (interrupted.signal or signal.SIGINT))


def _exit(run: Run, complete: bool, video: Path, folder: WorkFolder, interrupted: int) -> None:
    """Say what wasn't done, if anything, and leave with the code for that.

    Raises:
        Exit: ``interrupted`` after one, 1 where the film ended before something was shown.
    """
    if not complete:
        complain(_how_to_go_on(run, folder))
        raise typer.Exit(interrupted)
    if unheard := run.unheard():
        first = unheard[0]
        complain(
            f"object {first.object_id} is shown on frame {first.frame}, which {video} turned out "
            f"not to have: it ended after frame {run.last}"
        )
        raise typer.Exit(1)


def _how_to_go_on(run: Run, folder: WorkFolder) -> str:
    if run.can_resume:
        return (
            f"interrupted after frame {run.last}: what was written is whole; the same command "
            f"with --resume goes on ({folder.path} is kept for it)"
        )
    if not run.tally.frames:
        return "interrupted before the first frame was found: nothing is written"
    return (
        f"interrupted: what came of the backward pass is written, {run.tally}; "
        "a backward pass cannot be resumed"
    )
