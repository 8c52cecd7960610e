"""``compile``: a checkpoint becomes an artifact."""

from __future__ import annotations

import gc
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tvm

from sam3_tvm import artifact, host
from sam3_tvm.abi import abi, function_names, task_of
from sam3_tvm.arithmetic import COMPUTES, PRECISIONS, Arithmetic, scheme
from sam3_tvm.binary import Binary
from sam3_tvm.compiler import pipeline
from sam3_tvm.compiler.algebra.split_stages import stages
from sam3_tvm.compiler.calibrating import Calibrating
from sam3_tvm.compiler.codegen import used_features
from sam3_tvm.compiler.describing import describe
from sam3_tvm.compiler.faults import CompileError, memory_named
from sam3_tvm.compiler.graph.arithmetic import arithmetic_of
from sam3_tvm.compiler.importing import import_component
from sam3_tvm.compiler.kernels.product.stored_weights import widens
from sam3_tvm.compiler.model_library import link_library
from sam3_tvm.compiler.packing import pack_weights, split_weights
from sam3_tvm.compiler.pipeline import LAYER_NORM, Options
from sam3_tvm.compiler.runtime_library import find_runtime, import_libraries
from sam3_tvm.compiler.targets.cpu import CpuTarget
from sam3_tvm.linking import find_linker
from sam3_tvm.progress import Progress, silent
from sam3_tvm.sources import open_source
from sam3_tvm.sources.base import Source
from sam3_tvm.sources.image_size import ImageSizeWarning, VisionShape

__all__ = ["CompileError", "CompileReport", "compile"]


@dataclass
class CompileReport:
    """What a compilation made and what it took.

    Attributes:
        path: the artifact.
        seconds: wall time by step.
        peak_bytes: most memory the process held at once, by the operating system's count; None
            where it doesn't tell.
        artifact_bytes: size of the artifact.
        parameters: parameters of the model that the artifact uses.
        vision: how large pictures its vision encoder takes, and what that costs.
        calibration: what pictures decided about int8; None where none were asked.
        target: the system and architecture that it is for.
    """

    path: Path
    seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: int | None = None
    artifact_bytes: int = 0
    parameters: int = 0
    vision: VisionShape | None = None
    calibration: artifact.Calibration | None = None
    target: Binary = field(default_factory=Binary.here)

    @property
    def total_seconds(self) -> float:
        """Wall time of everything."""
        return sum(self.seconds.values())


class _Steps:
    """Announces each step and takes its time."""

    def __init__(self, report: CompileReport, progress: Progress, total: int) -> None:
        self.report = report
        self.progress = progress
        self.total = total

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.progress(name, len(self.report.seconds), self.total)
        start = time.perf_counter()
        yield
        self.report.seconds[name] = time.perf_counter() - start

    def within(self, what: str, done: int, total: int) -> None:
        """Progress within a step."""
        said = f"calibrate, {done + 1} of {total}: {what}"
        self.progress(said, len(self.report.seconds), self.total)


def compile(
    checkpoint: str,
    output: str | os.PathLike[str],
    *,
    target: str = "native",
    layer_norm: str = "fused",
    compute: str = "float32",
    weights: str | None = None,
    tuned: str | os.PathLike[str] | None = None,
    tasks: Sequence[str] | None = None,
    image_size: int | None = None,
    functions: Sequence[str] | None = None,
    dump: str | os.PathLike[str] | None = None,
    calibrate: str | os.PathLike[str] | None = None,
    phrases: Sequence[str] = (),
    bound: float | None = None,
    cxx: str | None = None,
    runtime: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> CompileReport:
    """Compile a SAM 3 checkpoint into an artifact.

    Args:
        checkpoint: a folder, a hub id, or ``random:sam3`` / ``random:tiny``; see
            :func:`sam3_tvm.sources.open_source`.
        output: the artifact's folder: new, empty, or an artifact to be replaced.
        target: ``"native"`` or a CPU level; see :meth:`CpuTarget.parse`.
        layer_norm: ``"fused"`` or ``"decomposed"`` (lesson 6).
        compute: the arithmetic, ``"float32"``; ``"bfloat16"``: products of bfloat16, added up in
            float32, where the target multiplies bfloat16; elsewhere products are in float32, and
            weights alone are bfloat16; or ``"int8"``: products of int8 in the linear layers of the
            encoders and memory attention, exact on every target, the rest as in ``"bfloat16"``.
        weights: the precision in which weights are stored: for arithmetic in float32 ``"float32"``
            (by default), ``"float16"`` (half the size) or ``"int8"`` (a quarter); for others
            what they name.
        tuned: a database of tile sizes that ``sam3-tvm tune`` wrote, for ``"native"``; by default
            what is known of this CPU, see :func:`sam3_tvm.compiler.targets.tuning.find`.
        tasks: what it is to be for, of :data:`sam3_tvm.sizes.TASKS`: ``"concepts"``, that
            and ``"clicks"``, or these and ``"video"``; None for all that the checkpoint has
            weights for.
        image_size: side of the square to which pictures are brought, pixels: a multiple of the
            model's patch (SAM 3: 14, from 224 to 1344); None for the one that the checkpoint was
            made for (1008).
        functions: compile these functions of the ABI alone; None for all, without which an
            artifact can be measured but can't segment.
        dump: a folder for the module after each phase, as TVMScript.
        calibrate: a folder of a few pictures, which the source's model is asked in PyTorch, for
            ``compute="int8"``: channels are smoothed, and layers that lose most stay out of int8.
        phrases: what is looked for in these.
        bound: the error of a layer at its function's end above which it stays out; by default
            :data:`sam3_tvm.compiler.calibrating.BOUND`.
        cxx: the C compiler that links, with its options, as for a shell; by default what
            :func:`sam3_tvm.linking.find_linker` finds for the target.
        runtime: TVM's runtime library for the target, or a wheel of apache-tvm that has it; by
            default what :func:`sam3_tvm.compiler.runtime_library.find_runtime` finds.
        progress: told of each step.

    Raises:
        Sam3Error: a checkpoint, a target, a size or an output folder that can't be used; nothing
            is left at ``output`` then.

    Warns:
        ImageSizeWarning: an ``image_size`` that costs more than it looks.
    """
    if layer_norm not in LAYER_NORM:
        raise CompileError(f"layer_norm is {' or '.join(LAYER_NORM)}, not {layer_norm!r}")
    options = Options(
        CpuTarget.parse(target, None if tuned is None else Path(tuned)),
        layer_norm,
        None if dump is None else Path(dump),
    )
    arithmetic = _arithmetic(options.target, compute, weights)
    calibrating = Calibrating.of(arithmetic, calibrate, phrases, bound)
    every = function_names()
    if unknown := sorted({*(functions or ())} - {*every}):
        raise CompileError(f"no function is named {unknown[0]!r}; there are {', '.join(every)}")
    names = [n for n in every if functions is None or n in functions]
    report = CompileReport(Path(output), target=Binary.of_triple(options.target.triple))
    # What can't be linked is told before the wait, not after it.
    linker = find_linker(report.target, cxx)
    native = report.target == Binary.here()
    packer = linker if native else find_linker(crossing=True)
    # Beside the components' own: open, runtime, one per shared phase, code, link and write.
    steps = _Steps(report, progress, total=2 * len(names) + 6 + bool(calibrating))
    with artifact.create(output) as writer, memory_named():
        # Before a checkpoint, which may have to be downloaded: this may, too, and fails sooner.
        with steps.step("find TVM's runtime"):
            library, imports = find_runtime(report.target, runtime), import_libraries(report.target)
        with steps.step("open the checkpoint"):
            source = open_source(checkpoint, tasks, image_size)
            # While they are what was read.
            files = {path.name: artifact.sha256(path) for path in source.files}
            report.vision = source.vision
            _warn_of_size(source, image_size)
            known = abi(source.sizes)
            if lacking := [n for n in functions or () if n not in known]:
                task = task_of(lacking[0])
                raise CompileError(
                    f"{lacking[0]} is for {task}, which {checkpoint} isn't compiled for"
                )
            steps.total -= 2 * len(set(names) - set(known))
        components = {n: c for n, c in known.items() if n in names}
        mod, params = tvm.IRModule(), {}
        for name, component in components.items():
            with steps.step(f"import {name}"):
                chosen = arithmetic.of_function(name)
                imported, params[name] = import_component(source, component, chosen)
                mod.update(imported)
        if calibrating is not None:
            with steps.step("calibrate"):
                report.calibration = calibrating.apply(source, mod, params, steps.within)
        with steps.step("optimise"):
            for number in (pipeline.IMPORT, pipeline.CANONICAL, pipeline.DISPATCH):
                mod = pipeline.run_phase(mod, number, options)
            split = {name: stages(mod, component) for name, component in components.items()}
            schemes = {
                name: arithmetic_of(mod[s.prompt if s else name]) for name, s in split.items()
            }
            halves = {name: (s.image, s.prompt) if s else (name,) for name, s in split.items()}
            mod, transform, inputs = split_weights(mod, params, halves, options)
        for name in components:
            with steps.step(f"pack the weights of {name}"):
                report.parameters += sum(_elements(t) for t in params.pop(name).values())
                for half in halves[name]:
                    # Popped in the call, so that nothing holds them after it.
                    pack_weights(writer.weights, half, transform, inputs.pop(half), options, packer)
                gc.collect()
        with steps.step("generate code"):
            executable = pipeline.build(mod, replace(options, plan_memory=True))
        with steps.step("link"):
            link_library(executable, writer.folder / artifact.MODEL, linker, imports)
        with steps.step("write the artifact"):
            used = options.target.with_features(used_features(mod))
            describe(
                writer,
                source,
                files,
                components,
                split,
                schemes,
                used,
                library,
                report.calibration,
            )
    progress("done", steps.total, steps.total)
    report.peak_bytes = host.peak_bytes()
    report.artifact_bytes = sum(p.stat().st_size for p in report.path.iterdir())
    return report


def _warn_of_size(source: Source, image_size: int | None) -> None:
    """Say what a size costs that was asked for: before the wait, not after it."""
    costly = source.vision.warning() if image_size is not None else None
    if costly is not None:
        warnings.warn(costly, ImageSizeWarning, stacklevel=3)


def _arithmetic(target: CpuTarget, compute: str, weights: str | None) -> Arithmetic:
    """The scheme of every function."""
    if compute not in COMPUTES:
        raise CompileError(f"compute is {' or '.join(COMPUTES)}, not {compute!r}")
    weights = weights or compute
    allowed = PRECISIONS if compute == "float32" else (compute,)
    if weights not in allowed:
        raise CompileError(
            f"weights is {', '.join(allowed)} where compute is {compute}, not {weights!r}; leave "
            "weights out, or compute in float32"
        )
    if not widens(target, weights):
        raise CompileError(
            f"{target.name} has no instruction that reads {weights}: "
            "compile with weights float32 or int8, or for a higher level"
        )
    return scheme(compute, weights)


def _elements(tensor: Any) -> int:
    return int(np.prod(tuple(tensor.shape), dtype=np.int64))
