"""The commands of ``python -m training``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sam3_tvm.cli.terminal import complain, reporting, say
from sam3_tvm.errors import Sam3Error
from sam3_tvm.files import OutputFile

__all__ = ["main"]


class _Commands(TyperGroup):
    """Turns the errors meant for users into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Sam3Error as error:
            complain(f"error: {error}")
            raise typer.Exit(2) from error


app = typer.Typer(cls=_Commands, add_completion=False, pretty_exceptions_enable=False)

CHECKPOINT = Path("checkpoints/shapes")
RUN = Path("out/training")
TRACKER_RUN = Path("out/training-tracker")

Output = Annotated[Path, typer.Option("-o", "--output", help="Checkpoint folder to write.")]
RunFolder = Annotated[Path, typer.Option("--run", help="Folder of the run's state and log.")]
Resume = Annotated[bool, typer.Option(help="Go on with the run that was stopped.")]
Minutes = Annotated[float | None, typer.Option(help="Stop after so long.")]
Columns = Annotated[int, typer.Option(min=1, help="Scenes side by side.")]
Rows = Annotated[int, typer.Option(min=1, help="Scenes one below the other.")]
SceneSeed = Annotated[int, typer.Option(min=0, help="Equal seeds give equal scenes.")]

_SHOWN = ("loss", "class", "presence", "l1", "giou", "mask", "focal", "dice", "there", "seconds")


@contextmanager
def _watching() -> Iterator[Callable[[str, int, int, dict[str, float]], None]]:
    """A progress bar, and a line for each validation; lines alone where nobody watches."""
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True, markup=False, highlight=False)
    bar = progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("training", total=None)

        def watch(stage: str, done: int, total: int, figures: dict[str, float]) -> None:
            if stage == "validation" or not console.is_terminal:
                chosen = (
                    figures
                    if stage == "validation"
                    else {name: figures[name] for name in _SHOWN if name in figures}
                )
                text = "  ".join(f"{name} {value:.3f}" for name, value in chosen.items())
                console.print(f"{done:6d}  {stage}: {text}", soft_wrap=True)
            if stage != "validation":
                loss = figures.get("loss", 0.0)
                bar.update(
                    task, description=f"{stage}, loss {loss:.2f}", completed=done, total=total
                )

        yield watch


@app.callback(invoke_without_command=True)
def train_command(
    context: typer.Context,
    output: Output = CHECKPOINT,
    run_folder: RunFolder = RUN,
    resume: Resume = False,
    minutes: Minutes = None,
    seed: Annotated[int, typer.Option(help="Of the weights and the scenes.")] = 0,
) -> None:
    """Train the model of coloured shapes, and export it when the last stage is done."""
    if context.invoked_subcommand is not None:
        return
    from training.export import export
    from training.stages import STAGES
    from training.tokenizer import train_tokenizer
    from training.train import Run, train

    state = run_folder / "run.pt"
    if resume:
        run = Run.load(state, STAGES)
    elif state.exists():
        raise Sam3Error(f"{state} holds a run; go on with --resume, or remove it to begin anew")
    else:
        run = Run(train_tokenizer().to_str(), STAGES, seed)
    with _watching() as watch:
        done = train(run, run_folder, watch, minutes)
    if done:
        export(run, output)
        say(f"wrote {output}")
    else:
        say(f"stopped at step {run.step}; go on with: python -m training --resume")


@app.command("export")
def export_command(
    output: Output = CHECKPOINT,
    run_folder: RunFolder = RUN,
    report: Annotated[
        Path | None,
        typer.Option(help="What sam3-tvm evaluate -o wrote, for the model card."),
    ] = None,
) -> None:
    """Write a run's averaged weights as a checkpoint folder."""
    from training.export import export
    from training.stages import STAGES
    from training.train import Run

    figures = _read_json(report, {"figures", "pictures"}, "sam3-tvm evaluate")
    export(Run.load(run_folder / "run.pt", STAGES), output, figures)
    say(f"wrote {output}")


@app.command("tracker")
def tracker_command(
    checkpoint: Annotated[
        Path, typer.Option("-o", "--output", help="Checkpoint folder, which gets the tracker.")
    ] = CHECKPOINT,
    run_folder: RunFolder = TRACKER_RUN,
    resume: Resume = False,
    minutes: Minutes = None,
    begin: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="STAGE", help="Begin with this stage and the checkpoint's tracker."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the weights and the clips.")] = 0,
    export: Annotated[
        bool, typer.Option("--export", help="Only write what has been learned so far.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(help="With --export: what python -m training clips wrote, for the card."),
    ] = None,
) -> None:
    """Train the tracker beside the checkpoint's detector, which stays as it is, and add it."""
    from training.tracking.export import add_tracker, read_tracker
    from training.tracking.plot import plot_log
    from training.tracking.stages import STAGES
    from training.tracking.train import TrackerRun, load_detector, train_tracker

    state = run_folder / "run.pt"
    if report is not None and not export:
        raise Sam3Error("--report goes with --export")
    if begin is not None and (resume or export):
        raise Sam3Error("--from begins a run; it doesn't go with --resume or --export")
    measured = _read_json(report, {"figures", "clips"}, "python -m training clips")
    detector = load_detector(checkpoint)
    if resume or export:
        run = TrackerRun.load(state, detector, STAGES)
    elif state.exists():
        raise Sam3Error(f"{state} holds a run; go on with --resume, or remove it to begin anew")
    else:
        run = TrackerRun(detector, STAGES, seed)
        if begin is not None:
            run.begin_at(begin, read_tracker(checkpoint))
    done = export
    if not export:
        with _watching() as watch:
            done = train_tracker(run, run_folder, watch, minutes)
        plot_log(run_folder / "log.jsonl", run_folder / "log.png")
        say(f"wrote {run_folder / 'log.png'}")
    if done:
        add_tracker(run, checkpoint, measured)
        say(f"wrote {checkpoint}")
    else:
        say(f"stopped at step {run.step}; go on with: python -m training tracker --resume")


@app.command("clips")
def clips_command(
    artifact: Annotated[Path, typer.Argument(help="What sam3-tvm compile wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file to write.")],
    count: Annotated[int, typer.Option(min=1, help="Number of clips.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal clips.")] = 11,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that share the work.")] = 1,
) -> None:
    """Measure a compiled model on held-out clips, by phrase, click and box."""
    from training.tracking.evaluate import evaluate

    file = OutputFile(output, "-o")  # what can't be written to later is said now
    with reporting(lines=False) as progress:
        measured = evaluate(
            artifact, count, seed, jobs, lambda done, total: progress("clips", done, total)
        )
    file.write_text(json.dumps(measured, indent=2) + "\n")
    for way, of in measured["figures"].items():
        say("  ".join([f"{way:8}", *(f"{k} {v:.3f}" for k, v in of.items() if k != "objects")]))
    say(f"absent phrases without an answer: {measured['absent']['silent']} of {count}")


@app.command("draw")
def draw_command(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write, a new one.")],
    count: Annotated[int, typer.Option(min=1, help="Number of scenes.")] = 500,
    seed: SceneSeed = 1,
    size: Annotated[int, typer.Option(min=64, help="Side of the pictures in pixels.")] = 192,
) -> None:
    """Draw held-out scenes with annotations and prompts, for sam3-tvm evaluate."""
    from training.dataset import write_dataset

    try:
        with reporting(lines=False) as progress:
            write_dataset(output, count, seed, size, progress)
    except OSError as error:
        raise Sam3Error(str(error)) from error
    say(f"wrote {count} scenes to {output}")


@app.command("exemplars")
def exemplars_command(
    artifact: Annotated[Path, typer.Argument(help="An artifact of the demonstration model.")],
    pairs: Annotated[int, typer.Option(min=1, help="Pairs with the kind, and as many without.")] = (
        300
    ),
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal pairs.")] = 1,
    way: Annotated[
        list[str] | None, typer.Option(help="One of the rows alone; repeatable.")
    ] = None,
) -> None:
    """Measure what examples on other pictures are worth, on pairs of held-out scenes."""
    import sam3_tvm
    from training.exemplars import WAYS, measure

    if unknown := [one for one in way or () if one not in WAYS]:
        raise Sam3Error(f"--way {unknown[0]!r}: there are {', '.join(WAYS)}")
    with reporting(lines=False) as progress:
        found = measure(sam3_tvm.load(artifact), pairs, seed, way or WAYS, progress)
    say("| what is given | F1 | precision | recall | absent kinds rejected | false finds there |")
    say("|---|---|---|---|---|---|")
    for name, measured in found.items():
        present, absent = measured.figures()
        there = f"{present.f1:.3f} | {present.precision:.3f} | {present.recall:.3f}"
        gone = f"{absent.rejected:.3f} | {absent.predictions}" if absent.prompts else " | "
        say(f"| {WAYS[name]} | {there} | {gone} |")


@app.command("mosaic")
def mosaic_command(
    output: Annotated[Path, typer.Option("-o", "--output", help="NAME.tif or NAME.png to write.")],
    columns: Columns = 20,
    rows: Rows = 10,
    seed: SceneSeed = 1,
) -> None:
    """Draw many scenes as one large picture; 20 x 10 of them are 12,000 x 9,000 pixels."""
    from training.mosaic import Mosaic

    mosaic = Mosaic(columns, rows, seed)
    with reporting(lines=False) as progress:
        mosaic.write(output, progress)
    say(f"wrote {output}: {mosaic.size[1]} x {mosaic.size[0]} pixels")


@app.command("tiles")
def tiles_command(
    artifact: Annotated[Path, typer.Argument(help="An artifact of the demonstration model.")],
    picture: Annotated[
        Path | None, typer.Argument(help="What mosaic wrote; without it the scenes one by one.")
    ] = None,
    columns: Columns = 20,
    rows: Rows = 10,
    seed: SceneSeed = 1,
    tile: Annotated[int, typer.Option(min=32, help="The tiles' side in pixels.")] = 500,
    overlap: Annotated[float, typer.Option(help="The share of a side.")] = 0.15,
    once: Annotated[bool, typer.Option("--once", help="Look at nothing again.")] = False,
    centred: Annotated[
        bool,
        typer.Option("--centred", help="A tile of 500 to 600 pixels around each scene instead."),
    ] = False,
) -> None:
    """Measure what tiles find in a mosaic, or a model in its scenes, and the peak memory."""
    import sam3_tvm
    from sam3_tvm.tiles import Tiling
    from training.mosaic import (
        Mosaic,
        measure_centred,
        measure_scenes,
        measure_tiles,
        peak_megabytes,
    )

    if centred and not (picture is not None and 500 <= tile <= 600):
        raise Sam3Error("--centred takes what mosaic wrote, and a --tile of 500 to 600 pixels")

    model, mosaic = sam3_tvm.load(artifact), Mosaic(columns, rows, seed)
    with reporting(lines=False) as progress:
        if picture is None:
            found = measure_scenes(model, mosaic, progress)
        elif centred:
            found = measure_centred(model, picture, mosaic, tile, progress)
        else:
            found = measure_tiles(model, picture, mosaic, Tiling(tile, overlap, not once), progress)
    say(
        f"F1 {found.f1:.3f}, precision {found.precision:.3f}, recall {found.recall:.3f}, IoU "
        f"{found.matched_iou:.3f} of {found.targets} objects; peak {peak_megabytes():.0f} MB"
    )


def _read_json(path: Path | None, names: set[str], writer: str) -> dict[str, Any] | None:
    """A report, which has these names; None for none."""
    if path is None:
        return None
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Sam3Error(f"{path}: no readable report ({error})") from error
    if not isinstance(report, dict) or not names <= set(report):
        raise Sam3Error(f"{path} is no report of {writer}")
    return report


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: one line and exit code 2 for what the user can mend.

    Args:
        arguments: instead of those of the process.
    """
    app(arguments, prog_name="python -m training")
