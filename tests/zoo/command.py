"""The command line of the zoo."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.zoo.entry import Entry
from tests.zoo.families import entries, find
from tests.zoo.measure import Outcome, Trial, in_child
from tests.zoo.table import DOCS, Results, documented, load, markdown, save, summary, terminal

__all__ = ["main"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    only: Annotated[
        list[str] | None, typer.Option(help="Models, or a family, by name or glob; repeatable.")
    ] = None,
    stock: Annotated[bool, typer.Option(help="TVM's own importer as well.")] = False,
    dynamic: Annotated[bool, typer.Option(help="A varying batch as well.")] = False,
    json: Annotated[Path | None, typer.Option(help="Keep the results here as they come.")] = None,
    resume: Annotated[bool, typer.Option(help="Run only what --json does not have yet.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    write_docs: Annotated[bool, typer.Option(help=f"Write the table into {DOCS.name}.")] = False,
    limit: Annotated[float, typer.Option(help="Seconds that one trial may take.")] = 300.0,
    jobs: Annotated[int, typer.Option(min=1, help="Trials at a time.")] = 1,
) -> None:
    """Import models of transformers and torch.nn, and compare each with PyTorch.

    Each model runs in a process of its own, on other input than it was traced with.
    The exit code is 1 if any that torch.export can trace is not right.
    """
    if context.invoked_subcommand is not None:
        return
    chosen = _chosen(only)
    if resume and json is None:
        _refuse("--resume goes on from a file of results: name it with --json")
    if write_docs and (only or not (stock and dynamic)):
        _refuse("--write-docs writes the whole table: with --stock --dynamic, without --only")
    kept = load(json) if resume and json and json.exists() else {}
    trials = [
        Trial(entry.name, of_stock, of_batch)
        for entry in chosen
        for of_batch in ((False, True) if dynamic else (False,))
        for of_stock in ((False, True) if stock else (False,))
    ]
    results = _run(trials, kept, json, limit, jobs)
    if write_docs:
        page = DOCS.read_text(encoding="utf-8")
        DOCS.write_text(documented(page, markdown(chosen, results)), encoding="utf-8")
    if as_markdown:
        sys.stdout.write(markdown(chosen, results) + "\n")
    else:
        console = Console(width=None if sys.stdout.isatty() else 200, markup=False)
        console.print(terminal(chosen, results))
        for line in summary(chosen, results):
            console.print(line)
    ours = [results[trial] for trial in trials if not trial.stock]
    raise typer.Exit(any(o.kind not in ("right", "none", "refused") for o in ours))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def operators(context: typer.Context) -> None:
    """The operators that the importer knows, and how each is served."""
    from tests.zoo import operators as table

    raise typer.Exit(table.main(context.args))


def _refuse(problem: str) -> None:
    print(f"error: {problem}", file=sys.stderr)
    raise typer.Exit(2)


def _chosen(only: Sequence[str] | None) -> Sequence[Entry]:
    if not only:
        return entries()
    wanted = {entry.name for pattern in only for entry in find(pattern)}
    for pattern in only:
        if not find(pattern):
            _refuse(f"no model and no family is called {pattern!r}; try a glob such as 'SAM*'")
    return [entry for entry in entries() if entry.name in wanted]


def _run(
    trials: Sequence[Trial], kept: Results, path: Path | None, limit: float, jobs: int
) -> Results:
    """Run what is missing, with a bar; results are kept as they come."""
    results: dict[Trial, Outcome] = dict(kept)
    missing = [trial for trial in trials if trial not in results]
    bar = Progress(
        TextColumn("{task.description:<44.44}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    with bar, ThreadPoolExecutor(jobs) as pool:
        task = bar.add_task("", total=len(missing))

        def run(trial: Trial) -> tuple[Trial, Outcome]:
            how = " (TVM)" if trial.stock else ""
            bar.update(task, description=trial.name + (" at any batch" * trial.dynamic) + how)
            return trial, in_child(trial, limit)

        for done in as_completed([pool.submit(run, trial) for trial in missing]):
            trial, results[trial] = done.result()
            bar.advance(task)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                save(path, results)
    return results


def main() -> None:
    """The entry point of ``python -m tests.zoo``."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    app(prog_name="python -m tests.zoo")
