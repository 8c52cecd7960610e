"""Which versions work together: a table of combinations by what each can do.

    python tools/versions.py --artifact out/shapes             # the runtime, by each Python here
    python tools/versions.py --artifact out/shapes --compile   # and the compiler
    python tools/versions.py --python 3.12 --compile --steps doctor,compile,verify,tests

Each Python gets an environment of its own, below ``--work``. Into it goes this tree with the
versions that pyproject.toml asks for; then single packages are put in the place of those, beyond
the pins, as a user with ``pip install --no-deps`` would (torch with what it asks for), and
put back afterwards. What a step said last is kept as its reason; of tests, how many passed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
# Beside what pyproject.toml asks for, which resolves to the newest that it allows.
RUNTIME = ((), ("apache-tvm-ffi==0.1.14.post1",), ("apache-tvm-ffi==0.1.15.post1",))
COMPILER = (
    (),
    ("apache-tvm-ffi==0.1.14.post1",),
    ("apache-tvm-ffi==0.1.15.post2",),
    ("transformers==5.23.0",),
    ("torch==2.14.1",),
    ("torch==2.13.0",),
)

# As make test has it.
PYTEST = ("--rootdir", f"{ROOT}", "-n", "logical", "--maxprocesses", "4", "--dist", "worksteal")

# As make setup-dev has it.
META = "sam3==0.1.4"

RUN = """
import sys, sam3_tvm
model = sam3_tvm.load(sys.argv[1])
result = model.segment(sys.argv[2], text="green hexagons")
assert len(result.scores) == 3, result
print(result)
"""


@dataclass
class Outcome:
    """One combination, and what each step came to: ``yes``, or why not in a line."""

    python: str
    changed: str
    compiler: bool
    steps: dict[str, str] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the combinations; prints a table in Markdown, and writes all as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--python", action="append", help="such as 3.12; by default all that are here"
    )
    parser.add_argument(
        "--only", action="append", help="combinations alone whose change has this in it"
    )
    parser.add_argument(
        "--compile", action="store_true", help="with the extra [dev] instead of the base"
    )
    parser.add_argument(
        "--steps", default="doctor,run", help="of doctor, run, compile, verify, tests"
    )
    parser.add_argument(
        "--tests", action="append", help="a folder or file of tests alone, such as tests/importer"
    )
    parser.add_argument("--artifact", type=Path, help="of checkpoints/shapes, for the step run")
    parser.add_argument(
        "--work", type=Path, help="where environments go; by default a temporary folder"
    )
    parser.add_argument("--json", type=Path, help="a file for all of it")
    asked = parser.parse_args(arguments)
    steps = asked.steps.split(",")
    if unknown := sorted({*steps} - {"doctor", "run", "compile", "verify", "tests"}):
        parser.error(f"no step is named {unknown[0]!r}")
    if "run" in steps and asked.artifact is None:
        parser.error("the step run needs --artifact")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(asked.work or folder).resolve()
        work.mkdir(parents=True, exist_ok=True)
        outcomes = []
        for one in combinations(asked.python or PYTHONS, asked.compile, asked.only):
            fill(one, steps, asked.artifact, work, asked.tests or ["tests"])
            outcomes.append(one)
            print(row(one, steps), file=sys.stderr, flush=True)
    print("\n".join(table(outcomes, steps)))
    if asked.json:
        asked.json.write_text(json.dumps([asdict(o) for o in outcomes], indent=2) + "\n")
    return 0


def combinations(
    pythons: Sequence[str], compiler: bool, only: Sequence[str] | None
) -> Iterator[Outcome]:
    """Every combination that is asked for, not run yet."""
    for python in pythons:
        for changed in COMPILER if compiler else RUNTIME:
            said = ", ".join(changed)
            if only is None or any(o in said if o else not said for o in only):
                yield Outcome(python, said, compiler)


def fill(
    one: Outcome,
    steps: Sequence[str],
    artifact: Path | None,
    work: Path,
    tests: Sequence[str] = ("tests",),
) -> None:
    """Run a combination's steps; those after a failed installation aren't."""
    interpreter = find_python(one.python)
    if interpreter is None:
        one.steps["install"] = f"python{one.python} isn't here"
        return
    place = work / f"{one.python}-{'compile' if one.compiler else 'run'}"
    python = place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = [f"{python}", "-m", "pip", "install", "--quiet", "--no-compile"]
    extra = "" if not one.compiler else "[dev]" if "tests" in steps else "[compile]"
    alone = [] if one.changed.startswith("torch") else ["--no-deps"]
    install = [[*pip, *alone, *one.changed.split(", ")]] if one.changed else []
    done = place / "installed"
    if not done.exists():
        shutil.rmtree(place, ignore_errors=True)
        install[:0] = [[interpreter, "-m", "venv", f"{place}"], [*pip, f"{source(work)}{extra}"]]
        if extra == "[dev]":
            install.insert(2, [*pip, "--no-deps", META])
    before = installed(python, one.changed)
    for command in install:
        if (said := attempt(command, work)) != "yes":
            one.steps["install"] = said
            return
    done.touch()
    one.steps["install"] = "yes"
    sam3 = [f"{python}", "-m", "sam3_tvm"]
    tiny = f"{place / 'tiny'}"
    commands = {
        "doctor": [*sam3, "doctor", "--quick"],
        "run": [f"{python}", "-c", RUN, f"{artifact and artifact.resolve()}", HEXAGONS],
        "compile": [*sam3, "compile", "random:tiny", "-o", tiny],
        "verify": [*sam3, "verify", tiny, "-o", f"{place / 'verify.json'}"],
        "tests": [f"{python}", "-m", "pytest", *(f"{ROOT / path}" for path in tests), *PYTEST],
    }
    for step in steps:
        where, shows = (ROOT, "passed") if step == "tests" else (work, "")
        log = work / f"{one.python} {one.changed or 'as it is'} {step}.txt"
        one.steps[step] = attempt(commands[step], where, shows, log)
    if before:
        attempt([*pip, "--no-deps", *before], work)


def installed(python: Path, changed: str) -> list[str]:
    """The packages that are about to be changed, as they are now."""
    if not changed or not python.exists():
        return []
    freeze = [f"{python}", "-m", "pip", "freeze", "--all"]
    lines = subprocess.run(freeze, capture_output=True, text=True, check=False).stdout.splitlines()
    names = {word.partition("==")[0] for word in changed.split(", ")}
    return [line for line in lines if line.partition("==")[0] in names]


def source(work: Path) -> Path:
    """A copy of what is installed, since building leaves folders in the tree that it is of."""
    copy = work / "tree"
    if not copy.exists():
        for name in ("src", "checkpoints", "examples"):
            left = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, copy / name, ignore=left)
        for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
    return copy


HEXAGONS = f"{ROOT / 'examples' / 'hexagons.jpg'}"


def find_python(version: str) -> str | None:
    """The interpreter of a version, which can be started."""
    for name in (f"python{version}", "python3", "python"):
        path = shutil.which(name)
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        if path is not None:
            done = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
            if done.stdout.strip() == version:
                return path
    return None


def attempt(command: Sequence[str], folder: Path, shows: str = "", log: Path | None = None) -> str:
    """``yes``, or the last line of what a command that failed said; the last line that has
    ``shows`` in it of any that did not die, if one is asked for and there is one. All that it
    said goes to a file, if one is named."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    if folder == ROOT:  # a developer's tests are of the tree
        environment["PYTHONPATH"] = f"{ROOT / 'src'}"
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    said = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
    if log is not None:
        log.write_text(f"{done.stdout}\n{done.stderr}")
    if done.returncode < 0:
        return f"ended by signal {-done.returncode}"
    if shown := [line for line in said if shows and shows in line]:
        return shown[-1].strip("= ")[:160]
    if done.returncode == 0:
        return "yes"
    errors = [line for line in said if line.lower().startswith("error")]
    return (errors or said or [f"exit code {done.returncode}"])[-1][:160]


def row(one: Outcome, steps: Sequence[str]) -> str:
    """A combination as a row of the table."""
    cells = [one.steps.get(step, "") for step in ("install", *steps)]
    return " | ".join(
        ["", one.python, one.changed or "as pyproject.toml has it", *cells, ""]
    ).strip()


def table(outcomes: Sequence[Outcome], steps: Sequence[str]) -> list[str]:
    """All of them as a table in Markdown."""
    head = ["Python", "versions", "install", *steps]
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(row(one, steps) for one in outcomes),
    ]


if __name__ == "__main__":
    sys.exit(main())
