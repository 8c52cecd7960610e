"""The command line of the emulated machines."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from sam3_tvm import host
from sam3_tvm.errors import Sam3Error
from tests.emulated.machines import Machine, aarch64, x86_64
from tests.emulated.system import SetupError, packages, python_of, root
from tests.emulated.table import markdown
from tests.emulated.trials import ARM, X86, Outcome, Refusal, Trial, refuse, run

__all__ = ["main"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    which: Annotated[
        list[str] | None, typer.Argument(help="aarch64, x86-64; both by default.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="For all that is made.")] = Path("out/emulated"),
    root_folder: Annotated[
        Path | None,
        typer.Option(
            "--root", help="A root file system of AArch64 with Python, instead of a Debian."
        ),
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Artifacts with this in their names alone, such as int8.")
    ] = None,
) -> None:
    """Run artifacts of the demonstration model on emulated processors, beside this one.

    What isn't there yet is set up and compiled: a root file system, packages, artifacts. All
    must give what this machine gives, within the bounds of verify, or be refused in one line.
    The exit code is 1 if anything doesn't.
    """
    families = {"aarch64": ARM, "x86-64": X86}
    if unknown := [name for name in which or () if name not in families]:
        raise SetupError(f"{unknown[0]!r} is none of {', '.join(families)}")
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise SetupError("this compares with x86-64 on Linux, and runs there alone")
    # What is missing is told before the first artifact is compiled.
    planned = [
        (trial, machine(trial.cpu))
        for family in which or families
        for machine in [_arm(folder, root_folder) if family == "aarch64" else x86_64]
        for trial in families[family]
        if only is None or only in trial.built.name
    ]
    if not planned:
        raise SetupError(f"no artifact's name has {only!r} in it")
    _compile([trial for trial, _ in planned], folder / "artifacts")
    outcomes: list[Outcome] = []
    for trial, machine in planned:
        outcomes.append(_one(trial, machine, folder))
        text = markdown(outcomes)
        (folder / "results.json").write_text(json.dumps([*map(asdict, outcomes)], indent=1) + "\n")
        (folder / "results.md").write_text(text)
    _say(f"\n{text}")
    wrong = [one for one in outcomes if not one.right]
    for one in wrong:
        _say(f"wrong: {one.target} {one.arithmetic} on {one.cpu}: {one.said}")
    _say(f"{len(outcomes) - len(wrong)} passed, {len(wrong)} failed")
    if wrong:
        raise typer.Exit(1)


def _arm(folder: Path, root_folder: Path | None) -> Callable[[str], Machine]:
    """What makes machines of AArch64, with all that they need."""
    _say("AArch64: root file system and packages")
    there = root(folder / "root") if root_folder is None else root_folder
    python, version = python_of(there)
    site = packages(folder / f"packages-{version}", version)
    return cache(lambda cpu: aarch64(cpu, there, python, site))


def _compile(trials: Sequence[Trial | Refusal], folder: Path) -> None:
    """All artifacts that aren't there yet, as many at a time as there are processors."""
    wanted = {trial.built for trial in trials}
    wanted |= {trial.reference for trial in trials if isinstance(trial, Trial)}
    missing = [one for one in wanted if not (folder / one.name / "manifest.json").is_file()]
    if not missing:
        return
    _say(f"to compile: {', '.join(sorted(one.name for one in missing))}")
    with ThreadPoolExecutor(min(4, host.cores())) as pool:
        for made in as_completed([pool.submit(one.folder, folder) for one in missing]):
            _say(f"  {made.result().name}")


def _one(trial: Trial | Refusal, machine: Machine, folder: Path) -> Outcome:
    _say(f"{trial.built.name} on {trial.cpu}")
    if isinstance(trial, Refusal):
        return refuse(trial, machine, folder, _say)
    return run(trial, machine, folder, _say)


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """The command, whose errors for users are one line and exit code 2."""
    try:
        app()
    except Sam3Error as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None
