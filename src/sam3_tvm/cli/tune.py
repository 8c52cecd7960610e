"""``sam3-tvm tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam3_tvm.cli.options import json_option, output_option
from sam3_tvm.cli.terminal import reporting, say, say_json, show, table
from sam3_tvm.errors import as_argument
from sam3_tvm.extras import needed

if TYPE_CHECKING:
    from sam3_tvm.compiler.targets.tuning import Entry
    from sam3_tvm.tune import TuneReport

__all__ = ["command"]


def command(
    budget: Annotated[
        float, typer.Option(help="How long to search, seconds.", metavar="SECONDS", min=1)
    ] = 300.0,
    functions: Annotated[
        str | None,
        typer.Option(
            help="Kernels to tune: strassen (large linear layers), linear, attention, convolution, "
            "separated by commas. By default all.",
            metavar="NAMES",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Threads that compute. By default all physical cores.", min=1),
    ] = None,
    output: Annotated[
        Path | None,
        output_option(
            "The database that gets what was found, for compile --tuned. By default the "
            "one that compile looks in by itself: sam3-tvm/tuned.json in $XDG_CACHE_HOME.",
            "FILE",
        ),
    ] = None,
    as_json: Annotated[
        bool, json_option("Print one JSON document with every trial instead.")
    ] = False,
) -> None:
    """Search the tile sizes that make our kernels fastest on this machine, for compile to use.

    Each candidate must give the results of the defaults, and runs in turn with the best so far.
    A size that gains less than 1 % is not taken. A machine that does nothing else finds more.

    [bold]Examples[/bold]

    sam3-tvm tune
    sam3-tvm tune --budget 60 --functions attention
    sam3-tvm tune -o tuned.json, then sam3-tvm compile facebook/sam3 -o sam3-cpu --tuned tuned.json
    """
    with needed("compile", "tuning"):
        from sam3_tvm.compiler.targets import tuning
        from sam3_tvm.tune import tune
    from sam3_tvm.host import cpu_model

    path = tuning.user_file() if output is None else output
    tuning.check_writable(path)  # what can't be written to later is said now
    names = None if functions is None else [n.strip() for n in functions.split(",") if n.strip()]
    with reporting() as progress:
        report = tune(budget, names, threads, progress)
    tuning.write(path, _entry(report, cpu_model()))
    if as_json:
        say_json({"cpu": cpu_model(), "database": f"{path}", **report.to_json()})
        return
    say(f"{cpu_model()}, {report.level}, {report.threads} threads, {report.seconds:.0f} s")
    _print_trials(report)
    _print_found(report)
    say(f"wrote {path}")
    option = "" if output is None else f" --tuned {as_argument(output)}"
    say(f"next: sam3-tvm compile CHECKPOINT -o DIR{option}")


def _entry(report: TuneReport, cpu: str) -> Entry:
    from datetime import datetime, timezone

    import sam3_tvm
    from sam3_tvm.compiler.targets.tuning import Entry

    return Entry(
        cpu,
        report.level,
        report.tiles,
        {found.family: round(found.gain, 3) for found in report.families},
        report.threads,
        datetime.now(timezone.utc).date().isoformat(),
        sam3_tvm.__version__,
    )


def _print_trials(report: TuneReport) -> None:
    rows = table("kernels", "size", "tried", "speed", "", right=("tried", "speed"))
    for t in report.trials:
        speed = "" if t.speedup is None else f"{t.speedup:.3f}"
        rows.add_row(t.family, t.field, f"{t.value}", speed, t.failed or ("kept" if t.kept else ""))
    show("Tried, beside the best so far", rows)


def _print_found(report: TuneReport) -> None:
    rows = table("kernel", "defaults", "tuned", "gain", right=("defaults", "tuned", "gain"))
    for family in report.families:
        for name, (before, after) in family.kernels.items():
            rows.add_row(
                name, f"{1000 * before:.1f} ms", f"{1000 * after:.1f} ms", f"{before / after:.3f}"
            )
        rows.add_row(f"{family.family}, as kept", "", "", f"{family.gain:.3f}")
        rows.add_section()
    show("Gains", rows)
    for name, value in report.tiles.to_json().items():
        say(f"{name} {value}")
