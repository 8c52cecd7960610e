"""From TIR to machine code for a CPU.

TVM's own pipeline for TIR serves every kind of device. On a CPU its passes for threads of a GPU
find nothing, yet read every statement, and what shrinks buffers to the part in use takes half of
the time that remains: it looks at each of the thousands of unrolled accesses of a kernel, whose
buffers are as large as they must be to begin with. What hoists conditions takes a third of what is
left, and finds none there to hoist. The pipeline here leaves those out, and generates the same code
in a quarter of the time.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm.tirx.compilation_pipeline import register_tir_pipeline

from sam3_tvm.compiler.kernels.emit import EXACT_BUFFERS, FEATURES
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["generate", "used_features"]

_PIPELINE = "sam3-tvm-cpu"


def generate(mod: tvm.IRModule, target: CpuTarget, relax_passes: Any = None) -> Any:
    """Compile a module, with the instructions of the target's level and what its kernels use of the
    target's features beyond it: artifacts of one level run on all of it unless a kernel needs more.

    Args:
        mod: PrimFuncs, and Relax functions maybe.
        target: the CPU compiled for.
        relax_passes: what is left to do on Relax functions; None for TVM's default.

    Returns:
        A ``tvm.relax.VMExecutable``, or a ``tvm.runtime.Executable`` where there are PrimFuncs
        alone.

    Raises:
        TargetError: a kernel uses features that the target hasn't.
    """
    target = target.with_features(used_features(mod))
    options = {} if relax_passes is None else {"relax_pipeline": relax_passes}
    return tvm.compile(mod, target.tvm_target(), tir_pipeline=_PIPELINE, **options)


def used_features(mod: tvm.IRModule) -> frozenset[str]:
    """The features beyond the target's level that the kernels of a module use."""
    return frozenset(
        f"{feature}"
        for func in mod.functions.values()
        if isinstance(func, tirx.PrimFunc)
        for feature in (func.attrs or {}).get(FEATURES, ())
    )


def _of_schedules(step: Any) -> Any:
    """A pass for the functions that a schedule gave loops and buffers, alone.

    Kernels written here come with buffers as large as they must be, conditions where they belong,
    indices without splits and nothing that does nothing; to look through their thousands of
    statements finds nothing, but takes a third of the time.
    """

    @tvm.transform.module_pass(opt_level=0, name=f"{step.info.name}OfSchedules")
    def transform(mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        chosen = {
            gvar: func
            for gvar, func in mod.functions_items()
            if isinstance(func, tirx.PrimFunc) and EXACT_BUFFERS not in (func.attrs or {})
        }
        result = mod.clone()
        changed = step(tvm.IRModule(chosen))
        for gvar in chosen:
            result.update_func(gvar, changed[gvar.name_hint])
        return result

    return transform


def _passes() -> list[Any]:
    """TVM's order, without what is for other devices than CPUs."""
    s, t = s_tir.transform, tirx.transform
    return [
        s.CanonicalizeLoop(),
        s.LowerInitBlock(),
        s.PlanAndUpdateBufferAllocationLocation(),
        s.ConvertBlocksToOpaque(),
        # An intermediate result computed at a loop needs only what one iteration reads.
        _of_schedules(s.CompactBufferAllocation()),
        s.LowerMatchBuffer(),
        s.StmtSimplify(),
        s.LowerOpaqueBlock(),
        t.FlattenBuffer(),
        t.BF16ComputeLegalize(),
        t.NarrowDataType(32),
        s.LoopPartition(),
        t.VectorizeLoop(True),
        t.StorageRewrite(),
        _of_schedules(s.HoistIfThenElse()),
        t.UnrollLoop(),
        _of_schedules(s.RenormalizeSplitPattern()),
        t.StmtSimplify(),
        _of_schedules(t.RemoveNoOp()),
        s.RewriteUnsafeSelect(),
        t.CommonSubexprElim(),
        t.FP8ComputeLegalize(),
        t.VerifyMemory(),
        t.AnnotateEntryFunc(),
        t.SplitHostDevice(),
        t.MakePackedAPI(),
        t.FP8StorageLegalize(),
        t.BF16StorageLegalize(),
    ]


def _pipeline() -> tuple[Any, Any, Any]:
    """The passes, and those for host and device afterwards, which stay TVM's."""
    _, finalize_host, finalize_device = s_tir.pipeline.default_s_tir_pipeline()
    return tvm.transform.Sequential(_passes()), finalize_host, finalize_device


register_tir_pipeline(_PIPELINE, _pipeline)
