"""``sam3-tvm bench``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam3_tvm.cli.options import JsonForTables, output_option
from sam3_tvm.cli.paths import local_path
from sam3_tvm.cli.terminal import (
    byte_size,
    complain,
    json_text,
    reporting,
    say,
    say_json,
    show,
    table,
)
from sam3_tvm.errors import UsageError
from sam3_tvm.extras import needed
from sam3_tvm.files import OutputFile

if TYPE_CHECKING:
    from sam3_tvm.bench import BenchReport
    from sam3_tvm.bench.profile import Profile

__all__ = ["command"]


def command(
    artifacts: Annotated[
        list[Path] | None,
        typer.Argument(
            help="The folders of one or several artifacts of one checkpoint; none with --quick.",
            metavar="[DIR]...",
            parser=local_path,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="Engines to compare with, separated by commas: torch, torch-bf16 (autocast), "
            "torch-compile, onnxruntime, onnxruntime-int8 (dynamic), openvino (as it comes: "
            "bfloat16 where the CPU has it), openvino-f32, openvino-int8 (by NNCF). By default "
            "those that are installed; 'none' measures ours alone.",
            metavar="NAMES",
        ),
    ] = None,
    functions: Annotated[
        str | None,
        typer.Option(
            help="Parts to measure: encode_image, text, one_prompt, eight_prompts, click, film (a "
            "frame with one phrase and three objects), or single functions such as mask_decoder, "
            "separated by commas. By default the parts that the artifact has but for film, with "
            "--quick encode_image.",
            metavar="NAMES",
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(help="Turns of each engine. By default 3, with --quick 2.", min=1),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Threads of every engine. By default all physical cores.", min=1),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random inputs.", min=0)] = 0,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Measure few layers at SAM 3's widths, compiled on the fly."),
    ] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Show our functions kernel by kernel instead."),
    ] = False,
    output: Annotated[
        Path | None,
        output_option(
            "Where the report goes: FILE.json, and beside it FILE.md and FILE.png. By default "
            "bench.json; with --json and with --profile, which writes FILE.json alone, nowhere.",
            "FILE",
        ),
    ] = None,
    as_json: JsonForTables = False,
) -> None:
    """Measure artifacts beside PyTorch, torch.compile, ONNX Runtime and OpenVINO.

    Every engine runs in a process of its own, in turn, on the same inputs, as a user would get it:
    most in float32, some in bfloat16 or eight bits. So beside every time stands the error, relative
    to PyTorch in float32: the root mean square of the differences (rms), and the largest. A result
    with an rms error above 0.1 is marked "off" and compared with nothing. Under each table ours is
    compared with the fastest that is at least as exact, and with the fastest of all. The exit code
    is 1 when ours could not be measured, or is off.

    [bold]Examples[/bold]

    sam3-tvm bench --quick
    sam3-tvm bench sam3-cpu --against torch,openvino --rounds 5 -o results/bench.json
    sam3-tvm bench sam3-f32 sam3-int8 --against openvino,openvino-f32,openvino-int8
    sam3-tvm bench sam3-cpu --functions film --against torch
    sam3-tvm bench sam3-cpu --functions detr_decoder,mask_decoder
    sam3-tvm bench sam3-cpu --profile --functions vision_encoder -o profile.json
    """
    if output is not None:
        OutputFile(output, "-o")  # what can't be written to later is said now
    folders = list(artifacts or [])
    if profile:
        if len(folders) != 1 or quick:
            raise UsageError("--profile takes the folder of an artifact, and no --quick")
        _profile(folders[0], _names(functions), threads, seed, output, as_json)
        return
    if output is None and not as_json:
        output = Path("bench.json")
    with needed("compile", "comparing engines"):
        # The engines' processes need them.
        import torch
        import tvm

        del torch, tvm

    from sam3_tvm.bench import Options, bench

    names = [] if against == "none" else _names(against)
    options = Options(folders, names, _names(functions), rounds, threads, quick, seed)
    with reporting() as progress:
        report = bench(options, progress)
    if as_json:
        from sam3_tvm.bench.writing import to_json

        say_json(to_json(report))
    else:
        _print_report(report)
    if output is not None:
        written = _write(report, output)
        if not as_json:
            for path in written:
                say(f"wrote {path}")
    ours = {engine.name for engine in report.ours}
    for t in (t for t in [*report.timings, *report.prompts] if t.engine in ours):
        if t.failed is not None:
            complain(f"not measured: {t.part}: {t.failed}")
            raise typer.Exit(1)
        if t.off:
            complain(f"wrong results: {t.part}: the rms error is {t.error}")
            raise typer.Exit(1)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [n.strip() for n in text.split(",") if n.strip()]


def _write(report: BenchReport, output: Path) -> list[Path]:
    """Write the report in its three forms; the chart where it can be drawn."""
    from sam3_tvm.bench.writing import markdown, to_json

    paths = [output, output.with_suffix(".md")]
    OutputFile(paths[0], "-o").write_text(json_text(to_json(report)) + "\n")
    OutputFile(paths[1], "-o").write_text(markdown(report))
    try:
        if report.parts:
            from sam3_tvm.bench.chart import draw

            paths.append(output.with_suffix(".png"))
            OutputFile(paths[2], "-o").write(lambda path: draw(report, path))
    except ModuleNotFoundError as error:
        paths.pop()
        complain(f"no chart: {error.name} is not installed: pip install 'sam3-tvm[bench]'")
    return paths


def _print_report(report: BenchReport) -> None:
    from statistics import median

    from sam3_tvm.bench.writing import (
        duration,
        errors,
        headline,
        peak_lines,
        percent,
        verdicts,
    )

    say(headline(report))
    for line in peak_lines(report):
        say(f"peak of {line}")
    say("")
    of = report.ours[0].title if len(report.ours) > 1 else "ours"
    columns = ("median", "rms error", "max error", "min", "max", f"x {of}", "GFLOP/s", "of peak")
    for part in report.parts:
        rows = table("engine", *columns, right=columns)
        for t in (t for t in report.timings if t.part == part.name):
            figures = ["-", *errors(t)]
            if t.seconds:
                figures[0] = duration(t.median)
                figures += [duration(s) for s in (min(t.seconds), max(t.seconds))]
                figures.append(f"{report.ratio(t):.2f}")
                figures.append(f"{report.rate(t) / 1e9:.1f}")
                figures.append(percent(report.share(t)))
            rows.add_row(report.title(t.engine), *figures, *[""] * (len(columns) - len(figures)))
        show(f"{part.title} ({part.flops / 1e9:.3g} GFLOP)", rows)
        for told in verdicts(report, part):
            say(("" if len(report.ours) > 1 else "ours: ") + "; ".join(told))
        say("")
    dead = {e.name for e in report.engines if e.failed is not None}
    for t in report.timings:
        if t.failed is not None and t.engine not in dead:
            say(f"{report.title(t.engine)}, {t.part}: {t.failed}")
    if report.prompts:
        _print_prompts(report)
    right = ("load", "peak memory")
    engines = table("engine", *right, "computes", "versions", right=right)
    for e in report.engines:
        if e.failed is not None:
            engines.add_row(e.title, "", "", e.failed, "")
            continue
        versions = ", ".join(f"{k} {v}" for k, v in e.versions.items())
        load = duration(median(e.load_seconds))
        memory = "" if e.peak_bytes is None else byte_size(e.peak_bytes)
        engines.add_row(e.title, load, memory, e.precision, versions)
    show("Engines", engines)


def _print_prompts(report: BenchReport) -> None:
    from sam3_tvm.bench.parts import PROMPT_ROWS
    from sam3_tvm.bench.writing import duration, gain_sentences

    several = len(report.ours) > 1
    columns = ("median", "min", "max", "a prompt")
    rows = table("ours, after the encoders", *columns, right=columns)
    for t in report.prompts:
        row = PROMPT_ROWS[t.part]
        title = f"{report.title(t.engine)}: {row.title}" if several else row.title
        if t.seconds:
            figures = (t.median, min(t.seconds), max(t.seconds), t.median / row.prompts)
            rows.add_row(title, *map(duration, figures))
        else:
            rows.add_row(title, t.failed or "")
    show("Several prompts on one picture", rows)
    for sentence in gain_sentences(report):
        say(sentence)
    say("")


def _profile(
    path: Path,
    functions: list[str] | None,
    threads: int | None,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    with needed("compile", "profiling"):
        from sam3_tvm import artifact as artifacts
        from sam3_tvm.bench.peak import Peak, find_instructions, held_to
        from sam3_tvm.bench.profile import profile
        from sam3_tvm.compiler.targets.cpu import CpuTarget
    from sam3_tvm.runtime.execution.engine import checked_threads

    count = checked_threads(threads)
    found = find_instructions(CpuTarget.native())
    meters = {one.name: Peak(count, one) for ones in found.values() for one in ones}
    before = {name: meter.rate() for name, meter in meters.items()}
    with reporting() as progress:
        progress("run every function twice", 0, 1)
        profiles = profile(path, functions, count, seed)
        progress("done", 1, 1)
    # A machine that is shared, or hot, changes meanwhile.
    rates = {name: (before[name] + meter.rate()) / 2 for name, meter in meters.items()}
    chosen = held_to(found, artifacts.open(path).manifest.target.cpu_features)
    peaks = {kind: rates[one.name] for kind, one in chosen.items()}
    document = {
        "artifact": f"{path}",
        "threads": count,
        "instructions": rates,
        "held_to": {kind: one.name for kind, one in chosen.items()},
        "peaks": peaks,
        "functions": [one.to_json(peaks) for one in profiles],
    }
    if as_json:
        say_json(document)
    else:
        measured = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in rates.items())
        say(f"{count} threads, measured peaks in GFLOP/s: {measured}")
        if any(len(ones) > 1 for ones in found.values()):
            held = ", ".join(f"{kind} to that of {one.name}" for kind, one in chosen.items())
            say(f"'of peak' holds {held}: what this artifact may use")
        for one in profiles:
            _print_profile(one, peaks)
        _print_totals(profiles, peaks)
    if output is not None:
        OutputFile(output, "-o").write_text(json_text(document) + "\n")
        if not as_json:
            say(f"wrote {output}")


_ROWS = 20


def _print_profile(one: Profile, peaks: dict[str, float]) -> None:
    from sam3_tvm.bench.writing import duration

    columns = ("time", "share", "calls", "GFLOP/s", "of peak", "GB/s")
    rows = table(*columns, "kernel", right=columns)
    for row in one.kernels[:_ROWS]:
        share = row.share(peaks)
        rows.add_row(
            duration(row.seconds),
            f"{row.seconds / one.seconds:.1%}",
            f"{row.calls}",
            "" if row.rate is None else f"{row.rate / 1e9:.1f}",
            "" if share is None else f"{share:.0%}",
            f"{row.bytes / row.seconds / 1e9:.1f}" if row.bytes else "",
            row.name,
        )
    if rest := one.kernels[_ROWS:]:
        seconds = sum(r.seconds for r in rest)
        calls = f"{sum(r.calls for r in rest)}"
        part = f"{seconds / one.seconds:.1%}"
        rows.add_row(duration(seconds), part, calls, "", "", "", f"{len(rest)} others")
    rows.add_row(
        duration(one.between), f"{one.between / one.seconds:.1%}", "", "", "", "", "between them"
    )
    show(f"{one.function}: {duration(one.seconds)}", rows)


def _print_totals(profiles: list[Profile], peaks: dict[str, float]) -> None:
    """A line for each function: what it took, what its kernels computed, and how well."""
    from sam3_tvm.bench.writing import duration

    columns = ("time", "GFLOP", "GFLOP/s", "of peak")
    rows = table("function", *columns, right=columns)
    for one in profiles:
        rate = one.flops / one.seconds
        rows.add_row(
            one.function,
            duration(one.seconds),
            f"{one.flops / 1e9:.3g}",
            f"{rate / 1e9:.1f}",
            f"{one.share(peaks):.0%}",
        )
    show("Functions", rows)
