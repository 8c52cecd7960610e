"""``sam3-tvm compile``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam3_tvm.cli.advice import said_in_a_line
from sam3_tvm.cli.options import output_option
from sam3_tvm.cli.paths import local_path, named_path
from sam3_tvm.cli.terminal import byte_size, reporting, say, show, table
from sam3_tvm.errors import as_argument
from sam3_tvm.extras import needed

if TYPE_CHECKING:
    from sam3_tvm.compiler import CompileReport
    from sam3_tvm.sources.image_size import VisionShape

__all__ = ["command"]


class Weights(str, Enum):
    """How weights are stored."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


class Compute(str, Enum):
    """In what functions compute."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    int8 = "int8"


class LayerNorm(str, Enum):
    """How layer norm is compiled."""

    fused = "fused"
    decomposed = "decomposed"


def command(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="A folder in Hugging Face's layout, a hub id such as facebook/sam3, Meta's "
            "sam3.pt, or seeded random weights: random:sam3, random:sam3-litetext and random:meta "
            "(real size), random:tiny, random:tiny-litetext and random:meta-tiny.",
            metavar="CHECKPOINT",
        ),
    ],
    output: Annotated[Path, output_option("The artifact's folder.", "DIR")],
    tasks: Annotated[
        str | None,
        typer.Option(
            help="What it is to be for: concepts, concepts,clicks or concepts,clicks,video. By "
            "default all that the checkpoint has weights for.",
            metavar="TASKS",
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side of the square to which pictures are brought, pixels: a multiple of 14 from "
            "224 to 1344 for SAM 3. Smaller is faster and finds less of what is small. By default "
            "the checkpoint's own, 1008. docs/image-size.md helps to choose.",
            metavar="N",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            help="The CPU to compile for: native, or a level (x86-64-v2, x86-64-v3, x86-64-v4, "
            "aarch64) that the machine it will run on has, with -macos or -windows behind it for "
            "another system than Linux.",
            metavar="TARGET",
        ),
    ] = "native",
    compute: Annotated[
        Compute,
        typer.Option(
            help="The arithmetic of products. bfloat16 halves the artifact and the memory, for "
            "scores and outlines that differ a little. CPUs with AVX512_BF16 or AMX (doctor "
            "says) multiply it; for others weights are stored so, and products stay in float32. "
            "int8 is for the large linear layers, with the rest as in bfloat16: less than half of "
            "the memory; evaluate says what it costs."
        ),
    ] = Compute.float32,
    weights: Annotated[
        Weights | None,
        typer.Option(
            help="How weights are stored where products are in float32: float32 by default, "
            "float16 halves the artifact and the memory, int8 quarters them."
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="With --compute int8: ask PyTorch about the pictures of this folder, a few, and "
            "smooth channels and keep layers out of int8 by what they show. docs/int8.md says when "
            "that is worth it.",
            metavar="FOLDER",
            parser=local_path,
        ),
    ] = None,
    text: Annotated[
        list[str],
        typer.Option(
            help="With --calibrate: look for this phrase in them; repeatable.", metavar="PHRASE"
        ),
    ] = [],
    keep_above: Annotated[
        float | None,
        typer.Option(
            help="With --calibrate: layers that alone make a larger error at their function's end, "
            "relative and in the root mean square, stay in bfloat16. By default 0.01.",
            metavar="ERROR",
            show_default=False,
        ),
    ] = None,
    layer_norm: Annotated[
        LayerNorm,
        typer.Option(
            help="One kernel, or elementary operators where LLVM refuses the kernel (lesson 6)."
        ),
    ] = LayerNorm.fused,
    tuned: Annotated[
        Path | None,
        typer.Option(
            help="Tile sizes that sam3-tvm tune -o wrote, for the target native. By default what "
            "it wrote for this machine without -o, else what comes with the package for this CPU.",
            metavar="FILE",
            parser=named_path,
        ),
    ] = None,
    cxx: Annotated[
        str | None,
        typer.Option(
            "--cxx",
            help='The C compiler that links, with its options: "aarch64-linux-gnu-g++ -O2". By '
            "default what CXX or CC says, then g++, gcc or clang; for another machine than this "
            "one a cross compiler on the path.",
            metavar="COMMAND",
            show_default=False,
        ),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            help="TVM's runtime library for the target, or apache-tvm's wheel of the target's "
            "platform. By default the installed one, and for another machine pip's.",
            metavar="FILE",
            parser=local_path,
        ),
    ] = None,
    dump: Annotated[
        Path | None,
        typer.Option(
            help="Write the module after each phase of the compiler to this folder.",
            metavar="DIR",
            parser=named_path,
        ),
    ] = None,
) -> None:
    """Compile a checkpoint into an artifact: a folder that runs without PyTorch.

    The folder appears whole or not at all. One that holds an artifact is replaced.

    [bold]Examples[/bold]

    sam3-tvm compile random:tiny -o out/tiny
    sam3-tvm compile facebook/sam3 -o sam3-cpu --target x86-64-v3
    sam3-tvm compile facebook/sam3 -o sam3-bf16 --compute bfloat16
    sam3-tvm compile facebook/sam3 -o sam3-w8a8 --compute int8
    sam3-tvm compile facebook/sam3 -o sam3-w8a8 --compute int8 --calibrate photos --text dog
    sam3-tvm compile facebook/sam3 -o sam3-half --weights float16
    sam3-tvm compile facebook/sam3 -o sam3-pictures --tasks concepts,clicks
    sam3-tvm compile facebook/sam3 -o sam3-672 --image-size 672
    sam3-tvm compile ./checkpoint -o sam3-cpu --dump phases
    sam3-tvm compile facebook/sam3 -o sam3-arm --target aarch64 --cxx "aarch64-linux-gnu-g++ -O2"
    """
    local_path(checkpoint)  # a hub id or a path, and no URL
    with needed("compile", "compiling"):
        from sam3_tvm.compiler import compile as compile_
        from sam3_tvm.sources.image_size import ImageSizeWarning

    with reporting() as progress, said_in_a_line(ImageSizeWarning):
        report = compile_(
            checkpoint,
            output,
            target=target,
            layer_norm=layer_norm.value,
            compute=compute.value,
            weights=None if weights is None else weights.value,
            tuned=tuned,
            tasks=None if tasks is None else [task.strip() for task in tasks.split(",")],
            image_size=image_size,
            dump=dump,
            calibrate=calibrate,
            phrases=text,
            bound=keep_above,
            cxx=cxx,
            runtime=runtime,
            progress=progress,
        )
    rows = table("step", "seconds", right=("seconds",))
    for step, seconds in report.seconds.items():
        rows.add_row(step, f"{seconds:.1f}")
    rows.add_section()
    rows.add_row("total", f"{sum(report.seconds.values()):.1f}")
    show(f"{report.path}", rows)
    peak = report.peak_bytes
    say(
        f"{report.parameters / 1e6:.1f} million parameters; artifact "
        f"{byte_size(report.artifact_bytes)}"
        f"{'' if peak is None else f'; peak memory {byte_size(peak)}'}"
    )
    if report.calibration is not None:
        say(f"calibrated {report.calibration}")
    if report.vision is not None and report.vision.image != report.vision.own:
        say(_cost(report.vision))
    if compute is Compute.float32 and target == "native" and (more := _faster_here()):
        say(more)
    say(_next(report))


def _next(report: CompileReport) -> str:
    """What to do with the artifact."""
    from sam3_tvm.binary import Binary

    segment = f"sam3-tvm segment {as_argument(report.path)} PICTURE --text PHRASE"
    if report.target == Binary.here():
        return f"next: {segment}"
    return f"next: copy the folder to a machine of {report.target}, and there: {segment}"


def _faster_here() -> str | None:
    """What this CPU could do instead of float32; None where nothing is faster."""
    from sam3_tvm.host import multiplies_bfloat16, multiplies_in_tiles, multiplies_int8

    if not multiplies_bfloat16():
        return None
    # Of float32's time at SAM 3's size: on a Zen 4 0.57 and 0.35, on a Xeon with AMX 0.21 and 0.14
    # (docs/benchmarks.md).
    part, rest = ("0.2", "0.14") if multiplies_in_tiles() else ("0.6", "0.4")
    eight = f", --compute int8 in about {rest}" if multiplies_int8() else ""
    return (
        f"this CPU could do more: --compute bfloat16 encodes a picture in about {part} of the time"
        f"{eight}, with less memory; sam3-tvm evaluate says what that costs"
    )


def _cost(vision: VisionShape) -> str:
    """What the size of pictures does to the vision encoder, the costliest part."""
    billions = vision.flops / 1e9
    count = f"{billions:.0f}" if billions >= 100 else f"{billions:.3g}"
    return (
        f"a picture of {vision.image} pixels costs the vision encoder {count} GFLOP, "
        f"{vision.share:.0%} of what {vision.own} pixels do"
    )
