"""What a benchmark found, as data, as JSON and as Markdown."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from sam3_tvm.bench.engines import OURS
from sam3_tvm.bench.parts import KEPT, PROMPT_ROWS

__all__ = [
    "BenchReport",
    "EngineResult",
    "MachineFacts",
    "PartInfo",
    "Timing",
    "duration",
    "gain_sentences",
    "headline",
    "markdown",
    "to_json",
    "verdict",
]

_GIB = 1 << 30


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
class EngineResult:
    """One engine's process.

    Attributes:
        name, title: the engine.
        versions: of its packages.
        load_seconds: from starting the process until it could be called, imports included;
            one for each time that it was started.
        peak_bytes: the most memory it held at once.
        failed: why it could not be measured at all; None if it could.
    """

    name: str
    title: str
    versions: dict[str, str] = field(default_factory=dict)
    load_seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    failed: str | None = None


@dataclass
class Timing:
    """One part in one engine.

    Attributes:
        part, engine: their names; the part may be one of :data:`parts.PROMPT_ROWS`.
        first_seconds: the first call, in which compilers compile and pages are touched.
        seconds: the calls after warming up.
        error: largest error of an output relative to PyTorch eager's largest value.
        failed: why there is no time; None if there is one.
    """

    part: str
    engine: str
    first_seconds: float | None = None
    seconds: list[float] = field(default_factory=list)
    error: float | None = None
    failed: str | None = None

    @property
    def median(self) -> float:
        """Of ``seconds``; NaN without any."""
        return median(self.seconds) if self.seconds else float("nan")


@dataclass
class BenchReport:
    """A whole run.

    Attributes:
        checkpoint, artifact: what was measured.
        quick: whether it was the small model of ``--quick``.
        date: when, UTC.
        machine: where.
        threads, rounds, seed: how.
        peak_flops: FLOP/s of the machine, measured before, between and after.
        parts, engines, timings: the findings. Our engine is the first.
        prompts: several prompts on one picture through our runtime's interface, by the names of
            :data:`parts.PROMPT_ROWS`; empty if not measured.
        weights: the precision in which ours stores weights; the others' is float32.
    """

    checkpoint: str
    artifact: str
    quick: bool
    date: str
    machine: MachineFacts
    threads: int
    rounds: int
    seed: int
    peak_flops: list[float] = field(default_factory=list)
    parts: list[PartInfo] = field(default_factory=list)
    engines: list[EngineResult] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    prompts: list[Timing] = field(default_factory=list)
    weights: str = "float32"

    @property
    def peak(self) -> float:
        """Median of ``peak_flops``, NaN without any."""
        return median(self.peak_flops) if self.peak_flops else float("nan")

    def timing(self, part: str, engine: str) -> Timing | None:
        """The timing of a part in an engine, if there is one."""
        found = (t for t in self.timings if t.part == part and t.engine == engine)
        return next(found, None)

    def ratio(self, timing: Timing) -> float:
        """How many times as long as ours; NaN without a time of either."""
        ours = self.timing(timing.part, OURS)
        return timing.median / ours.median if ours is not None else float("nan")

    def best_peer(self, part: str) -> Timing | None:
        """The fastest of the other engines in a part, if any was timed."""
        found = [t for t in self.timings if t.part == part and t.engine != OURS and t.seconds]
        return min(found, key=lambda t: t.median, default=None)

    def gains(self) -> dict[str, float]:
        """What eight prompts cost in one call, as a share of what they cost one by one.

        ``encoded``: on one encoded picture; ``fresh``: what the detector computes once a picture
        is done once, against once for each prompt. Nothing of what wasn't timed.
        """
        medians = {t.part: t.median for t in self.prompts if t.seconds}
        return {
            name: medians[together] / medians[singly]
            for name, together, singly in (
                ("encoded", "eight_together", "eight_singly"),
                ("fresh", "eight_fresh_together", "eight_fresh_singly"),
            )
            if together in medians and singly in medians
        }

    def rate(self, timing: Timing) -> float:
        """FLOP/s of PyTorch's graph in this time: an engine that needs less has more."""
        flops = next(p.flops for p in self.parts if p.name == timing.part)
        return flops / timing.median


def duration(seconds: float) -> str:
    """A time in the unit that reads well, three digits."""
    if seconds != seconds:
        return "-"
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"


def to_json(report: BenchReport) -> dict[str, Any]:
    """The findings as plain data, with what tables derive from them; NaN for what isn't known."""
    data = asdict(report)
    data["peak_flops_median"] = report.peak
    for plain, timing in zip(data["timings"], report.timings, strict=True):
        if timing.seconds:
            plain["median_seconds"] = timing.median
            plain["ratio_to_ours"] = report.ratio(timing)
            plain["flops_per_second"] = report.rate(timing)
            plain["share_of_peak"] = report.rate(timing) / report.peak
    for plain, timing in zip(data["prompts"], report.prompts, strict=True):
        row = PROMPT_ROWS[timing.part]
        plain |= {"title": row.title, "prompts": row.prompts, "median_seconds": timing.median}
    data["eight_of_one_by_one"] = report.gains()
    data["summary"] = [
        {
            "part": part.name,
            "best_peer": None if best is None else best.engine,
            "times_the_best_peer": None if best is None else report.ratio(best),
        }
        for part in report.parts
        for best in [report.best_peer(part.name)]
    ]
    return data


def verdict(report: BenchReport, part: PartInfo) -> str:
    """Ours beside the fastest of the others, in a few words; empty without both."""
    ours, best = report.timing(part.name, OURS), report.best_peer(part.name)
    if ours is None or not ours.seconds or best is None:
        return ""
    titles = {e.name: e.title for e in report.engines}
    ratio = report.ratio(best)
    if ratio >= 1:
        return f"{ratio:.2f} times as fast as {titles[best.engine]}"
    return f"{1 / ratio:.2f} times slower than {titles[best.engine]}"


def headline(report: BenchReport) -> str:
    """The machine and how it was used, in one line."""
    machine = report.machine
    memory = f", {machine.memory_bytes / _GIB:.0f} GiB" if machine.memory_bytes else ""
    threads = f"{report.threads} thread" + ("s" if report.threads != 1 else "")
    weights = "" if report.weights == "float32" else f", ours with {report.weights} weights"
    return (
        f"{machine.cpu}, {machine.level}, {machine.cores} cores{memory}; {threads}, "
        f"float32{weights}; measured FMA peak {report.peak / 1e9:.0f} GFLOP/s"
    )


def markdown(report: BenchReport) -> str:
    """The report for people: tables, and under them what the numbers are."""
    kind = "quick model, few layers at full width" if report.quick else report.checkpoint
    low, high = min(report.peak_flops), max(report.peak_flops)
    lines = [
        f"# Benchmark: {kind}",
        "",
        f"{headline(report)} ({low / 1e9:.0f} to {high / 1e9:.0f} in "
        f"{len(report.peak_flops)} measurements). {report.machine.system}, Python "
        f"{report.machine.python}. {report.date}, {report.rounds} rounds, seed {report.seed}.",
        "",
    ]
    titles = {e.name: e.title for e in report.engines}
    if report.timings:
        lines += [*_summary(report, titles), ""]
    for part in report.parts:
        lines += [f"## {part.title}", ""]
        lines.append(f"`{'`, `'.join(part.functions)}`, {part.flops / 1e9:.3g} GFLOP")
        lines += ["", *_part_table(report, part, titles), ""]
    if report.prompts:
        lines += ["## Several prompts on one picture", "", *_prompts(report), ""]
    lines += ["## Engines", "", *_engine_table(report), "", *_notes(report)]
    return "\n".join(lines) + "\n"


def _part_table(report: BenchReport, part: PartInfo, titles: dict[str, str]) -> list[str]:
    rows = [
        "| engine | median | min .. max | runs | times ours | GFLOP/s | of peak | first call "
        "| max relative error |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for t in (t for t in report.timings if t.part == part.name):
        error = "-" if t.error is None else f"{t.error:.1e}"
        if t.failed is not None:
            rows.append(f"| {titles[t.engine]} | {t.failed} | | | | | | | {error} |")
            continue
        rate = report.rate(t)
        rows.append(
            f"| {titles[t.engine]} | {duration(t.median)} "
            f"| {duration(min(t.seconds))} .. {duration(max(t.seconds))} | {len(t.seconds)} "
            f"| {report.ratio(t):.2f} | {rate / 1e9:.1f} | {rate / report.peak:.0%} "
            f"| {duration(t.first_seconds or float('nan'))} | {error} |"
        )
    return rows


def _summary(report: BenchReport, titles: dict[str, str]) -> list[str]:
    rows = [
        "| | ours | of peak | best of the others | | ours is faster |",
        "|---|--:|--:|---|--:|--:|",
    ]
    for part in report.parts:
        ours, best = report.timing(part.name, OURS), report.best_peer(part.name)
        cells = ["-", "-", "-", "-", "-"]
        if ours is not None and ours.seconds:
            cells[:2] = [duration(ours.median), f"{report.rate(ours) / report.peak:.0%}"]
        if best is not None:
            cells[2:4] = [titles[best.engine], duration(best.median)]
            if cells[0] != "-":
                cells[4] = f"**{report.ratio(best):.2f} times**"
        rows.append(f"| {part.title} | {' | '.join(cells)} |")
    return rows


def _prompts(report: BenchReport) -> list[str]:
    rows = [
        "| ours, through `Model.segment` | median | min .. max | a prompt |",
        "|---|--:|--:|--:|",
    ]
    for t in report.prompts:
        row = PROMPT_ROWS[t.part]
        if not t.seconds:
            rows.append(f"| {row.title} | {t.failed} | | |")
            continue
        spread = f"{duration(min(t.seconds))} .. {duration(max(t.seconds))}"
        each = duration(t.median / row.prompts)
        rows.append(f"| {row.title} | {duration(t.median)} | {spread} | {each} |")
    return [
        *rows,
        "",
        *(f"{sentence}." for sentence in gain_sentences(report)),
        "",
        "The vision encoder and the text encoder are no part of these rows. A new picture is "
        "what `encode_image` does beside the vision encoder: preparing the picture, and what the "
        f"detector computes of the picture alone. About {KEPT} masks are decoded for a prompt.",
    ]


def gain_sentences(report: BenchReport) -> list[str]:
    """What :meth:`BenchReport.gains` found, for people."""
    words = {
        "encoded": "Eight prompts in one call take {:.2f} of the time of eight calls, on a picture "
        "encoded before",
        "fresh": "With a new picture, once for the call or once for each prompt, they take {:.2f}",
    }
    return [words[name].format(gain) for name, gain in report.gains().items()]


def _engine_table(report: BenchReport) -> list[str]:
    rows = ["| engine | versions | load | peak memory |", "|---|---|--:|--:|"]
    for e in report.engines:
        versions = ", ".join(f"{k} {v}" for k, v in e.versions.items())
        if e.failed is not None:
            rows.append(f"| {e.title} | {versions or '-'} | failed: {e.failed} | - |")
            continue
        load = duration(median(e.load_seconds))
        rows.append(f"| {e.title} | {versions} | {load} | {e.peak_bytes / _GIB:.2f} GiB |")
    return rows


def _notes(report: BenchReport) -> list[str]:
    notes = [
        "Engines ran in processes of their own, in turn in every round, on the same inputs and "
        "as many threads each. First calls were compared with PyTorch eager's results and don't "
        "count. GFLOP/s is for what PyTorch's graph computes in products, convolutions and "
        "attention, a multiply-add as two; an engine that finds a shorter way to the same result "
        "shows a higher rate. The peak is a kernel of register-to-register multiply-adds, "
        "measured between the turns. Load is from the start of the process until it could be "
        "called. Peak memory is the operating system's count for the process, mapped weights "
        "included.",
    ]
    if any(len(p.functions) > 1 for p in report.parts):
        notes.append(
            f"After the encoders, ours decodes masks for {KEPT} kept queries, as its runtime does "
            "for what it found; PyTorch's `Sam3Model.forward`, and what is made of it, decodes "
            "all queries. `--functions mask_decoder` compares them on the same ones."
        )
    return [line for note in notes for line in (note, "")][:-1]
