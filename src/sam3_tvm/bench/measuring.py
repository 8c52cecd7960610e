"""``bench``: what is measured, checked before any work."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sam3_tvm import artifact as artifacts
from sam3_tvm.abi import abi
from sam3_tvm.bench.engines import our_engines, select_engines
from sam3_tvm.bench.parts import BenchError, select_parts
from sam3_tvm.bench.process import termination_unwinds
from sam3_tvm.bench.report import BenchReport
from sam3_tvm.bench.rounds import Plan, Run
from sam3_tvm.manifest import Manifest
from sam3_tvm.progress import Progress, silent
from sam3_tvm.runtime.execution.engine import checked_threads
from sam3_tvm.sizes import Sizes

__all__ = ["Options", "bench"]

_QUICK_PARTS = ("encode_image",)

# Of the quick model: names are all that counts before it is there.
_SIZES = Sizes(14, 1, 8, 8, 1, 1)


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        artifacts: the compiled models, of one checkpoint; none with ``quick``, which compiles its
            own.
        against: names of engines; None for all that are installed.
        functions: names of parts or functions; None for the default parts, and with ``quick``
            for the vision encoder, so that nothing else has to be compiled by anyone.
        rounds: timed turns of each engine; None for 3, and 2 with ``quick``.
        threads: for every engine; None for the runtime's default.
        quick: measure a small model at SAM 3's widths.
        seed: of the inputs.
    """

    artifacts: Sequence[Path] = ()
    against: Sequence[str] | None = None
    functions: Sequence[str] | None = None
    rounds: int | None = None
    threads: int | None = None
    quick: bool = False
    seed: int = 0


def bench(options: Options, progress: Progress = silent) -> BenchReport:
    """Measure our engine and others on the same work.

    Args:
        options: what and how.
        progress: told of each step.

    Raises:
        BenchError: an unknown engine or part, an engine that was named and is not installed,
            artifacts that can't be compared, or a job that everything depends on and that failed.
        Sam3Error: an artifact that can't be opened.
    """
    if bool(options.artifacts) == options.quick:
        raise BenchError("name an artifact's folder to measure, or --quick for a small model")
    rounds = (2 if options.quick else 3) if options.rounds is None else options.rounds
    if rounds < 1:
        raise BenchError(f"rounds must be at least 1, got {rounds}")
    names = _QUICK_PARTS if options.quick and options.functions is None else options.functions
    peers = select_engines(options.against)
    checkpoint, known, tasks, image_size = "quick", abi(_SIZES), _SIZES.tasks, None
    if not options.quick:
        manifest = _common(options.artifacts)
        checkpoint, known = manifest.source.checkpoint, manifest.components
        tasks, image_size = manifest.sizes.tasks, manifest.sizes.image
    parts = select_parts(names, known)
    with (
        termination_unwinds(),
        tempfile.TemporaryDirectory(prefix="sam3-tvm-bench-") as folder,
    ):
        work = Path(folder)
        ours = our_engines([work / "artifact"] if options.quick else options.artifacts)
        plan = Plan(
            checkpoint=checkpoint,
            quick=options.quick,
            parts=parts,
            tasks=tasks,
            image_size=image_size,
            engines=[*ours, *peers],
            rounds=rounds,
            threads=checked_threads(options.threads),
            seed=options.seed,
        )
        return Run(plan, work, progress).run()


def _common(folders: Sequence[Path]) -> Manifest:
    """The manifest of artifacts that are of one checkpoint, for the same tasks and pictures of one
    size: the first one's.

    Raises:
        BenchError: one is named twice, or two have these not in common.
    """
    first = None
    for folder in folders:
        if [other for other in folders if other.resolve() == folder.resolve()] != [folder]:
            raise BenchError(f"{folder}: is named twice")
        opened = artifacts.open(folder)
        opened.check_host()
        manifest = opened.manifest
        if first is None:
            first = manifest
        elif manifest.source.checkpoint != first.source.checkpoint:
            raise BenchError(
                f"{folder} is of {manifest.source.checkpoint}, {folders[0]} of "
                f"{first.source.checkpoint}: artifacts of one checkpoint are compared"
            )
        elif manifest.sizes.image != first.sizes.image:
            raise BenchError(
                f"{folder} is for pictures of {manifest.sizes.image} pixels, {folders[0]} of "
                f"{first.sizes.image}: artifacts of one --image-size are compared"
            )
        elif manifest.components != first.components:
            raise BenchError(
                f"{folder} and {folders[0]} have other functions: compile both for the same "
                "--tasks to compare them"
            )
    assert first is not None
    return first
