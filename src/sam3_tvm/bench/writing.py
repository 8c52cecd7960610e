"""A benchmark's report as JSON, as Markdown, and in the words that tables and charts share."""

from __future__ import annotations

import math
from dataclasses import asdict
from statistics import median
from typing import Any

from sam3_tvm.bench.exactness import OFF, ROUNDING, SLACK
from sam3_tvm.bench.parts import KEPT, PROMPT_ROWS
from sam3_tvm.bench.report import BenchReport, Comparison, EngineResult, PartInfo, Timing

__all__ = [
    "OFF_MARK",
    "duration",
    "errors",
    "gain_sentences",
    "headline",
    "markdown",
    "peak_lines",
    "percent",
    "to_json",
    "verdicts",
]

OFF_MARK = "off"
"""Marks an engine whose result is something else than PyTorch's."""

_GIB = 1 << 30


def duration(seconds: float) -> str:
    """A time in the unit that reads well, three digits."""
    if seconds != seconds:
        return "-"
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"


def percent(share: float) -> str:
    """A share, or a dash."""
    return f"{share:.0%}" if math.isfinite(share) else "-"


def errors(timing: Timing) -> tuple[str, str]:
    """The rms error and the largest, with the mark of one that is off."""
    if timing.error is None:
        return "-", "-"
    mark = f" {OFF_MARK}" if timing.off else ""
    return f"{timing.error.rms:.1e}{mark}", f"{timing.error.largest:.1e}"


def to_json(report: BenchReport) -> dict[str, Any]:
    """The findings as plain data, with what tables derive from them."""
    data = asdict(report)
    for plain, peak in zip(data["peaks"], report.peaks, strict=True):
        plain["median"] = peak.median if peak.rates else None
    for plain, timing in zip(data["timings"], report.timings, strict=True):
        plain |= _judged(timing)
        if timing.seconds:
            share = report.share(timing)
            plain["median_seconds"] = timing.median
            plain["ratio_to_ours"] = _known(report.ratio(timing))
            plain["flops_per_second"] = report.rate(timing)
            plain["share_of_peak"] = _known(share)
    for plain, timing in zip(data["prompts"], report.prompts, strict=True):
        row = PROMPT_ROWS[timing.part]
        plain |= {"title": row.title, "prompts": row.prompts, **_judged(timing)}
        if timing.seconds:
            plain["median_seconds"] = timing.median
    data["eight_of_one_by_one"] = report.gains()
    data["summary"] = [
        {
            "part": one.part.name,
            "ours": one.ours.engine,
            "best_at_least_as_exact": one.exact and one.exact.engine,
            "times_the_best_at_least_as_exact": _known(one.times(one.exact)),
            "best_of_all": one.best and one.best.engine,
            "times_the_best_of_all": _known(one.times(one.best)),
        }
        for one in report.comparisons()
    ]
    return data


def _judged(timing: Timing) -> dict[str, Any]:
    """The error, null where it is none that JSON has a number for, and whether it is off."""
    error = timing.error
    named = {"rms": _known(error.rms), "largest": _known(error.largest)} if error else None
    return {"error": named, "off": timing.off}


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def verdicts(report: BenchReport, part: PartInfo) -> list[list[str]]:
    """For each of ours, beside the fastest of the others that are as exact and of all, a few words
    each; none without both."""
    several = len(report.ours) > 1
    told = []
    for one in report.comparisons():
        if one.part.name == part.name and one.best is not None:
            name = f"{report.title(one.ours.engine)}: " if several else ""
            told.append([f"{name}{words}" for words in _verdict(report, one, one.best)])
    return told


def _verdict(report: BenchReport, one: Comparison, best: Timing) -> list[str]:
    if one.ours.off:
        return [f"{OFF_MARK}, so compared with none"]
    if one.exact is best:
        return [f"{_times(report, one, best)} (best of all, as exact)"]
    exact = "none of the others is as exact"
    if one.exact is not None:
        exact = f"{_times(report, one, one.exact)} (best as exact)"
    return [exact, f"{_times(report, one, best)} (best of all)"]


def _times(report: BenchReport, one: Comparison, other: Timing) -> str:
    times, title = one.times(other), report.title(other.engine)
    if times >= 1:
        return f"{times:.2f} times as fast as {title}"
    return f"{1 / times:.2f} times slower than {title}"


def headline(report: BenchReport) -> str:
    """The machine and how it was used, in one line."""
    machine = report.machine
    memory = f", {machine.memory_bytes / _GIB:.0f} GiB" if machine.memory_bytes else ""
    threads = f"{report.threads} thread" + ("s" if report.threads != 1 else "")
    peaks = ", ".join(
        f"{p.instruction} {p.median / 1e9:.0f} {_unit(p.arithmetic)}"
        for p in report.peaks
        if p.rates
    )
    return (
        f"{machine.cpu}, {machine.level}, {machine.cores} cores{memory}; {threads}; "
        f"measured peak {peaks}"
    )


def peak_lines(report: BenchReport) -> list[str]:
    """A sentence on each kind of arithmetic: its peak, by every instruction that was measured, or
    that this CPU has none."""
    told: dict[str, list[str]] = {}
    for peak in report.peaks:
        sentences = told.setdefault(peak.arithmetic, [])
        if not peak.rates:
            sentences.append("this CPU has no instruction for products of it")
            continue
        low, high = min(peak.rates) / 1e9, max(peak.rates) / 1e9
        sentences.append(
            f"{peak.instruction}, {peak.median / 1e9:.0f} "
            f"{_unit(peak.arithmetic)} ({low:.0f} to {high:.0f} in {len(peak.rates)} measurements)"
        )
    return [f"{arithmetic}: {'; '.join(sentences)}" for arithmetic, sentences in told.items()]


def _unit(arithmetic: str) -> str:
    return "Gop/s" if arithmetic.startswith("int") else "GFLOP/s"


def markdown(report: BenchReport) -> str:
    """The report for people: tables, and under them what the numbers are."""
    kind = "quick model, few layers at full width" if report.quick else report.checkpoint
    lines = [
        f"# Benchmark: {kind}",
        "",
        f"{headline(report)}. {report.machine.system}, Python {report.machine.python}. "
        f"{report.date}, {report.rounds} rounds, seed {report.seed}.",
        "",
    ]
    if report.timings:
        lines += [*_summary(report), ""]
    for part in report.parts:
        lines += [f"## {part.title}", ""]
        lines.append(f"`{'`, `'.join(part.functions)}`, {part.flops / 1e9:.3g} GFLOP")
        lines += ["", *_part_table(report, part), ""]
    if report.prompts:
        lines += ["## Several prompts on one picture", "", *_prompts(report), ""]
    lines += ["## Engines", "", *_engine_table(report), ""]
    lines += ["## Peaks", "", *(f"- {line}" for line in peak_lines(report)), "", *_notes(report)]
    return "\n".join(lines) + "\n"


def _part_table(report: BenchReport, part: PartInfo) -> list[str]:
    of = report.ours[0].title if len(report.ours) > 1 else "ours"
    rows = [
        f"| engine | median | rms error | max error | min .. max | runs | times {of} "
        "| products in | GFLOP/s | of peak | first call |",
        "|---|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|",
    ]
    for t in (t for t in report.timings if t.part == part.name):
        rms, most = errors(t)
        title = report.title(t.engine)
        if not t.seconds:
            rows.append(f"| {title} | {t.failed} | {rms} | {most} | | | | | | | |")
            continue
        rows.append(
            f"| {title} | {duration(t.median)} | {rms} | {most} "
            f"| {duration(min(t.seconds))} .. {duration(max(t.seconds))} | {len(t.seconds)} "
            f"| {report.ratio(t):.2f} | {t.arithmetic} | {report.rate(t) / 1e9:.1f} "
            f"| {percent(report.share(t))} | {duration(t.first_seconds or float('nan'))} |"
        )
    return rows


def _summary(report: BenchReport) -> list[str]:
    rows = [
        "| | ours | | rms error | of peak | best at least as exact | | ours is faster "
        "| best of all | | rms error | ours is faster |",
        "|---|---|--:|--:|--:|---|--:|--:|---|--:|--:|--:|",
    ]
    for one in report.comparisons():
        ours = one.ours
        cells = [
            report.title(ours.engine),
            duration(ours.median),
            errors(ours)[0],
            percent(report.share(ours)),
        ]
        cells += [*_other(report, one.exact), _faster(one.times(one.exact))]
        error = "-" if one.best is None else errors(one.best)[0]
        cells += [*_other(report, one.best), error, _faster(one.times(one.best))]
        rows.append(f"| {one.part.title} | {' | '.join(cells)} |")
    return rows


def _other(report: BenchReport, timing: Timing | None) -> tuple[str, str]:
    if timing is None:
        return "-", "-"
    return report.title(timing.engine), duration(timing.median)


def _faster(times: float) -> str:
    return f"**{times:.2f} times**" if math.isfinite(times) else "-"


def _prompts(report: BenchReport) -> list[str]:
    rows = [
        "| ours, through `Model.segment` | median | min .. max | a prompt |",
        "|---|--:|--:|--:|",
    ]
    for t in report.prompts:
        row = PROMPT_ROWS[t.part]
        several = len(report.ours) > 1
        title = f"{report.title(t.engine)}: {row.title}" if several else row.title
        if not t.seconds:
            rows.append(f"| {title} | {t.failed} | | |")
            continue
        spread = f"{duration(min(t.seconds))} .. {duration(max(t.seconds))}"
        each = duration(t.median / row.prompts)
        rows.append(f"| {title} | {duration(t.median)} | {spread} | {each} |")
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
    several = len(report.ours) > 1
    return [
        (f"{report.title(engine)}: " if several else "") + words[name].format(gain)
        for engine, gains in report.gains().items()
        for name, gain in gains.items()
    ]


def _engine_table(report: BenchReport) -> list[str]:
    rows = [
        "| engine | computes, by its own account | versions | load | peak memory |",
        "|---|---|---|--:|--:|",
    ]
    return rows + [_engine_row(engine) for engine in report.engines]


def _engine_row(engine: EngineResult) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in engine.versions.items())
    if engine.failed is not None:
        return f"| {engine.title} | {engine.failed} | {versions or '-'} | - | - |"
    load = duration(median(engine.load_seconds))
    peak = engine.peak_bytes
    memory = "-" if peak is None else f"{peak / _GIB:.2f} GiB"
    return f"| {engine.title} | {engine.precision} | {versions} | {load} | {memory} |"


def _notes(report: BenchReport) -> list[str]:
    notes = [
        "Engines ran in processes of their own, in turn in every round, on the same inputs and "
        "as many threads each. First calls were compared with the results of PyTorch in float32 "
        "and don't count.",
        "Errors are relative to PyTorch in float32: the root mean square of the differences over "
        "that of the values, and the largest difference over the largest value, of the output "
        f"that is furthest off. An rms error above {OFF} is marked `{OFF_MARK}`: such a result is "
        "no answer to the question, so its time is compared with nothing. At least as exact as "
        f"ours is an rms error of at most {SLACK} times ours, or of {ROUNDING:.0e}, which is what "
        "the order of additions makes in float32.",
        "GFLOP/s is for what PyTorch's graph computes in products, convolutions and attention, a "
        "multiply-add as two; an engine that finds a shorter way to the same result shows a "
        "higher rate. The share is of the peak in the kind of arithmetic that the engine says it "
        "takes most products in, by the widest instruction that this CPU has for it; a peak is "
        "that of register-to-register instructions, measured between the turns. Load is from the "
        "start of the process until it could be called. Peak memory is the operating system's "
        "count for the process, mapped weights included.",
    ]
    if any(len(p.functions) > 1 for p in report.parts):
        notes.append(
            f"After the encoders, ours decodes masks for {KEPT} kept queries, as its runtime does "
            "for what it found; PyTorch's `Sam3Model.forward`, and what is made of it, decodes "
            "all queries. `--functions mask_decoder` compares them on the same ones."
        )
    return [line for note in notes for line in (note, "")][:-1]
