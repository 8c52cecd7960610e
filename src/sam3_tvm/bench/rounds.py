"""A benchmark's run: which process has its turn when, and what is kept of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sam3_tvm import host
from sam3_tvm.bench.engines import PIP, EngineInfo, lacking
from sam3_tvm.bench.exactness import Error, relative_error
from sam3_tvm.bench.parts import (
    EIGHT,
    PROMPT_ROWS,
    BenchError,
    Part,
    compare,
    kept_queries,
    load_arrays,
)
from sam3_tvm.bench.process import Worker, WorkerError
from sam3_tvm.bench.quantizing import CALIBRATED, SAMPLES
from sam3_tvm.bench.report import (
    BenchReport,
    EngineResult,
    MachineFacts,
    PartInfo,
    PeakRates,
    Timing,
)
from sam3_tvm.components import Component, abi_from_json
from sam3_tvm.machine import describe
from sam3_tvm.progress import Progress

__all__ = ["Plan", "Run"]

# A turn of a short part runs it several times, about this long.
_TURN_SECONDS = 1.0
_MOST_RUNS = 10

# An idle engine stays for the next round while the system has this many times the memory of
# the largest engine seen.
_ROOM = 2.5

# From the widest dtype to the narrowest; of the narrowest the peak is the highest.
_DTYPES = ("float32", "float16", "bfloat16", "int8")


@dataclass(frozen=True)
class Plan:
    """What is measured, checked.

    Attributes:
        checkpoint: of what ours were compiled.
        quick: whether a small model is made and compiled first.
        parts: of the work.
        tasks: of the artifacts.
        image_size: of the artifacts, pixels; None for the checkpoint's own.
        engines: all, ours first; those that aren't installed are listed and not run.
        rounds, threads, seed: how.
    """

    checkpoint: str
    quick: bool
    parts: Sequence[Part]
    tasks: Sequence[str]
    image_size: int | None
    engines: Sequence[EngineInfo]
    rounds: int
    threads: int
    seed: int

    @property
    def chained(self) -> list[Part]:
        """Those parts that are functions."""
        return [p for p in self.parts if p.steps]

    @property
    def functions(self) -> list[str]:
        """All functions of the parts."""
        return list(dict.fromkeys(f for p in self.parts for f in p.functions))

    @property
    def files(self) -> list[str]:
        """The kinds of files that the engines read, in the order in which they are made."""
        wanted = {e.files for e in self.engines if e.files and not lacking(e)}
        return ["onnx", *sorted(wanted - {"onnx"})] if wanted else []


@dataclass
class _Seat:
    """An engine's place in the rounds.

    Attributes:
        folder: name of what its process writes.
    """

    info: EngineInfo
    folder: str
    result: EngineResult
    worker: Worker | None = None
    timings: dict[str, Timing] = field(default_factory=dict)


class Run:
    """A run of a plan.

    Args:
        plan: what is measured.
        work: an empty folder.
        progress: told of each step.
    """

    def __init__(self, plan: Plan, work: Path, progress: Progress) -> None:
        self.plan = plan
        self.work = work
        self.progress = progress
        # Until one is written.
        self.checkpoint = plan.checkpoint
        self.components: dict[str, Component] = {}
        self.refused: dict[str, dict[str, str]] = {}
        self.largest = 0
        self.done = 0
        written = plan.quick or plan.checkpoint.startswith("random:")
        jobs = 1 + written + plan.quick + len(plan.files)
        turns = sum(not lacking(e) for e in plan.engines) * (1 + plan.rounds)
        self.steps = jobs + turns

    def run(self) -> BenchReport:
        """Measure.

        Raises:
            BenchError: a job failed that everything depends on.
        """
        plan = self.plan
        with ExitStack() as stack:
            compiling = self._model(stack)
            parts = self._reference()
            report = BenchReport(
                checkpoint=plan.checkpoint,
                artifacts=[] if plan.quick else [f"{e.artifact}" for e in plan.engines if e.ours],
                quick=plan.quick,
                date=datetime.now(timezone.utc).isoformat(timespec="minutes"),
                machine=_machine(),
                threads=plan.threads,
                rounds=plan.rounds,
                seed=plan.seed,
                parts=parts,
            )
            self._files()
            if compiling is not None:
                self._step("wait for our compiler")
                with _fatal("compile the quick model"):
                    compiling.wait()
            self._rounds(report)
        self.progress("done", self.steps, self.steps)
        return report

    def _rounds(self, report: BenchReport) -> None:
        seats = [self._seat(number, info) for number, info in enumerate(self.plan.engines)]
        report.engines = [seat.result for seat in seats]
        with self._peaks(report) as measure_peaks, ExitStack() as stack:
            for seat in seats:
                stack.callback(self._leave, seat)
            measure_peaks()
            for round_ in range(self.plan.rounds + 1):
                for seat in seats:
                    if not seat.timings:
                        continue
                    what = f"round {round_}" if round_ else "first calls"
                    self._step(f"{seat.info.title}: {what}")
                    self._turn(seat, round_)
                    measure_peaks()
        for seat in seats:
            self._collect(seat, report)

    def _step(self, what: str) -> None:
        self.progress(what, self.done, self.steps)
        self.done += 1

    def _job(self, role: str, what: str, **arguments: Any) -> dict[str, Any]:
        """Run a job that everything depends on."""
        self._step(what)
        with _fatal(what):
            worker = self._worker({"role": role, **arguments})
        worker.close()
        return worker.hello

    def _worker(self, job: dict[str, Any], ready: bool = True) -> Worker:
        log = self.work / f"{job.get('seat', job['role'])}.log"
        return Worker(job, self.plan.threads, log, self.work / "inductor", ready)

    def _model(self, stack: ExitStack) -> Worker | None:
        """Write the checkpoint where it is random or quick; the quick one's compiler is at work
        until the stack ends."""
        plan, folder = self.plan, f"{self.work / 'checkpoint'}"
        if plan.quick:
            self._job("quick", "make the quick model", folder=folder)
            self.checkpoint = folder
            # Prompts go through the runtime's interface, which needs all functions.
            eight = any(p.name == EIGHT for p in plan.parts)
            # Nothing is timed while it compiles, on one core.
            job = {"role": "compile", "checkpoint": folder, "artifact": f"{self.work / 'artifact'}"}
            needed = None if eight else plan.functions
            compiling = self._worker({**job, "functions": needed}, ready=False)
            stack.callback(compiling.close)
            return compiling
        if plan.checkpoint.startswith("random:"):
            wanted = {"tasks": plan.tasks, "image_size": plan.image_size, "folder": folder}
            what = f"write {plan.checkpoint}"
            self._job("checkpoint", what, checkpoint=plan.checkpoint, **wanted)
            self.checkpoint = folder
        return None

    def _from_source(self) -> dict[str, Any]:
        return {
            "checkpoint": self.checkpoint,
            "tasks": self.plan.tasks,
            "image_size": self.plan.image_size,
            "threads": self.plan.threads,
            "work": f"{self.work}",
        }

    def _reference(self) -> list[PartInfo]:
        plan = self.plan
        answer = self._job(
            "reference",
            "PyTorch's results in float32",
            **self._from_source(),
            parts=[p.name for p in plan.chained],
            seed=plan.seed,
            samples=SAMPLES if CALIBRATED in plan.files else 0,
        )
        self.components = abi_from_json(json.loads((self.work / "abi.json").read_text("utf-8")))
        return [
            PartInfo(p.name, p.title, p.functions, answer["flops"][p.name]) for p in plan.chained
        ]

    def _files(self) -> None:
        """Export for the engines that read ONNX, and have their tools quantize it."""
        exported: dict[str, str] = {}
        for files in self.plan.files:
            if files == "onnx":
                answer = self._job(
                    "onnx", "export to ONNX", **self._from_source(), functions=self.plan.functions
                )
                exported = answer["failures"]
                self.refused[files] = exported
                continue
            left = [name for name in self.plan.functions if name not in exported]
            answer = self._job(
                "quantize", f"make {files}", files=files, functions=left, work=f"{self.work}"
            )
            self.refused[files] = exported | answer["failures"]

    @contextmanager
    def _peaks(self, report: BenchReport) -> Iterator[Callable[[], None]]:
        """What measures the machine's peaks, into the report."""
        worker = self._worker({"role": "peak", "threads": self.plan.threads})
        report.peaks = [
            PeakRates(kind, name)
            for kind, names in worker.hello["instructions"].items()
            for name in names or [None]
        ]

        def measure() -> None:
            rates = worker.ask("time")["rates"]
            for peak in report.peaks:
                if peak.instruction in rates:
                    peak.rates.append(rates[peak.instruction])

        try:
            yield measure
        finally:
            worker.close()

    def _seat(self, number: int, info: EngineInfo) -> _Seat:
        result = EngineResult(info.name, info.title, info.ours)
        seat = _Seat(info, f"engine-{number}", result)
        if missing := lacking(info):
            result.failed = f"not installed ({', '.join(missing)}): {PIP}"
            return seat
        names = [p.name for p in self.plan.chained]
        if info.ours and any(p.name == EIGHT for p in self.plan.parts):
            names += PROMPT_ROWS
        seat.timings = {n: Timing(n, info.name) for n in names}
        return seat

    def _turn(self, seat: _Seat, round_: int) -> None:
        """One engine's turn: its first calls in round 0, later a few timed ones of each part."""
        if seat.result.failed is not None:
            return
        try:
            if seat.worker is None:
                self._arrive(seat)
            assert seat.worker is not None
            for timing in (t for t in seat.timings.values() if t.failed is None and round_):
                # How many more make a turn is for the first to say.
                (first,) = seat.worker.ask("time", part=timing.part, runs=1)["seconds"]
                more = min(_MOST_RUNS, int(_TURN_SECONDS / max(first, 1e-6)))
                rest = seat.worker.ask("time", part=timing.part, runs=more)["seconds"]
                timing.seconds += [first, *rest]
            peak = seat.worker.ask("memory")["bytes"]
        except WorkerError as error:
            seat.result.failed = f"failed: {error}"
            self._leave(seat)
            return
        if peak is not None:
            seat.result.peak_bytes = max(seat.result.peak_bytes or 0, peak)
            self.largest = max(self.largest, peak)
        available = host.available_bytes()
        if available is not None and available < _ROOM * self.largest:
            self._leave(seat)

    def _arrive(self, seat: _Seat) -> None:
        """Start an engine, and warm it up by the first call of every part."""
        seat.worker = self._worker(
            {
                "role": "engine",
                "engine": seat.info.name,
                "seat": seat.folder,
                "parts": list(seat.timings),
                "artifact": f"{seat.info.artifact or ''}",
                **self._from_source(),
            }
        )
        hello = seat.worker.hello
        seat.result.load_seconds.append(seat.worker.load_seconds)
        seat.result.versions, seat.result.precision = hello["versions"], hello["precision"]
        failures = {**hello["failures"], **self.refused.get(seat.info.files, {})}
        by_name = {p.name: p for p in self.plan.chained}
        for name, timing in seat.timings.items():
            part = by_name.get(name)
            functions = part.functions if part else self.plan.functions
            used = [hello["arithmetic"][f] for f in functions if f in hello["arithmetic"]]
            timing.arithmetic = max(used, key=_narrowness, default="float32")
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
                timing.error = self._error(seat, part, name)

    def _error(self, seat: _Seat, part: Part | None, name: str) -> Error:
        outputs = self.work / "outputs"
        got = load_arrays(outputs / seat.folder / name)
        if part is None:
            # Prompts together are compared with the same, one by one.
            alone = load_arrays(outputs / seat.folder / next(iter(PROMPT_ROWS)))["scores"]
            if PROMPT_ROWS[name].prompts == 1:
                alone = alone[: len(got["scores"])]
            return relative_error(got["scores"], alone)
        kept = None
        if part.keeps and seat.info.ours:
            queries = self.components["detr_decoder"].outputs[0].shape[1]
            assert isinstance(queries, int)
            kept = kept_queries(queries)
        wanted = load_arrays(outputs / "reference" / name)
        return compare(part, self.components, got, wanted, kept)

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


def _narrowness(dtype: str) -> int:
    return _DTYPES.index(dtype) if dtype in _DTYPES else 0


@contextmanager
def _fatal(what: str) -> Iterator[None]:
    """Without this job's result there is nothing to measure."""
    try:
        yield
    except WorkerError as error:
        raise BenchError(f"{what}: {error}") from error


def _machine() -> MachineFacts:
    found = describe()
    return MachineFacts(
        found.cpu, found.level, found.cores, found.memory_bytes, found.system, found.python
    )
