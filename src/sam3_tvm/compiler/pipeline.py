"""The passes, in order, in numbered phases; each phase can dump the module that it leaves.

0 import       one Relax function per component, whole operators, parameters as inputs
1 canonical    dead code, equal subexpressions and unused parameters go
2 dispatch     what the picture alone decides leaves for functions of its own; patterns become
               calls of our kernels; weights are packed by operators on them
3 weights      what depends on weights alone leaves for the transform module, and large
               constants become weights
4 legalize     every remaining operator becomes TIR; elementwise work is fused
5 schedule     TIR without a schedule of its own gets one
6 lower        memory is planned, and the module becomes VM code
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from sam3_tvm.compiler.algebra.decompose_layer_norm import DecomposeLayerNorm
from sam3_tvm.compiler.algebra.fold_projection import FoldProjection
from sam3_tvm.compiler.algebra.fold_values import FoldValues
from sam3_tvm.compiler.algebra.merge_convolutions import MergeTransposed
from sam3_tvm.compiler.algebra.merge_linears import MergeLinears
from sam3_tvm.compiler.algebra.move_padding import MovePadding
from sam3_tvm.compiler.algebra.move_windows import MoveWindows
from sam3_tvm.compiler.algebra.reorder_views import ReorderViews
from sam3_tvm.compiler.algebra.split_convolution import SplitConvolution
from sam3_tvm.compiler.algebra.split_stages import SplitStages
from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.dispatch.attention import DispatchAttention
from sam3_tvm.compiler.dispatch.conv import DispatchConv
from sam3_tvm.compiler.dispatch.depthwise import DispatchDepthwise
from sam3_tvm.compiler.dispatch.linear import DispatchLinear
from sam3_tvm.compiler.dispatch.matmul import DispatchMatmul
from sam3_tvm.compiler.dispatch.norm import DispatchNorm
from sam3_tvm.compiler.dispatch.readers import AttentionKernels
from sam3_tvm.compiler.dispatch.rotary import DispatchRotary
from sam3_tvm.compiler.dispatch.rows import DispatchRows
from sam3_tvm.compiler.legalizing import LegalizeInOrder
from sam3_tvm.compiler.memory.order_sizes import OrderSizes
from sam3_tvm.compiler.memory.plan_workspace import KillUnplanned, PlanWorkspace
from sam3_tvm.compiler.schedule.expand_transcendentals import ExpandTranscendentals
from sam3_tvm.compiler.schedule.schedule_cpu import ScheduleCpu
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["LAYER_NORM", "Options", "Phase", "build", "phases", "run_phase"]

LAYER_NORM = ("fused", "decomposed")
"""How layer norm is compiled: one kernel, or mean, subtract, multiply, rsqrt (lesson 6)."""


@dataclass(frozen=True)
class Options:
    """What the passes depend on, besides the arithmetic of each function, which is its attribute.

    Attributes:
        target: the CPU compiled for.
        layer_norm: one of :data:`LAYER_NORM`.
        dump: folder for the module after each phase, as TVMScript; or None.
        plan_memory: whether functions take their memory from the caller (see
            :mod:`sam3_tvm.compiler.memory.plan_workspace`), not from TVM's allocator.
    """

    target: CpuTarget
    layer_norm: str = "fused"
    dump: Path | None = None
    plan_memory: bool = False


@dataclass(frozen=True)
class Phase:
    """A numbered step of the pipeline.

    Attributes:
        number, name: its place, also in the names of dumps.
        passes: its passes for given options, in order.
    """

    number: int
    name: str
    passes: Callable[[Options], Sequence[Any]]


def _canonical(options: Options) -> list[Any]:
    transform = relax.transform
    return [
        transform.CanonicalizeBindings(),
        transform.EliminateCommonSubexpr(),
        transform.RemoveRedundantReshape(),
        ReorderViews(),
        transform.RemoveRedundantReshape(),
        transform.DeadCodeElimination(),
    ]


def _algebra() -> list[Any]:
    """What the mathematics needs rather than what the graph says."""
    return [FoldProjection(), FoldValues(), MergeTransposed(), SplitConvolution()]


def _dispatch(options: Options) -> list[Any]:
    target = options.target
    attentions: AttentionKernels = {}
    decomposed = [DecomposeLayerNorm()] if options.layer_norm == "decomposed" else []
    return [
        *_algebra(),
        # Before any kernel is chosen, so that both halves get theirs.
        SplitStages(),
        *decomposed,
        # Before the attention, which then reads in place what these two leave around it.
        MoveWindows(),
        MergeLinears(),
        # Of what these leave: one product per padded map.
        MovePadding(),
        DispatchAttention(target, attentions),
        # What no attention has rotated as it loads it.
        DispatchRotary(target),
        DispatchConv(target),
        DispatchDepthwise(target),
        # Before DispatchMatmul, which would take the products with weights too.
        DispatchLinear(target, attentions),
        DispatchMatmul(target),
        DispatchNorm(target),
        DispatchRows(target),
    ]


def _legalize(options: Options) -> list[Any]:
    transform = relax.transform
    return [
        LegalizeInOrder(),
        transform.AnnotateTIROpPattern(),
        transform.FoldConstant(),
        transform.FuseOps(),
        transform.FuseTIR(),
        transform.DeadCodeElimination(),
    ]


def _schedule(options: Options) -> list[Any]:
    # libm's scalar exp and erf can't be vectorised; arithmetic that is as exact can.
    return [ScheduleCpu(options.target), ExpandTranscendentals()]


def _lower(options: Options) -> list[Any]:
    transform = relax.transform
    # The planner sees through no renames.
    planned = [transform.CanonicalizeBindings(), PlanWorkspace()] if options.plan_memory else []
    return [
        transform.RewriteDataflowReshape(),
        # The kernels of reshapes that are views now, hundreds of them.
        transform.DeadCodeElimination(),
        transform.ToNonDataflow(),
        transform.RemovePurityChecking(),
        transform.CallTIRRewrite(),
        *planned,
        transform.StaticPlanBlockMemory(),
        transform.LowerAllocTensor(),
        KillUnplanned(),
        transform.LowerRuntimeBuiltin(),
        transform.ComputePrimValue(),
        transform.VMShapeLower(),
        OrderSizes(),
        transform.AttachGlobalSymbol(),
    ]


IMPORT, CANONICAL, DISPATCH, WEIGHTS, LEGALIZE, SCHEDULE, LOWER = range(7)

phases: tuple[Phase, ...] = (
    Phase(IMPORT, "import", lambda _: []),
    Phase(CANONICAL, "canonical", _canonical),
    Phase(DISPATCH, "dispatch", _dispatch),
    # Its work yields weights besides a module, so the driver does it.
    Phase(WEIGHTS, "weights", lambda _: []),
    Phase(LEGALIZE, "legalize", _legalize),
    Phase(SCHEDULE, "schedule", _schedule),
    Phase(LOWER, "lower", _lower),
)


def run_phase(mod: tvm.IRModule, number: int, options: Options, label: str = "") -> tvm.IRModule:
    """Run one phase, and dump what it leaves if asked to.

    Args:
        mod: what the phase before left.
        number: the phase.
        options: what the passes depend on.
        label: distinguishes the dumps of several modules.
    """
    phase = phases[number]
    # Which of the target's features are used, kernels say; nothing here asks.
    level = options.target.with_features(())
    with level.tvm_target(), tvm.transform.PassContext(opt_level=3):
        mod = tvm.transform.Sequential(list(phase.passes(options)))(mod)
    if options.dump is not None:
        options.dump.mkdir(parents=True, exist_ok=True)
        name = f"{phase.number}_{phase.name}{label}.py"
        # In a syntax that every Python reads, not that of Python 3.12 where it runs on that.
        text = mod.script(extra_config={"relax.use_pep695": False})
        (options.dump / name).write_text(text, encoding="utf-8")
    return mod


def build(mod: tvm.IRModule, options: Options, label: str = "") -> Any:
    """Phases 4 to 6, then code generation.

    Returns:
        A ``tvm.relax.VMExecutable``.
    """
    for number in (LEGALIZE, SCHEDULE, LOWER):
        mod = run_phase(mod, number, options, label)
    # The phases above are the whole of the Relax pipeline.
    nothing = tvm.transform.Sequential([])
    return generate(mod, options.target, nothing)
