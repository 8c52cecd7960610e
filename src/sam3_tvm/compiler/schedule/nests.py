"""What the rules of ScheduleCpu ask about a block, and the steps that they share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.error import InternalError
from tvm.s_tir.schedule import ScheduleError
from tvm.sym import Analyzer

__all__ = [
    "PARALLEL_FROM",
    "Nest",
    "attempt",
    "children",
    "fuse",
    "has_branch",
    "last_index_is",
    "leading_spatial",
    "nest_of",
    "parallel",
    "point_of",
    "realize_of",
    "uses",
    "uses_any",
    "vector_width",
    "vectorize",
]

# Starting the thread pool costs microseconds: the time in which one core runs through about
# this many elements.
PARALLEL_FROM = 4096

# With loops fused, indices are divided by what was inside: of n, n + 6 and 4 loops by 4 n + 24. TVM
# 0.27 then fails this check of its own instead of finding that it can't simplify them
# (docs/lessons.md).
_FUSE_FAULT = "CanProveDivisible(info.padding_factor, divisor)"


def attempt(sch: Any, rule: Callable[..., bool], *args: Any) -> Any | None:
    """What ``rule`` makes of a copy of ``sch``; None where it doesn't apply.

    Random variables (blocks, loops) of ``sch`` are valid in its copies.
    """
    copy = sch.copy()
    try:
        return copy if rule(copy, *args) else None
    except ScheduleError:
        return None


@dataclass(frozen=True)
class _Access:
    """A region of a buffer, its bounds simplified for the ranges of the block's iterators.

    A fused reshape leaves such as ``v // 64`` with v below 64, which hides a plain index.
    """

    source: Any
    region: tuple[Any, ...]

    @classmethod
    def simplified(cls, access: Any, analyzer: Any) -> _Access:
        return cls(
            access.source,
            tuple(
                tvm.ir.Range.from_min_extent(analyzer.simplify(r.min), analyzer.simplify(r.extent))
                for r in access.region
            ),
        )


@dataclass(frozen=True)
class Nest:
    """A block right under its loops, each loop bound to the block iterator of its position."""

    block: Any
    loops: tuple[Any, ...]
    iters: tuple[Any, ...]
    reads: tuple[Any, ...]
    writes: tuple[Any, ...]

    @property
    def spatial(self) -> list[int]:
        return [i for i, it in enumerate(self.iters) if it.iter_type == tirx.IterVar.DataPar]

    @property
    def reduced(self) -> list[int]:
        return [i for i, it in enumerate(self.iters) if it.iter_type == tirx.IterVar.CommReduce]

    def extent(self, i: int) -> int | None:
        """The static extent of axis ``i``; None for a symbolic one."""
        extent = self.iters[i].dom.extent
        return int(extent) if isinstance(extent, tirx.IntImm) else None

    def work(self) -> int:
        """Elements touched; a symbolic axis counts as if it made threads worth their while."""
        extents = (self.extent(i) for i in range(len(self.iters)))
        return math.prod(PARALLEL_FROM if e is None else e for e in extents)


def children(sch: Any) -> list[Any]:
    return list(sch.get_child_blocks(sch.get_sblock(sch.mod["main"].body.block.name_hint)))


realize_of = tvm.get_global_func("s_tir.schedule.GetSBlockRealize")


def nest_of(sch: Any, block: Any) -> Nest | None:
    """The block's nest, or None if it is opaque or its loops aren't its iterators one by one."""
    loops = sch.get_loops(block)
    stmt = sch.get(block)
    bound = realize_of(sch, block).iter_values
    if not loops or len(loops) != len(stmt.iter_vars):
        return None
    if not all(sch.get(loop).loop_var.same_as(v) for loop, v in zip(loops, bound, strict=True)):
        return None
    analyzer = Analyzer()
    for it in stmt.iter_vars:
        analyzer.bind(it.var, it.dom)
    kinds = (tirx.IterVar.DataPar, tirx.IterVar.CommReduce)
    if any(it.iter_type not in kinds for it in stmt.iter_vars):
        return None
    reads, writes = (
        tuple(_Access.simplified(region, analyzer) for region in regions)
        for regions in (stmt.reads, stmt.writes)
    )
    return Nest(block, tuple(loops), tuple(stmt.iter_vars), reads, writes)


def uses(expr: Any, var: Any) -> bool:
    return any(v.same_as(var) for v in tirx.analysis.undefined_vars(expr))


def point_of(region: Any) -> list[Any] | None:
    """The indices of a region that is a single point; None for anything wider."""
    if all(isinstance(r.extent, tirx.IntImm) and int(r.extent) == 1 for r in region.region):
        return [r.min for r in region.region]
    return None


def uses_any(region: Any, var: Any) -> bool:
    return any(uses(r.min, var) for r in region.region)


def leading_spatial(nest: Nest) -> Iterator[Any]:
    for i, loop in enumerate(nest.loops):
        if i not in nest.spatial:
            return
        yield loop


def fuse(sch: Any, loops: Sequence[Any]) -> Any:
    """The loops as one; where TVM fails at that (see ``_FUSE_FAULT``), the outermost of them."""
    try:
        return sch.fuse(*loops)
    except InternalError as error:
        if _FUSE_FAULT not in f"{error}":
            raise
        return loops[0]  # the schedule is as it was


def parallel(sch: Any, loops: Sequence[Any], work: int) -> None:
    if loops and work >= PARALLEL_FROM:
        sch.parallel(fuse(sch, loops))


def vector_width(extent: int | None, lanes: int) -> int:
    """The widest vector that divides the extent; 1 if that is less than half a register.

    Then the loop is left to LLVM, which vectorises with a scalar rest: a predicate inside a
    vectorised loop would make TVM fall back to scalars for all of it.
    """
    width = math.gcd(extent or 1, lanes)
    return width if 2 * width >= lanes else 1


def vectorize(sch: Any, loop: Any, extent: int | None, lanes: int) -> None:
    width = vector_width(extent, lanes)
    if width > 1:
        _, inner = sch.split(loop, factors=[None, width])
        sch.vectorize(inner)


def has_branch(stmt: Any) -> bool:
    """Whether a statement holds an if_then_else, which TVM's vectoriser takes apart."""
    found = False

    def visit(call: Any) -> None:
        nonlocal found
        found = found or (isinstance(call.op, tvm.ir.Op) and call.op.name == "prim.if_then_else")

    tvm_ffi.structural_walk(stmt, (tvm.ir.Call, visit))
    return found


def last_index_is(region: Any, var: Any) -> bool:
    """Whether ``var`` runs along the region's last axis with stride one, and nowhere else."""
    if not region.region:
        return False
    *outer, last = (r.min for r in region.region)
    return last.same_as(var) and not any(uses(i, var) for i in outer)
