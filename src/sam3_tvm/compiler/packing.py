"""Work on weights that is done once: it leaves the functions, and runs here for the artifact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from sam3_tvm import artifact
from sam3_tvm.compiler import pipeline
from sam3_tvm.compiler.faults import CompileError
from sam3_tvm.compiler.memory.weights import lift_constants, lift_params, transform_name
from sam3_tvm.compiler.pipeline import Options
from sam3_tvm.compiler.targets.cpu import CpuTarget
from sam3_tvm.linking import Linker

__all__ = ["pack_weights", "split_weights"]


def split_weights(
    mod: tvm.IRModule,
    params: Mapping[str, Mapping[str, Any]],
    halves: Mapping[str, Sequence[str]],
    options: Options,
) -> tuple[tvm.IRModule, tvm.IRModule, dict[str, dict[str, Any]]]:
    """Phase 3: take the work on weights out of the functions.

    Args:
        mod: the functions, which take their parameters one by one.
        params: the parameters of each component.
        halves: the functions of each component: its halves, or itself if it is whole.
        options: of the compilation.

    Returns:
        The module; the module of the work that was taken out; and what that takes, by function.
    """
    mod, constants = lift_constants(mod)
    inputs = {
        half: {**params[name], **constants.get(half, {})}
        for name in params
        for half in halves[name]
    }
    mod, transform = lift_params(mod, [name for name, tensors in inputs.items() if tensors])
    return pipeline.run_phase(mod, pipeline.WEIGHTS, options), transform, inputs


def pack_weights(
    writer: artifact.WeightsWriter,
    name: str,
    transform: tvm.IRModule,
    inputs: Mapping[str, Any],
    options: Options,
    linker: Linker,
) -> None:
    """Store the weights of one function as it wants them, so that only its are in memory twice.

    Args:
        writer: of the artifact's weights.
        name: the function.
        transform: the work of all functions.
        inputs: what this one's takes, by key.
        options: of the compilation; the work itself is compiled for this machine, and runs here.
        linker: for this machine.

    Raises:
        CompileError: a weight that the precision it is stored in can't hold.
    """
    keys = []
    for key, array in _packed(name, transform, inputs, options, linker):
        _check_finite(key, array)
        writer.add(key, array)
        keys.append(key)
    if keys:
        writer.function(name, keys)


def _packed(
    name: str,
    transform: tvm.IRModule,
    inputs: Mapping[str, Any],
    options: Options,
    linker: Linker,
) -> Iterator[tuple[str, NDArray[Any]]]:
    """What one function's work gives: keys and arrays, in order."""
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


def _check_finite(key: str, array: NDArray[Any]) -> None:
    """What float16 can't hold became an infinity as it was rounded."""
    if array.dtype == np.float16 and not np.isfinite(array).all():
        raise CompileError(
            f"weight {key} has values beyond float16's 65504: compile with weights float32 or int8"
        )


def _identity(tensor: Any) -> tuple[int, tuple[int, ...]]:
    """Where a tensor is, and its shape: a view of other shape is stored beside it."""
    # .numpy() copies; the DLPack view shows where the tensor itself is.
    seen = np.from_dlpack(tensor)
    return int(seen.__array_interface__["data"][0]), seen.shape
