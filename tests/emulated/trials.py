"""What is compiled, where it is run, and what must come of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import av

from sam3_tvm.arithmetic import scheme
from sam3_tvm.verify.report import Bounds
from tests.emulated.comparing import Difference, compare
from tests.emulated.machines import Machine, here
from tests.emulated.system import SOURCES, SetupError

__all__ = ["ARM", "TASKS", "X86", "Built", "Outcome", "Refusal", "Trial", "refuse", "run"]

ROOT = SOURCES.parent
REFERENCE = "x86-64-v3"
"""The target of the artifact that this machine runs, to compare with."""

_PICTURES = ROOT / "examples"

TASKS: dict[str, tuple[str | Path, ...]] = {
    "phrase": ("segment", _PICTURES / "hexagons.jpg", "--text", "green hexagons"),
    "box": ("segment", _PICTURES / "stars.jpg", "--box", "64,20,180,133"),
    "click": ("click", _PICTURES / "stars.jpg", "--point", "120,75"),
    "film": ("track", "FRAMES", "--text", "red star"),
}
"""Command lines without the artifact and the outputs; together they call every function. FRAMES are
a folder with the first frames of a film."""


def frames(folder: Path) -> Path:
    """That folder. FFmpeg's colours differ by up to 2 of 255 between processors, so all get the
    same pictures instead of the film."""
    folder.mkdir(parents=True, exist_ok=True)
    with av.open(str(_PICTURES / "film.mp4")) as film:
        for number, frame in zip(range(4), film.decode(video=0), strict=False):
            frame.to_image().save(folder / f"{number}.png")
    return folder


@dataclass(frozen=True)
class Built:
    """An artifact of the demonstration model.

    Attributes:
        target: what it is for, as ``compile --target`` takes it.
        compute, weights: the arithmetic, as ``compile`` takes them.
        small: one function with random weights instead, which is enough to be refused.
    """

    target: str
    compute: str = "float32"
    weights: str | None = None
    small: bool = False

    @property
    def arithmetic(self) -> str:
        """Its name: "float16-weights"."""
        return scheme(self.compute, self.weights).name

    @property
    def name(self) -> str:
        """That of its folder."""
        return f"{self.target}-{self.arithmetic}{'-small' if self.small else ''}"

    def folder(self, parent: Path) -> Path:
        """Where it is, compiled if it isn't there.

        Raises:
            SetupError: the compiler fails.
        """
        folder = parent / self.name
        if (folder / "manifest.json").is_file():
            return folder
        source = "random:tiny" if self.small else str(ROOT / "checkpoints/shapes")
        options = {"target": self.target, "compute": self.compute, "weights": self.weights}
        if self.small:
            options["functions"] = ["scoring"]
        code = f"from sam3_tvm import compile\ncompile({source!r}, {str(folder)!r}, **{options!r})"
        # In a process of its own, whose memory is free again afterwards; others run beside it.
        one = dict.fromkeys(("TVM_NUM_THREADS", "OMP_NUM_THREADS"), "1")
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **one, "PYTHONPATH": str(SOURCES)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            sys.stderr.write(done.stdout)
            raise SetupError(f"{self.name} could not be compiled: see above")
        return folder


@dataclass(frozen=True)
class Trial:
    """An artifact on a machine: all tasks, beside the same arithmetic on this machine."""

    built: Built
    cpu: str

    @property
    def reference(self) -> Built:
        """What this machine runs."""
        return replace(self.built, target=REFERENCE)


@dataclass(frozen=True)
class Refusal:
    """An artifact on a machine that lacks what it needs: one line, and exit code 2."""

    built: Built
    cpu: str
    says: str


_F32, _F16 = Built("aarch64"), Built("aarch64", "float32", "float16")
_BF16, _INT8 = Built("aarch64", "bfloat16"), Built("aarch64", "int8")
_MORE_BF16, _MORE_INT8 = (
    replace(_BF16, target="aarch64+bf16"),
    replace(_INT8, target="aarch64+dotprod"),
)

# cortex-a72 is plain ARMv8.0; "max" has all that QEMU knows.
ARM: tuple[Trial | Refusal, ...] = (
    *(Trial(built, "cortex-a72") for built in (_F32, _F16, _BF16, _INT8)),
    *(Trial(built, "max") for built in (_MORE_BF16, _MORE_INT8)),
    Refusal(_MORE_BF16, "cortex-a72", "this CPU lacks BF16"),
    Refusal(_MORE_INT8, "cortex-a72", "this CPU lacks DOTPROD"),
    Refusal(Built(REFERENCE), "cortex-a72", "built for x86_64 processors, and this one is aarch64"),
)

# QEMU emulates AVX2 and no AVX-512; Nehalem is x86-64-v2, core2duo less than that.
X86: tuple[Trial | Refusal, ...] = (
    *(
        Trial(Built(REFERENCE, compute, weights), "Haswell")
        for compute, weights in (
            ("float32", None),
            ("float32", "float16"),
            ("bfloat16", None),
            ("int8", None),
        )
    ),
    Trial(Built("x86-64-v2"), "Nehalem"),
    Refusal(Built("x86-64-v4", small=True), "Haswell", "this CPU lacks AVX512F"),
    Refusal(Built(REFERENCE), "Nehalem", "this CPU lacks AVX"),
    Refusal(_F32, "Haswell", "built for aarch64 processors, and this one is x86_64"),
)


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        target, arithmetic, cpu: what ran where.
        difference: from this machine's results, all tasks together.
        right: whether that is within bounds; of a refusal, whether it was one.
        said: the line of a refusal, or what went wrong.
        seconds: of the commands on the emulated machine, all together.
    """

    target: str
    arithmetic: str
    cpu: str
    difference: Difference
    right: bool
    said: str = ""
    seconds: float = 0.0


def run(trial: Trial, machine: Machine, folder: Path, said: Callable[[str], None]) -> Outcome:
    """Every task on the machine and on this one, with two threads, and how far they are apart."""
    built, reference, artifacts = trial.built, trial.reference, folder / "artifacts"
    total, seconds, faults = Difference(), 0.0, []
    pictures = frames(folder / "frames")
    for task, template in TASKS.items():
        words = tuple(pictures if word == "FRAMES" else word for word in template)
        theirs = folder / "reference" / built.arithmetic / task
        if not (theirs / "found.jsonl").is_file():
            fault, _ = _run(here(), reference.folder(artifacts), words, theirs)
            if fault:
                raise SetupError(f"{reference.name} doesn't run on this machine: {fault}")
        ours = folder / "results" / f"{built.name} on {trial.cpu}" / task
        fault, took = _run(machine, built.folder(artifacts), words, ours)
        difference = Difference(fault=fault) if fault else compare(ours, theirs)
        right = difference.within(Bounds.of(scheme(built.compute, built.weights)))
        if not right:
            faults.append(f"{task}: {difference.fault or 'beyond the bounds'}")
        total, seconds = total + difference, seconds + took
        said(
            f"  {task}: {took:.0f} s, {difference.masks} masks, {difference.pixels} pixels differ, "
            f"IoU {difference.iou:.4f}, scores {difference.score:.1e}, boxes "
            f"{difference.box_px:.1e} px, pictures the same: {difference.same_pictures} of "
            f"{difference.pictures}"
        )
    return Outcome(
        built.target, built.arithmetic, trial.cpu, total, not faults, "; ".join(faults), seconds
    )


def _run(
    machine: Machine, artifact: Path, words: tuple[str | Path, ...], out: Path
) -> tuple[str, float]:
    """Run a task that writes to a folder. Returns what went wrong, if it did, and the seconds."""
    out.mkdir(parents=True, exist_ok=True)
    for old in out.iterdir():
        old.unlink()
    command, *rest = words
    outputs = ("-o", out / "found.jsonl", "-o", out / "found.png", "--threads", "2")
    done = machine.run(command, artifact, *rest, *outputs)
    if done.code == 0:
        return "", done.seconds
    return f"exit code {done.code}: {' '.join(done.printed.split())[-300:]}", done.seconds


def refuse(trial: Refusal, machine: Machine, folder: Path, said: Callable[[str], None]) -> Outcome:
    """A task that the machine must refuse, in one line and with exit code 2."""
    built = trial.built
    command, *rest = TASKS["phrase"]
    out = folder / "refused"
    artifact = built.folder(folder / "artifacts")
    done = machine.run(command, artifact, *rest, "-o", out)
    lines = done.printed.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    right = (
        done.code == 2
        and len(errors) == 1
        and trial.says in errors[0]
        and "Traceback" not in done.printed
        and not out.exists()
    )
    line = errors[0].removeprefix("error: ") if errors else " ".join(lines)[-300:]
    line = line.replace(f"{artifact}: ", "").partition("; compile it again")[0]
    said(f"  exit code {done.code}: {line}")
    return Outcome(
        built.target, built.arithmetic, trial.cpu, Difference(), right, line, done.seconds
    )
