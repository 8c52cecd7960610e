"""The commands of ``python -m training``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from sam3_tvm.errors import Sam3Error

__all__ = ["main"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=False)

CHECKPOINT = Path("checkpoints/shapes")
RUN = Path("out/training")

_SHOWN = ("loss", "class", "presence", "l1", "giou", "mask", "dice", "seconds")


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
    output: Annotated[Path, typer.Option("-o", "--output", help="Checkpoint folder.")] = CHECKPOINT,
    run_folder: Annotated[Path, typer.Option("--run", help="State and log.")] = RUN,
    resume: Annotated[bool, typer.Option(help="Go on with the run that was stopped.")] = False,
    minutes: Annotated[float | None, typer.Option(help="Stop after so long.")] = None,
    seed: Annotated[int, typer.Option(help="Of the weights and the scenes.")] = 0,
) -> None:
    """Train the model of coloured shapes, and export it when the last stage is done."""
    if context.invoked_subcommand is not None:
        return
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
        train(run, run_folder, watch, minutes)


def main() -> None:
    """Run the command line; one line and exit code 2 for what the user can mend."""
    try:
        app()
    except Sam3Error as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
