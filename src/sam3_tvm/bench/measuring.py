"""``bench``: which engine runs when, and what is kept of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sam3_tvm import artifact as artifacts
from sam3_tvm import host
from sam3_tvm.abi import Sizes, abi
from sam3_tvm.bench.engines import OURS, EngineInfo, select_engines
from sam3_tvm.bench.parts import (
    EIGHT,
    PROMPT_ROWS,
    BenchError,
    Part,
    compare,
    kept_queries,
    load_arrays,
    max_relative_error,
    select_parts,
)
from sam3_tvm.bench.process import Worker, WorkerError, termination_unwinds
from sam3_tvm.bench.report import BenchReport, EngineResult, MachineFacts, PartInfo, Timing
from sam3_tvm.components import Component
from sam3_tvm.machine import describe
from sam3_tvm.progress import Progress, silent
from sam3_tvm.runtime.execution.engine import checked_threads

__all__ = ["TOLERANCE", "Options", "bench"]

TOLERANCE = 0.05
"""Outputs further than this from PyTorch eager's are wrong, and what makes them isn't timed.

Weights stored in half precision or in eight bits come within a percent or two; a wrong layout
or a swapped argument is off by the size of the values.
"""

# A turn of a short part runs it several times, about this long.
_TURN_SECONDS = 1.0
_MOST_RUNS = 10

_QUICK_PARTS = ("encode_image",)

# Of the quick model: names are all that counts before it is there.
_SIZES = Sizes(14, 1, 8, 8, 1, 1)

# An idle engine stays for the next round while the system has this many times the memory of
# the largest engine seen.
_ROOM = 2.5


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        artifact: the compiled model; None with ``quick``, which compiles its own.
        against: names of engines; None for all that are installed.
        functions: names of parts or functions; None for the default parts, and with ``quick``
            for the vision encoder, so that nothing else has to be compiled by anyone.
        rounds: timed turns of each engine; None for 3, and 2 with ``quick``.
        threads: for every engine; None for the runtime's default.
        quick: measure a small model at SAM 3's widths.
        seed: of the inputs.
    """

    artifact: Path | None
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
        BenchError: an unknown engine or part, an engine that is not installed, or a job that
            everything depends on and that failed.
        Sam3Error: an artifact that can't be opened.
    """
    if (options.artifact is None) != options.quick:
        raise BenchError("name an artifact's folder to measure, or --quick for a small model")
    rounds = (2 if options.quick else 3) if options.rounds is None else options.rounds
    if rounds < 1:
        raise BenchError(f"rounds must be at least 1, got {rounds}")
    names = _QUICK_PARTS if options.quick and options.functions is None else options.functions
    options = replace(options, rounds=rounds, functions=names)
    engines = [EngineInfo(OURS, "sam3-tvm", ()), *select_engines(options.against)]
    known, tasks, image_size = abi(_SIZES), _SIZES.tasks, None
    if options.artifact is not None:
        opened = artifacts.open(options.artifact)
        opened.check_host()
        known, sizes = opened.manifest.components, opened.manifest.sizes
        tasks, image_size = sizes.tasks, sizes.image
    parts = select_parts(options.functions, known)
    with (
        termination_unwinds(),
        tempfile.TemporaryDirectory(prefix="sam3-tvm-bench-") as folder,
    ):
        model = {"tasks": tasks, "image_size": image_size}
        return _Run(options, parts, model, engines, Path(folder), progress).run()


@dataclass
class _Seat:
    """An engine's place in the rounds."""

    info: EngineInfo
    result: EngineResult
    names: list[str]
    worker: Worker | None = None
    timings: dict[str, Timing] = field(default_factory=dict)


class _Run:
    def __init__(
        self,
        options: Options,
        parts: Sequence[Part],
        model: Mapping[str, Any],
        engines: Sequence[EngineInfo],
        work: Path,
        progress: Progress,
    ) -> None:
        self.options = options
        self.parts = parts
        self.model = model
        self.rounds = options.rounds or 1
        self.work = work
        self.progress = progress
        self.threads = checked_threads(options.threads)
        self.engines = engines
        self.largest = 0
        jobs = 2 + 2 * options.quick + any(e.onnx for e in engines)
        self.steps = jobs + len(engines) * (1 + self.rounds)
        self.done = 0

    def run(self) -> BenchReport:
        with ExitStack() as stack:
            artifact, checkpoint, name, compiling = self._model(stack)
            return self._measure(artifact, checkpoint, name, compiling)

    def _measure(
        self, artifact: Path, checkpoint: str, name: str, compiling: Worker | None
    ) -> BenchReport:
        parts = self.parts
        chained = [p for p in parts if p.functions]
        answer = self._job(
            "reference",
            "PyTorch eager's results",
            checkpoint=checkpoint,
            parts=[p.name for p in chained],
            seed=self.options.seed,
        )
        report = BenchReport(
            checkpoint=name,
            artifact="" if self.options.quick else f"{artifact}",
            quick=self.options.quick,
            date=datetime.now(timezone.utc).isoformat(timespec="minutes"),
            machine=_machine(),
            threads=self.threads,
            rounds=self.rounds,
            seed=self.options.seed,
            parts=[
                PartInfo(p.name, p.title, p.functions, answer["flops"][p.name]) for p in chained
            ],
        )
        refused = self._exported(checkpoint, chained)
        if compiling is not None:
            self._step("wait for our compiler")
            with _fatal("compile the quick model"):
                compiling.wait()
        manifest = artifacts.open(artifact).manifest
        components = manifest.components
        report.weights = ", ".join(scheme.weights for scheme in manifest.schemes)
        seats = [self._seat(info, parts, report) for info in self.engines]
        with self._peak() as measure_peak, ExitStack() as stack:
            for seat in seats:
                stack.callback(self._leave, seat)
            report.peak_flops.append(measure_peak())
            for round_ in range(self.rounds + 1):
                for seat in seats:
                    what = f"round {round_}" if round_ else "first calls"
                    self._step(f"{seat.info.title}: {what}")
                    self._turn(seat, round_, artifact, checkpoint, components, chained, refused)
                    report.peak_flops.append(measure_peak())
        for seat in seats:
            self._collect(seat, report)
        self.progress("done", self.steps, self.steps)
        return report

    def _step(self, what: str) -> None:
        self.progress(what, self.done, self.steps)
        self.done += 1

    def _job(self, role: str, what: str, **arguments: Any) -> dict[str, Any]:
        """Run a job that everything depends on."""
        self._step(what)
        if role in ("reference", "onnx"):
            arguments |= {"threads": self.threads, "work": f"{self.work}", **self.model}
        with _fatal(what):
            worker = self._worker({"role": role, **arguments})
        worker.close()
        return worker.hello

    def _worker(self, job: dict[str, Any], ready: bool = True) -> Worker:
        log = self.work / f"{job.get('engine', job['role'])}.log"
        return Worker(job, self.threads, log, self.work / "inductor", ready)

    def _model(self, stack: ExitStack) -> tuple[Path, str, str, Worker | None]:
        """The artifact, the folder or hub id of its checkpoint, the checkpoint's name, and who
        is still compiling it, until the stack ends."""
        folder = f"{self.work / 'checkpoint'}"
        if self.options.artifact is None:
            artifact = self.work / "artifact"
            self._job("quick", "make the quick model", folder=folder)
            # Prompts go through the runtime's interface, which needs all functions.
            eight = any(p.name == EIGHT for p in self.parts)
            needed = None if eight else _functions(self.parts)
            # Nothing is timed while it compiles, on one core.
            job = {"role": "compile", "checkpoint": folder, "artifact": f"{artifact}"}
            compiling = self._worker({**job, "functions": needed}, ready=False)
            stack.callback(compiling.close)
            return artifact, folder, "quick", compiling
        name = artifacts.open(self.options.artifact).manifest.source.checkpoint
        if not name.startswith("random:"):
            return self.options.artifact, name, name, None
        wanted = {"checkpoint": name, "folder": folder, **self.model}
        self._job("checkpoint", f"write {name}", **wanted)
        return self.options.artifact, folder, name, None

    def _exported(self, checkpoint: str, parts: Sequence[Part]) -> dict[str, str]:
        """Export for the engines that read ONNX: by function, why it isn't there."""
        if not any(e.onnx for e in self.engines):
            return {}
        answer = self._job(
            "onnx", "export to ONNX", checkpoint=checkpoint, functions=_functions(parts)
        )
        failures: dict[str, str] = answer["failures"]
        return failures

    @contextmanager
    def _peak(self) -> Iterator[Any]:
        worker = self._worker({"role": "peak", "threads": self.threads})
        try:
            yield lambda: float(worker.ask("time")["flops"])
        finally:
            worker.close()

    def _seat(self, info: EngineInfo, parts: Sequence[Part], report: BenchReport) -> _Seat:
        names = [p.name for p in parts if p.functions]
        if info.name == OURS and any(p.name == EIGHT for p in parts):
            names += PROMPT_ROWS
        seat = _Seat(info, EngineResult(info.name, info.title), names)
        seat.timings = {n: Timing(n, info.name) for n in names}
        report.engines.append(seat.result)
        return seat

    def _turn(
        self,
        seat: _Seat,
        round_: int,
        artifact: Path,
        checkpoint: str,
        components: dict[str, Component],
        parts: Sequence[Part],
        refused: dict[str, str],
    ) -> None:
        """One engine's turn: its first calls in round 0, later a few timed ones of each part."""
        if seat.result.failed is not None:
            return
        try:
            if seat.worker is None:
                self._arrive(seat, artifact, checkpoint, components, parts, refused)
            assert seat.worker is not None
            for timing in (t for t in seat.timings.values() if t.failed is None and round_):
                # How many more make a turn is for the first to say.
                (first,) = seat.worker.ask("time", part=timing.part, runs=1)["seconds"]
                more = min(_MOST_RUNS, int(_TURN_SECONDS / max(first, 1e-6)))
                rest = seat.worker.ask("time", part=timing.part, runs=more)["seconds"]
                timing.seconds += [first, *rest]
            peak = seat.worker.ask("memory")["bytes"]
        except WorkerError as error:
            seat.result.failed = f"{error}"
            self._leave(seat)
            return
        seat.result.peak_bytes = max(seat.result.peak_bytes, peak)
        self.largest = max(self.largest, peak)
        available = host.available_bytes()
        if available is not None and available < _ROOM * self.largest:
            self._leave(seat)

    def _arrive(
        self,
        seat: _Seat,
        artifact: Path,
        checkpoint: str,
        components: dict[str, Component],
        parts: Sequence[Part],
        refused: dict[str, str],
    ) -> None:
        """Start an engine, and warm it up by the first call of every part."""
        seat.worker = self._worker(
            {
                "role": "engine",
                "engine": seat.info.name,
                "threads": self.threads,
                "parts": seat.names,
                "artifact": f"{artifact}",
                "checkpoint": checkpoint,
                **self.model,
                "work": f"{self.work}",
            }
        )
        seat.result.load_seconds.append(seat.worker.load_seconds)
        seat.result.versions = seat.worker.hello["versions"]
        failures = {**seat.worker.hello["failures"], **(refused if seat.info.onnx else {})}
        by_name = {p.name: p for p in parts}
        for name, timing in seat.timings.items():
            part = by_name.get(name)
            for function in part.functions if part else ():
                if function in failures and timing.failed is None:
                    timing.failed = f"{function}: {failures[function]}"
            if timing.failed is not None:
                continue
            again = timing.error is not None
            answer = seat.worker.ask("first", part=name, save=not again)
            if "failed" in answer:
                timing.failed = answer["failed"]
            elif not again:
                timing.first_seconds = answer["seconds"]
                timing.error = self._error(seat, part, name, components)
                if not timing.error <= TOLERANCE:
                    timing.failed = f"wrong results: off by {timing.error:.1e}"

    def _error(
        self, seat: _Seat, part: Part | None, name: str, components: dict[str, Component]
    ) -> float:
        outputs = self.work / "outputs"
        got = load_arrays(outputs / seat.info.name / name)
        if part is None:
            # Prompts together are compared with the same, one by one.
            alone = load_arrays(outputs / seat.info.name / next(iter(PROMPT_ROWS)))["scores"]
            if PROMPT_ROWS[name].prompts == 1:
                alone = alone[: len(got["scores"])]
            return max_relative_error(got["scores"], alone)
        kept = None
        if part.keeps and seat.info.name == OURS:
            queries = components["detr_decoder"].outputs[0].shape[1]
            assert isinstance(queries, int)
            kept = kept_queries(queries)
        return compare(part, components, got, load_arrays(outputs / "reference" / name), kept)

    def _leave(self, seat: _Seat) -> None:
        if seat.worker is not None:
            seat.worker.close()
            seat.worker = None

    def _collect(self, seat: _Seat, report: BenchReport) -> None:
        for timing in seat.timings.values():
            if seat.result.failed is not None:
                timing.failed = timing.failed or seat.result.failed
            known = report.prompts if timing.part in PROMPT_ROWS else report.timings
            known.append(timing)


@contextmanager
def _fatal(what: str) -> Iterator[None]:
    """Without this job's result there is nothing to measure."""
    try:
        yield
    except WorkerError as error:
        raise BenchError(f"{what}: {error}") from error


def _functions(parts: Sequence[Part]) -> list[str]:
    return list(dict.fromkeys(f for p in parts for f in p.functions))


def _machine() -> MachineFacts:
    found = describe()
    return MachineFacts(
        found.cpu, found.level, found.cores, found.memory_bytes, found.system, found.python
    )
