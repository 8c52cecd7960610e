"""``sam3-tvm doctor``."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sam3_tvm.cli.options import JsonForAll
from sam3_tvm.cli.terminal import (
    Table,
    byte_size,
    complain,
    reporting,
    say,
    say_json,
    show,
    table,
)
from sam3_tvm.extras import EXTRAS

if TYPE_CHECKING:
    from sam3_tvm.lessons.lesson import LessonReport, Outcome
    from sam3_tvm.machine import Machine, Package

__all__ = ["command"]

# What each ability imports; the last of each is this package's own part.
_TO_RUN = ("numpy", "PIL", "tokenizers", "safetensors", "pycocotools.mask", "tvm_ffi")
_TO_COMPILE = (*EXTRAS["compile"], "sam3_tvm.compiler")

# What a package that is there but broken raises: a shared library that does not load, names
# that another version has.
_BROKEN = (ImportError, OSError, RuntimeError, AttributeError)

# A table stays readable with this much of an error's text; --json has all of it.
_DETAIL = 70


def command(
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out the lessons, which take about a minute.")
    ] = False,
    cases: Annotated[
        bool, typer.Option("--cases", help="List every case of every lesson.")
    ] = False,
    as_json: JsonForAll = False,
) -> None:
    """Say what this machine and these versions can do, lesson by lesson.

    A lesson is a fault on the way from PyTorch to TVM. Its cases are run through
    the installed TVM's own importer and through ours, and compared with PyTorch.
    Where only the runtime is installed, only running is examined.
    The exit code is 1 if artifacts cannot be run here, or if ours fails a lesson.

    [bold]Examples[/bold]

    sam3-tvm doctor
    sam3-tvm doctor --cases
    sam3-tvm doctor --quick --json
    """
    from sam3_tvm import machine

    here, found, (linker, about) = machine.describe(), machine.packages(), machine.linker()
    cannot_run = _problems(_TO_RUN)
    cannot_film = _problems(("av",))
    cannot_follow_phrases = _problems(("scipy.ndimage",))
    cannot_import = _problems(_TO_COMPILE)
    cannot_link = [] if linker else [about]
    cannot_compile = list(dict.fromkeys([*cannot_run, *cannot_import, *cannot_link]))
    lessons = None if quick or cannot_import else _run_lessons()
    failed = [r.lesson.id for r in lessons or () if not r.holds]
    if as_json:
        document = {
            "machine": asdict(here),
            "packages": [{**asdict(p), "as_tested": p.as_tested} for p in found],
            "linker": linker,
            "run": {"works": not cannot_run, "problems": cannot_run},
            "video": {"works": not cannot_film, "problems": cannot_film},
            "video_by_phrase": {
                "works": not cannot_follow_phrases,
                "problems": cannot_follow_phrases,
            },
            "compile": {"works": not cannot_compile, "problems": cannot_compile},
            "lessons": None if lessons is None else list(map(_lesson_json, lessons)),
        }
        say_json(document)
    else:
        show("This machine", _machine_table(here, linker))
        show("Versions", _package_table(found))
        _say_what_works("run artifacts", cannot_run)
        _say_what_works("read and write video files", cannot_film)
        _say_what_works("follow phrases through videos", cannot_follow_phrases)
        _say_what_works("compile checkpoints", cannot_compile)
        if lessons is not None:
            say("")
            show("Lessons", _case_table(lessons) if cases else _lesson_table(lessons))
        elif not quick:
            say("lessons: not run, since they need what compiling needs")
    if failed:
        ids = ", ".join(map(str, failed))
        complain(f"ours fails in lesson {ids}: install the tested versions, or report it")
    if cannot_run or failed:
        raise typer.Exit(1)


def _problems(modules: Sequence[str]) -> list[str]:
    """Why these modules can't be imported, a line each; empty if all can."""
    missing: dict[str, list[str]] = {}
    broken = []
    for name in modules:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            top = (error.name or name).partition(".")[0]
            extra = next((name for name in ("compile", "video") if top in EXTRAS[name]), None)
            package = "sam3-tvm" if extra is None else f"sam3-tvm[{extra}]"
            if top not in missing.setdefault(package, []):
                missing[package].append(top)
        except _BROKEN as error:
            broken.append(f"{name} is installed but does not load: {' '.join(f'{error}'.split())}")
    absent = [
        f"not installed: {', '.join(names)}; pip install '{package}'"
        for package, names in missing.items()
    ]
    return absent + broken


def _run_lessons() -> list[LessonReport]:
    from sam3_tvm.lessons.running import run_lessons

    with reporting() as progress:
        return run_lessons(progress)


def _machine_table(here: Machine, linker: str | None) -> Table:
    rows = table("", "")
    memory = "unknown" if here.memory_bytes is None else byte_size(here.memory_bytes)
    for name, value in {
        "system": f"{here.system}, Python {here.python}",
        "CPU": here.cpu,
        "CPU level": here.level,
        "bfloat16": _bfloat16(here),
        "int8": "multiplied by this CPU: compile --compute int8 uses it"
        if here.int8
        else "no instruction of its own here: compile --compute int8 makes do with others",
        **_refusal(here),
        "cores": f"{here.cores}",
        "memory": memory,
        "C compiler": linker or "none that links",
    }.items():
        rows.add_row(name, value)
    return rows


def _bfloat16(here: Machine) -> str:
    """What bfloat16 brings on a machine."""
    if here.tiles:
        # Two cores of such a Xeon, SAM 3's size (docs/benchmarks.md).
        return (
            "multiplied by this CPU in tiles (AMX): compile --compute bfloat16 uses it, and "
            "encodes a picture in about a fifth of float32's time"
        )
    if here.bfloat16:
        return "multiplied by this CPU: compile --compute bfloat16 uses it"
    return "not multiplied by this CPU: compile --compute bfloat16 saves memory here, no time"


def _refusal(here: Machine) -> dict[str, str]:
    """A row of what the system doesn't grant, where there is anything."""
    if not here.refused:
        return {}
    names = ", ".join(here.refused)
    return {"refused": f"{names}: this CPU has it, but the system grants no tile registers"}


def _package_table(found: Sequence[Package]) -> Table:
    rows = table("package", "tested", "installed", "", "needed to")
    for package in found:
        verdict = "ok" if package.as_tested else "not tested"
        rows.add_row(
            package.name,
            package.tested,
            package.installed or "none",
            verdict if package.installed else "missing",
            package.extra or "run",
        )
    return rows


def _say_what_works(what: str, problems: Sequence[str]) -> None:
    say(f"{what}: {'yes' if not problems else 'no'}")
    for problem in problems:
        say(f"  {problem}")


def _lesson_table(lessons: Sequence[LessonReport]) -> Table:
    """A row per lesson: how its cases end, and one that ends badly in the installed TVM."""
    rows = table("", "lesson", "this TVM by itself", "for example", "sam3-tvm")
    for report in lessons:
        faults = [c for c in report.cases if not c.stock.right]
        example = f"{faults[0].case.name}: {_outcome(faults[0].stock)}" if faults else ""
        rows.add_row(
            f"{report.lesson.id}",
            report.lesson.title,
            _count([c.stock for c in report.cases]),
            _cut(example),
            _count([c.ours for c in report.cases]),
        )
    return rows


def _case_table(lessons: Sequence[LessonReport]) -> Table:
    """A row per case."""
    rows = table("", "lesson", "case", "this TVM by itself", "sam3-tvm")
    for report in lessons:
        for number, case in enumerate(report.cases):
            first = (f"{report.lesson.id}", report.lesson.title) if number == 0 else ("", "")
            rows.add_row(
                *first, case.case.name, _cut(_outcome(case.stock)), _cut(_outcome(case.ours))
            )
        rows.add_section()
    return rows


def _count(outcomes: Sequence[Outcome]) -> str:
    """How outcomes divide: ``right``, or the like of ``2 right, 1 error``."""
    kinds = Counter(outcome.kind for outcome in outcomes)
    if len(kinds) == 1:
        return next(iter(kinds))
    return ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())


def _outcome(outcome: Outcome) -> str:
    return f"{outcome.kind}: {outcome.detail}" if outcome.detail else outcome.kind


def _cut(text: str) -> str:
    return text if len(text) <= _DETAIL else text[: _DETAIL - 4] + " ..."


def _lesson_json(report: LessonReport) -> dict[str, Any]:
    return {
        "id": report.lesson.id,
        "title": report.lesson.title,
        "fault_remains": report.fault_remains,
        "holds": report.holds,
        "cases": [
            {"name": c.case.name, "stock": asdict(c.stock), "ours": asdict(c.ours)}
            for c in report.cases
        ],
    }
