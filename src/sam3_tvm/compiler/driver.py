"""``compile``: a checkpoint becomes an artifact."""

from __future__ import annotations

import gc
import os
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from sam3_tvm import artifact, host
from sam3_tvm.abi import abi, function_names, task_of
from sam3_tvm.arithmetic import COMPUTES, PRECISIONS, Arithmetic, scheme
from sam3_tvm.binary import Binary
from sam3_tvm.compiler import pipeline
from sam3_tvm.compiler.algebra.split_stages import stages
from sam3_tvm.compiler.calibrating import Calibrating
from sam3_tvm.compiler.codegen import used_features
from sam3_tvm.compiler.describing import describe
from sam3_tvm.compiler.graph.arithmetic import arithmetic_of
from sam3_tvm.compiler.importing import import_component
from sam3_tvm.compiler.kernels.product.stored_weights import widens
from sam3_tvm.compiler.memory.weights import lift_constants, lift_params, transform_name
from sam3_tvm.compiler.pipeline import LAYER_NORM, Options
from sam3_tvm.compiler.runtime_library import find_runtime, import_libraries
from sam3_tvm.compiler.targets.cpu import CpuTarget
from sam3_tvm.errors import Sam3Error
from sam3_tvm.linking import Linker, LinkError, find_linker
from sam3_tvm.progress import Progress, silent
from sam3_tvm.sources import open_source
from sam3_tvm.sources.base import Source
from sam3_tvm.sources.image_size import ImageSizeWarning, VisionShape

__all__ = ["CompileError", "CompileReport", "compile"]


class CompileError(Sam3Error):
    """An option or a machine that can't compile."""


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
        tasks: what it is to be for, of :data:`sam3_tvm.abi.TASKS`: ``"concepts"``, that
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
    with artifact.create(output) as writer, _memory_named():
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
            mod, transform, inputs = _split_weights(mod, params, halves, options)
        for name in components:
            with steps.step(f"pack the weights of {name}"):
                report.parameters += sum(_elements(t) for t in params.pop(name).values())
                for half in halves[name]:
                    packed = _transformed(half, transform, inputs.pop(half), options, packer)
                    _store_weights(writer.weights, half, packed)
                gc.collect()
        with steps.step("generate code"):
            executable = pipeline.build(mod, replace(options, plan_memory=True))
        with steps.step("link"):
            _link(executable, writer.folder / artifact.MODEL, linker, imports)
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


# What torch, TVM and C++ say where memory ends, in errors of classes that say nothing.
_NO_MEMORY = ("allocate memory", "bad_alloc", "out of memory", "Cannot allocate")


@contextmanager
def _memory_named() -> Iterator[None]:
    """An error for users where a library runs out of memory.

    Raises:
        CompileError: it did.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not isinstance(error, MemoryError) and not any(w in str(error) for w in _NO_MEMORY):
            raise
        raise CompileError(
            "there is not enough memory to compile this: end other programs, lift the limit "
            "(ulimit -v), or compile on a larger machine; artifacts need less to run"
        ) from error


def _link(
    executable: Any, path: Path, linker: Linker, imports: Mapping[str, bytes] | None = None
) -> None:
    """Write the compiled functions as a shared library.

    Args:
        executable: of TVM.
        path: the library.
        linker: what links it.
        imports: libraries to link it with, by name.

    Raises:
        CompileError: the C compiler fails, which linked a moment ago: for want of room, as a rule.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="sam3-tvm-") as folder:
            libraries = []
            for name, content in (imports or {}).items():
                (Path(folder) / name).write_bytes(content)
                libraries.append(str(Path(folder) / name))
            linked = replace(linker, libraries=tuple(libraries))
            executable.export_library(str(path), fcompile=linked)
    except LinkError as error:
        raise CompileError(
            f"{path.name} can't be linked by {error}: is there room in {tempfile.gettempdir()} "
            "and in the output's folder?"
        ) from error
    except (RuntimeError, OSError) as error:
        # TVM writes objects and libraries to a temporary folder before the linker is called.
        if any(words in str(error) for words in _NO_MEMORY):
            raise
        reason = " ".join(str(error).split())[:200]
        raise CompileError(
            f"{path.name} can't be written ({reason}): is there room in {tempfile.gettempdir()} "
            "and in the output's folder?"
        ) from error


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


def _check_finite(key: str, array: NDArray[Any]) -> None:
    """What float16 can't hold became an infinity as it was rounded."""
    if array.dtype == np.float16 and not np.isfinite(array).all():
        raise CompileError(
            f"weight {key} has values beyond float16's 65504: compile with weights float32 or int8"
        )


def _split_weights(
    mod: tvm.IRModule,
    params: Mapping[str, Mapping[str, Any]],
    halves: Mapping[str, Sequence[str]],
    options: Options,
) -> tuple[tvm.IRModule, tvm.IRModule, dict[str, dict[str, Any]]]:
    """Phase 3. Returns the module, the transform module, and each function's inputs to it.

    ``halves`` are the functions of each component: its halves, or itself if it is whole.
    """
    mod, constants = lift_constants(mod)
    inputs = {
        half: {**params[name], **constants.get(half, {})}
        for name in params
        for half in halves[name]
    }
    mod, transform = lift_params(mod, [name for name, tensors in inputs.items() if tensors])
    return pipeline.run_phase(mod, pipeline.WEIGHTS, options), transform, inputs


def _store_weights(
    writer: artifact.WeightsWriter, name: str, packed: Iterable[tuple[str, NDArray[Any]]]
) -> None:
    keys = []
    for key, array in packed:
        _check_finite(key, array)
        writer.add(key, array)
        keys.append(key)
    if keys:
        writer.function(name, keys)


def _transformed(
    name: str,
    transform: tvm.IRModule,
    inputs: Mapping[str, Any],
    options: Options,
    linker: Linker,
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Run one function's transform over its weights: pairs of key and array, in order. It is linked
    for this machine and runs here, whatever the target is.

    One function at a time, so that only its weights are in memory twice.
    """
    entry = transform_name(name)
    alone = tvm.IRModule(
        {
            g: f
            for g, f in transform.functions_items()
            if g.name_hint == entry or not isinstance(f, relax.Function)
        }
    )
    if not any(isinstance(f, relax.Function) for f in alone.functions.values()):
        return
    alone = relax.transform.DeadCodeElimination([entry])(alone)
    here = replace(options, target=CpuTarget.native())
    executable = pipeline.build(alone, here, f"_{entry}")
    executable.jit(fcompile=linker)
    machine = relax.VirtualMachine(executable, tvm.cpu(), memory_cfg="naive")
    known = {_identity(tensor): key for key, tensor in inputs.items()}
    for position, tensor in enumerate(machine[entry](list(inputs.values()))):
        stem = known.get(_identity(tensor), f"packed_{position}")
        yield f"{name}.{stem}", np.from_dlpack(tensor)


def _identity(tensor: Any) -> tuple[int, tuple[int, ...]]:
    """Where a tensor is, and its shape: a view of other shape is stored beside it."""
    # .numpy() copies; the DLPack view shows where the tensor itself is.
    seen = np.from_dlpack(tensor)
    return int(seen.__array_interface__["data"][0]), seen.shape


def _elements(tensor: Any) -> int:
    return int(np.prod(tuple(tensor.shape), dtype=np.int64))
