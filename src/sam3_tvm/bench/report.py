"""What a benchmark found, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from sam3_tvm.bench.exactness import Error

__all__ = [
    "BenchReport",
    "Comparison",
    "EngineResult",
    "MachineFacts",
    "PartInfo",
    "PeakRates",
    "Timing",
]


@dataclass(frozen=True)
class MachineFacts:
    """Where it was measured.

    Attributes:
        cpu, level: the processor's name and the highest CPU target that it runs.
        cores: CPUs that the process could use.
        memory_bytes: physical memory, or None.
        system, python: their versions.
    """

    cpu: str
    level: str
    cores: int
    memory_bytes: int | None
    system: str
    python: str


@dataclass(frozen=True)
class PartInfo:
    """A part that was measured.

    Attributes:
        name, title, functions: see :class:`sam3_tvm.bench.parts.Part`.
        flops: of PyTorch's graph: products, convolutions and attention, a multiply-add as two.
    """

    name: str
    title: str
    functions: tuple[str, ...]
    flops: int


@dataclass
class PeakRates:
    """The machine's peak in one kind of arithmetic, by one instruction.

    Attributes:
        arithmetic: dtype of what is multiplied.
        instruction: by which it was measured; None if this CPU has none for it.
        rates: operations a second, measured before, between and after the turns.
    """

    arithmetic: str
    instruction: str | None
    rates: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Of ``rates``; NaN without any."""
        return median(self.rates) if self.rates else float("nan")


@dataclass
class EngineResult:
    """One engine's process.

    Attributes:
        name, title: the engine.
        ours: whether it is an artifact of ours.
        precision: in what it computes by its own account.
        versions: of its packages.
        load_seconds: from starting the process until it could be called, imports included;
            one for each time that it was started.
        peak_bytes: the most memory it held at once; None where the system does not tell.
        failed: why it could not be measured at all; None if it could.
    """

    name: str
    title: str
    ours: bool = False
    precision: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    load_seconds: list[float] = field(default_factory=list)
    peak_bytes: int | None = None
    failed: str | None = None


@dataclass
class Timing:
    """One part in one engine.

    Attributes:
        part, engine: their names; the part may be one of :data:`parts.PROMPT_ROWS`.
        arithmetic: dtype of most products in the part, by the engine's account; the narrowest of
            its functions.
        first_seconds: the first call, in which compilers compile and pages are touched.
        seconds: the calls after warming up.
        error: of the outputs relative to PyTorch's in float32; None if they weren't made.
        failed: why there is no time; None if there is one.
    """

    part: str
    engine: str
    arithmetic: str = "float32"
    first_seconds: float | None = None
    seconds: list[float] = field(default_factory=list)
    error: Error | None = None
    failed: str | None = None

    @property
    def median(self) -> float:
        """Of ``seconds``; NaN without any."""
        return median(self.seconds) if self.seconds else float("nan")

    @property
    def off(self) -> bool:
        """Whether it gave something else than PyTorch does: a time that counts for nothing."""
        return self.error is not None and self.error.off


@dataclass
class BenchReport:
    """A whole run.

    Attributes:
        checkpoint: what was measured.
        artifacts: the folders of ours; none with ``quick``.
        quick: whether it was the small model of ``--quick``.
        date: when, UTC.
        machine: where.
        threads, rounds, seed: how.
        peaks: the machine's; of each kind of arithmetic by its widest instruction first.
        parts, engines, timings: the findings. Our engines come first.
        prompts: several prompts on one picture through our runtime's interface, by the names of
            :data:`parts.PROMPT_ROWS`; empty if not measured.
    """

    checkpoint: str
    artifacts: list[str]
    quick: bool
    date: str
    machine: MachineFacts
    threads: int
    rounds: int
    seed: int
    peaks: list[PeakRates] = field(default_factory=list)
    parts: list[PartInfo] = field(default_factory=list)
    engines: list[EngineResult] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    prompts: list[Timing] = field(default_factory=list)

    @property
    def ours(self) -> list[EngineResult]:
        """Our engines, an artifact each."""
        return [e for e in self.engines if e.ours]

    def title(self, engine: str) -> str:
        """Of the engine of this name."""
        return next(e.title for e in self.engines if e.name == engine)

    def timing(self, part: str, engine: str) -> Timing | None:
        """The timing of a part in an engine, if there is one."""
        found = (t for t in self.timings if t.part == part and t.engine == engine)
        return next(found, None)

    def ratio(self, timing: Timing) -> float:
        """How many times as long as the first of ours; NaN without a time of either."""
        first = self.timing(timing.part, self.ours[0].name) if self.ours else None
        return timing.median / first.median if first is not None else float("nan")

    def best_peer(self, part: str, exact: Error | None = None) -> Timing | None:
        """The fastest of the other engines in a part whose results aren't off, if any was timed.

        Args:
            part: its name.
            exact: leaves those alone that are at least as exact as this.
        """
        ours = {e.name for e in self.ours}
        found = [
            t
            for t in self.timings
            if t.part == part and t.engine not in ours and t.seconds
            if t.error is not None and not t.off
            if exact is None or t.error.at_least_as_exact_as(exact)
        ]
        return min(found, key=lambda t: t.median, default=None)

    def comparisons(self) -> list[Comparison]:
        """Each of ours beside the others, part by part."""
        made = []
        for part in self.parts:
            for engine in self.ours:
                timing = self.timing(part.name, engine.name)
                if timing is not None and timing.seconds and timing.error is not None:
                    exact = self.best_peer(part.name, timing.error)
                    made.append(Comparison(part, timing, exact, self.best_peer(part.name)))
        return made

    def gains(self) -> dict[str, dict[str, float]]:
        """What eight prompts cost in one call, as a share of what they cost one by one.

        ``encoded``: on one encoded picture; ``fresh``: what the detector computes once a picture
        is done once, against once for each prompt. By our engines; nothing of what wasn't timed.
        """
        found: dict[str, dict[str, float]] = {}
        for engine in self.ours:
            mine = (t for t in self.prompts if t.engine == engine.name)
            medians = {t.part: t.median for t in mine if t.seconds}
            gains = {
                name: medians[together] / medians[singly]
                for name, together, singly in (
                    ("encoded", "eight_together", "eight_singly"),
                    ("fresh", "eight_fresh_together", "eight_fresh_singly"),
                )
                if together in medians and singly in medians
            }
            if gains:
                found[engine.name] = gains
        return found

    def peak(self, arithmetic: str) -> float:
        """The machine's in a kind of arithmetic, by its widest instruction, operations a second;
        NaN if it wasn't measured."""
        found = (p.median for p in self.peaks if p.arithmetic == arithmetic)
        return next(found, float("nan"))

    def rate(self, timing: Timing) -> float:
        """FLOP/s of PyTorch's graph in this time: an engine that needs less has more."""
        flops = next(p.flops for p in self.parts if p.name == timing.part)
        return flops / timing.median

    def share(self, timing: Timing) -> float:
        """Of the peak of the arithmetic that the engine computes the part in; NaN without one."""
        return self.rate(timing) / self.peak(timing.arithmetic)


@dataclass(frozen=True)
class Comparison:
    """One of ours in one part, beside the others.

    Attributes:
        part: which.
        ours: our timing.
        exact: the fastest of those that are at least as exact; None without any.
        best: the fastest of all that aren't off; None without any.
    """

    part: PartInfo
    ours: Timing
    exact: Timing | None
    best: Timing | None

    def times(self, other: Timing | None) -> float:
        """How many times as fast as another ours is; NaN without it, or where ours is off."""
        return float("nan") if other is None or self.ours.off else other.median / self.ours.median
