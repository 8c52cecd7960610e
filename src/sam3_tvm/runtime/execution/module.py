"""Loads an artifact's compiled functions through tvm_ffi; TVM itself isn't needed."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm import system
from sam3_tvm.artifact import MODEL, Artifact, ArtifactError
from sam3_tvm.locks import Lock
from sam3_tvm.runtime.execution.engine import shared_engine
from sam3_tvm.runtime.execution.functions import FunctionTable, Input
from sam3_tvm.runtime.execution.ranks import current_rank
from sam3_tvm.runtime.execution.workspace import PlannedFunction, Workspace, tensor

__all__ = ["Machine", "load_functions", "load_runtime"]

_CPU = 1  # kDLCPU of DLPack

# tvm::runtime::memory::AllocatorType. The pooled allocator keeps every freed buffer, by exact
# size, until the process ends; with pictures of all sizes it would only grow.
_NAIVE_ALLOCATOR = 1

# Registered by libtvm_runtime when it is loaded.
_RUNTIME_MARK = "vm.builtin.alloc_shape_heap"

_loading = Lock()
_loaded_version: str | None = None


class _Lane:
    """What calls of one rank need for themselves, as one may be broken into by another's.

    Args:
        executable: the loaded library.
        last: by function, the arguments that follow its inputs.
        between: is called between two kernels; None for nothing.
    """

    def __init__(
        self,
        executable: Any,
        last: Mapping[str, tuple[Any, ...]],
        between: Callable[[], None] | None,
    ) -> None:
        import tvm_ffi

        self.vm = executable["vm_load_executable"]()
        self.vm["vm_initialization"](_CPU, 0, _NAIVE_ALLOCATOR)
        if between is not None:
            self.vm["set_instrument"](tvm_ffi.convert(_instrument(between)))
        workspace = Workspace()
        self.functions = {
            name: PlannedFunction(self.vm, name, workspace, weights)
            for name, weights in last.items()
        }


def _instrument(between: Callable[[], None]) -> Callable[..., None]:
    def instrument(function: Any, name: str, before: bool, *_: Any) -> None:
        if before:
            between()

    return instrument


class Machine:
    """The functions of an artifact, called by the thread that asks.

    Its weights are mapped into memory, and one workspace serves all functions that are called in
    one rank: not for several threads at once.

    Args:
        artifact: opened and checked for this machine.
        let_pass: is called between two kernels of a call that gives way, with its rank, and may
            call functions of a lower one.

    Raises:
        ArtifactError: a library that cannot be loaded or a function that isn't in it.
    """

    def __init__(self, artifact: Artifact, let_pass: Callable[[int], None] | None = None) -> None:
        import tvm_ffi

        load_runtime(artifact)
        path = self._path = artifact.path / MODEL
        components, stages = artifact.manifest.components, artifact.manifest.stages
        compiled = [name for name in components if name not in stages]
        compiled += [half for split in stages.values() for half in (split.image, split.prompt)]
        weights = artifact.weights()
        self._let_pass = let_pass
        self._process = 0
        self._started: list[Any] = []
        try:
            with system.finding_libraries(_ffi_libraries(), artifact.path):
                self._executable = tvm_ffi.load_module(path)
            self._last = {name: _last(weights.function(name)) for name in compiled}
            self._lane(0)
        except (AttributeError, RuntimeError, OSError, ValueError) as error:
            _raise_lack_of_memory(error, path)
            reason = " ".join(str(error).split())
            raise ArtifactError(f"{path}: cannot be loaded ({reason}); compile it again") from error

    @property
    def vm(self) -> Any:
        """TVM's virtual machine for calls that give way to no others."""
        return self._lane(0).vm

    def _lane(self, rank: int) -> _Lane:
        if self._process != os.getpid():
            self._lanes: dict[int, _Lane] = {}
            self._process = os.getpid()
        if rank not in self._lanes:
            between = partial(self._let_pass, rank) if self._let_pass and rank else None
            lane = self._lanes[rank] = _Lane(self._executable, self._last, between)
            # What a forked child inherits may stand in the midst of a call, whose values must stay.
            self._started.append(lane.vm)
        return self._lanes[rank]

    def __call__(self, name: str, inputs: Sequence[Input], rank: int = 0) -> list[NDArray[Any]]:
        """The results of a function, in order.

        Args:
            name: the function.
            inputs: that keep its signature.
            rank: of the call; it gives way to those of a lower one.

        Raises:
            ArtifactError: the code refuses what the artifact's own tables say that it takes.
        """
        function = self._lane(rank).functions[name]
        try:
            return [np.from_dlpack(t) for t in function(_arguments(inputs))]
        except RuntimeError as error:
            _raise_lack_of_memory(error, self._path)
            raise
        except (TypeError, ValueError) as error:
            # Inputs keep the contract by now, so it is weights or a stage that don't fit the code.
            reason = " ".join(str(error).split())[:200]
            raise ArtifactError(
                f"{self._path}: {name} doesn't take its own weights or inputs ({reason}); copy the "
                "artifact again or compile it again"
            ) from error

    def needs(self, name: str, inputs: Sequence[Input]) -> tuple[int, ...]:
        """The bytes of the workspace for a call, then those of the buffers for its results."""
        return self._lane(0).functions[name].needs(_arguments(inputs))


def load_functions(artifact: Artifact, threads: int | None = None) -> FunctionTable:
    """The compiled functions of an artifact, with its weights mapped into memory.

    Args:
        artifact: opened.
        threads: how many threads a call computes with; by default the cores available.

    Raises:
        ArtifactError: one for another machine, a library that cannot be loaded, or a function that
            isn't in it.
        Sam3Error: a number of threads that can't be.
    """
    artifact.check_host()
    engine = shared_engine(threads)
    machine = Machine(artifact, engine.let_pass)

    def invoke(name: str, inputs: Sequence[Input]) -> list[NDArray[Any]]:
        rank = current_rank()
        return engine.run(lambda: machine(name, inputs, rank), rank)

    manifest = artifact.manifest
    return FunctionTable(manifest.components, invoke, manifest.stages)


def load_runtime(artifact: Artifact) -> None:
    """Make TVM's runtime available in this process, once.

    Where TVM is installed in the version that the artifact was built with, its own libraries
    are loaded, so that importing ``tvm`` before or after finds the same ones; they register
    their functions globally and must not be there twice. Elsewhere the artifact's copies are.

    Raises:
        ArtifactError: another version of the runtime is in the process already, or a library
            cannot be loaded.
    """
    global _loaded_version
    import tvm_ffi

    wanted = artifact.manifest.versions.get("apache-tvm", "")
    with _loading:
        if tvm_ffi.get_global_func(_RUNTIME_MARK, allow_missing=True) is not None:
            # Loaded by us for another artifact, or by importing tvm.
            present = _loaded_version or _installed("apache-tvm")
            if present is not None and present != wanted:
                raise ArtifactError(
                    f"{artifact.path}: built with TVM {wanted}, and this process has loaded TVM "
                    f"{present}; use a process of its own, or compile it again"
                )
            return
        for name in artifact.manifest.runtime_libraries:
            path = artifact.path / name
            if _installed("apache-tvm") == wanted:
                twin = Path(str(metadata.distribution("apache-tvm").locate_file(f"tvm/lib/{name}")))
                path = twin if twin.exists() else path
            try:
                with system.finding_libraries(_ffi_libraries(), path.parent):
                    ctypes.CDLL(str(path.resolve()), mode=ctypes.RTLD_GLOBAL)
            except OSError as error:
                _raise_lack_of_memory(error, path)
                built = artifact.manifest.versions.get("apache-tvm-ffi")
                here = _installed("apache-tvm-ffi")
                raise ArtifactError(
                    f"{path}: cannot be loaded ({error}); it was built with apache-tvm-ffi "
                    f"{built}, and {here} is installed"
                ) from error
        _loaded_version = wanted


def _ffi_libraries() -> Path:
    """The folder with the library that TVM's and an artifact's stand on."""
    import tvm_ffi

    return Path(tvm_ffi.__file__).parent / "lib"


def _raise_lack_of_memory(error: Exception, path: Path) -> None:
    """Raise a MemoryError where that is what native code or the linker means.

    Neither says it by a type: C++'s exception comes as a RuntimeError, and where a library can't
    be mapped the linker gives a reason (such as a file system without programs) for all but this.
    """
    said = str(error).strip()
    lacking = ("bad_alloc", "Cannot allocate memory")
    if any(words in said for words in lacking) or said.endswith(
        "failed to map segment from shared object"
    ):
        raise MemoryError(f"for {path}") from error


def _arguments(inputs: Sequence[Input]) -> list[Any]:
    import tvm_ffi

    return [tensor(x) if isinstance(x, np.ndarray) else tvm_ffi.Shape(x) for x in inputs]


def _last(weights: Sequence[NDArray[Any]]) -> tuple[Any, ...]:
    """The argument after the inputs of a function that has weights: the tuple of them."""
    import tvm_ffi

    return (tvm_ffi.Array([tensor(w) for w in weights]),) if weights else ()


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
