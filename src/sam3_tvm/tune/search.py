"""The search: one size at a time, always beside the best so far.

Coordinate descent: each size of a family in turn is tried at the values nearest to the best so
far first, until none is better in a whole turn or the time is up. A shared or throttled
machine is slower in one minute than in the next, so a candidate and the incumbent run in turn
(A B A B ...), and the minima of both count: noise only ever adds. One that looks better is raced
a second time, and it must win again, because of many candidates the luckiest looks best.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray

from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.targets.cpu import CpuTarget
from sam3_tvm.compiler.targets.tiles import Tiles
from sam3_tvm.errors import Sam3Error
from sam3_tvm.progress import Progress, silent
from sam3_tvm.runtime.execution.engine import Engine, checked_threads
from sam3_tvm.tune.families import FAMILIES, Family, Subject

__all__ = ["FamilyResult", "Trial", "TuneError", "TuneReport", "tune"]

TOLERANCE = 2e-5
"""Largest difference of a candidate's result, relative to the largest value: only the order of
additions may differ."""

# A candidate must gain this much to take the incumbent's place, and a family to be kept at all.
_WORTH = 1.01
_ROUNDS = 4
# After two rounds the minima of a candidate this much slower won't turn.
_HOPELESS = 0.95


class TuneError(Sam3Error):
    """A search that can't be made as asked."""


@dataclass(frozen=True)
class Trial:
    """A candidate beside the incumbent.

    Attributes:
        family, field, value: what was tried.
        speedup: the incumbent's time over the candidate's, None where there is none.
        kept: whether it became the incumbent.
        failed: why it couldn't be timed.
    """

    family: str
    field: str
    value: int
    speedup: float | None = None
    kept: bool = False
    failed: str | None = None


@dataclass
class FamilyResult:
    """What a family's search found.

    Attributes:
        family: its name.
        kernels: by kernel, seconds with the defaults and with the tiles found.
        gain: the defaults' time over the found tiles', geometric mean over the kernels.
    """

    family: str
    kernels: dict[str, tuple[float, float]] = field(default_factory=dict)
    gain: float = 1.0


@dataclass
class TuneReport:
    """A whole search.

    Attributes:
        level: for which kernels were generated.
        threads: that computed.
        budget, seconds: time given and taken.
        tiles: what was found.
        families, trials: how.
    """

    level: str
    threads: int
    budget: float
    tiles: Tiles = field(default_factory=Tiles)
    seconds: float = 0.0
    families: list[FamilyResult] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self)


def tune(
    budget: float = 300.0,
    families: Sequence[str] | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> TuneReport:
    """Search tile sizes on this machine.

    Args:
        budget: seconds, shared among the families. A candidate is begun only if there is time
            for one that takes as long as the longest so far; the defaults are always compiled.
        families: names of :data:`~sam3_tvm.tune.families.FAMILIES`; None for all.
        threads: that compute; None for the runtime's default.
        progress: told of each candidate, with the seconds taken and given.

    Raises:
        TuneError: an unknown family, or a budget that can't be.
        Sam3Error: a number of threads that can't be.
    """
    names = list(FAMILIES) if families is None else list(dict.fromkeys(families))
    if unknown := [n for n in names if n not in FAMILIES]:
        raise TuneError(f"no kernels named {unknown[0]!r}; accepted are {', '.join(FAMILIES)}")
    if not names or not budget > 0:
        raise TuneError("tuning takes at least one family of kernels and a budget above 0 s")
    count = checked_threads(threads)
    target = CpuTarget.native()
    report = TuneReport(target.level, count, budget)
    engine, start = Engine(count), time.monotonic()
    for i, name in enumerate(names):
        # What one leaves of its share is the next one's.
        taken = time.monotonic() - start
        until = start + taken + (budget - taken) / (len(names) - i)
        search = _Search(FAMILIES[name], target, engine, report, until, start, progress)
        report.families.append(search.run())
    report.seconds = time.monotonic() - start
    progress("done", math.ceil(budget), math.ceil(budget))
    return report


class _Kernel:
    """A subject, compiled with some tiles, with arguments of its own."""

    def __init__(self, subject: Subject, target: CpuTarget, engine: Engine, seed: int) -> None:
        func = subject.build(target).with_attr("global_symbol", "main")
        self._arguments = [
            tvm.runtime.tensor(_values(param, subject, seed + i))
            for i, param in enumerate(func.params)
        ]
        self._engine = engine
        # On one thread the process's CPU time is a call's, without what others take meanwhile.
        self._clock = time.process_time if engine.threads == 1 else time.perf_counter
        self._call = generate(tvm.IRModule({"main": func}), target)["main"]
        self.time()

    def result(self) -> NDArray[Any]:
        """What the last call gave."""
        value: NDArray[Any] = self._arguments[-1].numpy()
        return value

    def time(self) -> float:
        """Seconds of one call."""
        start = self._clock()
        self._engine.run(lambda: self._call(*self._arguments))
        return self._clock() - start


def _buffers(func: Any) -> list[Any]:
    return [func.buffer_map[param] for param in func.params]


def _values(buffer: Any, subject: Subject, seed: int) -> NDArray[Any]:
    shape = [subject.sizes[n.name] if isinstance(n, tvm.tirx.Var) else int(n) for n in buffer.shape]
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


class _Search:
    def __init__(
        self,
        family: Family,
        target: CpuTarget,
        engine: Engine,
        report: TuneReport,
        until: float,
        start: float,
        progress: Progress,
    ) -> None:
        self.family = family
        self.target = target
        self.engine = engine
        self.report = report
        self.until = until
        self.start = start
        self.progress = progress

    def run(self) -> FamilyResult:
        """Find the family's tiles, and put them into the report."""
        result = FamilyResult(self.family.name)
        best = [self.report.tiles]
        self._say("the defaults")
        began = time.monotonic()
        defaults = incumbent = self._kernels(best[-1])
        tried = {*best}
        # What the last comparison will take, and a candidate: the longest so far.
        calls = time.monotonic()
        for kernel in defaults:
            kernel.time()
        last = 4 * _ROUNDS * (time.monotonic() - calls)
        longest = calls - began + last
        for name, value in self._candidates(best):
            began = time.monotonic()
            if began + longest + last > self.until:
                break
            tiles = replace(best[-1], **{name: value})
            if tiles in tried:
                continue
            tried.add(tiles)
            self._say(f"{name} {value}")
            trial, kernels = self._try(name, value, tiles, incumbent, defaults)
            self.report.trials.append(trial)
            longest = max(longest, time.monotonic() - began)
            if trial.kept:
                best.append(tiles)
                incumbent = kernels
        if incumbent is defaults:
            times = [(s, s) for s in (min(k.time() for _ in range(2)) for k in defaults)]
        else:
            self._say("the best beside the defaults")
            times = _race(defaults, incumbent, 2 * _ROUNDS)
        result.kernels = dict(zip((s.name for s in self.family.subjects), times, strict=True))
        gain = _speedup(times)
        if len(best) > 1 and gain >= _WORTH:
            self.report.tiles, result.gain = best[-1], gain
        return result

    def _say(self, what: str) -> None:
        taken = min(int(time.monotonic() - self.start), math.ceil(self.report.budget) - 1)
        self.progress(f"{self.family.name}: {what}", taken, math.ceil(self.report.budget))

    def _candidates(self, best: Sequence[Tiles]) -> Iterator[tuple[str, int]]:
        """Values of one size after the other, over and over while ``best`` grows."""
        seen = 0
        while seen < len(best):
            seen = len(best)
            for name, values in self.family.candidates.items():
                now = getattr(best[-1], name)
                known = {*values, getattr(Tiles(), name)} - {now}
                nearest = sorted((abs(math.log(value / now)), value) for value in known)
                yield from ((name, value) for _, value in nearest)

    def _kernels(self, tiles: Tiles) -> list[_Kernel]:
        target = replace(self.target, tiles=tiles)
        return [
            _Kernel(subject, target, self.engine, 100 * i)
            for i, subject in enumerate(self.family.subjects)
        ]

    def _try(
        self,
        name: str,
        value: int,
        tiles: Tiles,
        incumbent: Sequence[_Kernel],
        defaults: Sequence[_Kernel],
    ) -> tuple[Trial, list[_Kernel]]:
        trial = Trial(self.family.name, name, value)
        try:
            kernels = self._kernels(tiles)
        except (RuntimeError, ValueError) as error:
            # TVM's errors are RuntimeErrors: sizes that its code generator can't take.
            lines = f"{error}".strip().splitlines()
            return replace(trial, failed=lines[-1] if lines else type(error).__name__), []
        for kernel, known in zip(kernels, defaults, strict=True):
            off = _difference(kernel.result(), known.result())
            if not off <= TOLERANCE:
                return replace(trial, failed=f"wrong results: off by {off:.1e}"), []
        speedup = _speedup(_race(incumbent, kernels, _ROUNDS))
        if speedup >= _WORTH:
            speedup = min(speedup, _speedup(_race(incumbent, kernels, 2 * _ROUNDS)))
        return replace(trial, speedup=speedup, kept=speedup >= _WORTH), kernels


def _difference(got: NDArray[Any], wanted: NDArray[Any]) -> float:
    return float(np.abs(got - wanted).max() / max(float(np.abs(wanted).max()), 1e-30))


def _race(
    first: Sequence[_Kernel], second: Sequence[_Kernel], rounds: int
) -> list[tuple[float, float]]:
    """The least seconds of both, for each kernel."""
    best = [(math.inf, math.inf)] * len(first)
    for round_ in range(rounds):
        for i, (a, b) in enumerate(zip(first, second, strict=True)):
            best[i] = (min(best[i][0], a.time()), min(best[i][1], b.time()))
        if round_ == 1 and _speedup(best) < _HOPELESS:
            break
    return best


def _speedup(times: Sequence[tuple[float, float]]) -> float:
    """The first's time over the second's, geometric mean over the kernels."""
    return math.exp(sum(math.log(a / b) for a, b in times) / len(times))
