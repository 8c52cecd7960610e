"""A schedule for every TIR function that brings none of its own.

LegalizeOps and FuseTIR leave plain scalar loops. This pass makes them parallel over rows
and vectorised along the contiguous axis. It never decides whether a transformation is
legal: every step is a primitive of TVM's schedule, which checks that itself. A rule that
does not apply raises ``ScheduleError`` and its work is thrown away as a whole, the next
simpler rule has its turn, and at the end of the list the loops stay as they are.

The rules, in order, for a function (after inlining cheap producers):

1. *Row*: blocks that share their leading axes (softmax, a normalisation) run together, a row
   at a time, so that what lies between them stays in the cache.
2. Else each block by itself: *column reduction* (the contiguous axis is kept: registers hold
   a strip of it over the whole reduction), *row reduction* (the contiguous axis is summed:
   one partial result per vector lane), *map* (no reduction), *outer* (parallel and no more).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import ScheduleError

from sam3_tvm.compiler.target import CpuTarget

__all__ = ["IS_SCHEDULED", "ScheduleCpu"]

#: Attribute of a function whose loops are final; TVM's DLight sets and respects it too.
IS_SCHEDULED = "tirx.is_scheduled"

# Starting the thread pool costs microseconds: the time in which one core runs through about
# this many elements.
_PARALLEL_FROM = 4096


@tvm.transform.module_pass(opt_level=0, name="ScheduleCpu")
class ScheduleCpu:
    """Schedules each PrimFunc that has no ``tirx.is_scheduled`` attribute, and sets it.

    Runs after FuseTIR. Functions without a root block (already lowered) and blocks that TVM
    calls opaque (sorting, scanning) keep their loops.
    """

    def __init__(self, target: CpuTarget) -> None:
        self.target = target

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Return ``mod`` with every unscheduled PrimFunc replaced."""
        scheduled = {}
        for gvar, func in mod.functions_items():
            if isinstance(func, tirx.PrimFunc) and not _is_scheduled(func):
                scheduled[gvar] = _schedule(func, self.target.lanes).with_attr(IS_SCHEDULED, True)
        # A copy: the caller's module isn't ours to change.
        result = mod.clone()
        for gvar, func in scheduled.items():
            result.update_func(gvar, func)
        return result


def _is_scheduled(func: Any) -> bool:
    return func.attrs is not None and bool(func.attrs.get(IS_SCHEDULED, False))


def _schedule(func: Any, lanes: int) -> Any:
    if not isinstance(func.body, s_tir.SBlockRealize):
        return func
    sch = Schedule(func)
    sch = _inline_producers(sch)
    rowwise = _attempt(sch, _row, lanes)
    if rowwise is not None:
        _initialise_apart(rowwise)
        return rowwise.mod["main"]
    for block in _children(sch):
        for rule in (_column_reduction, _row_reduction, _map, _outer):
            result = _attempt(sch, rule, block, lanes)
            if result is not None:
                sch = result
                break
    _initialise_apart(sch)
    return sch.mod["main"]


def _initialise_apart(sch: Any) -> None:
    """Take the first value of a reduction out of its loops where they may be empty.

    TVM writes it in the first iteration, so that a sum over no elements (a prompt without
    boxes) would leave whatever the memory held.
    """
    found = []

    def visit(stmt: Any) -> None:
        if stmt.init is not None:
            found.append(stmt)

    tvm_ffi.structural_walk(sch.mod["main"].body, (s_tir.SBlock, visit))
    for stmt in found:
        reduced = [it for it in stmt.iter_vars if it.iter_type == tirx.IterVar.CommReduce]
        if all(isinstance(it.dom.extent, tirx.IntImm) for it in reduced):
            continue
        block = sch.get_sblock(stmt.name_hint)
        for loop in sch.get_loops(block):
            var = sch.get(loop).loop_var
            values = _realize_of(sch, block).iter_values
            bound = zip(stmt.iter_vars, values, strict=True)
            if any(it.iter_type == tirx.IterVar.CommReduce and _uses(v, var) for it, v in bound):
                sch.decompose_reduction(block, loop)
                break


def _attempt(sch: Any, rule: Callable[..., bool], *args: Any) -> Any | None:
    """What ``rule`` makes of a copy of ``sch``; None where it doesn't apply.

    Random variables (blocks, loops) of ``sch`` are valid in its copies.
    """
    copy = sch.copy()
    try:
        return copy if rule(copy, *args) else None
    except ScheduleError:
        return None


# --------------------------------------------------------------------------------------
# What a block is


@dataclass(frozen=True)
class _Nest:
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
        return math.prod(_PARALLEL_FROM if e is None else e for e in extents)


def _children(sch: Any) -> list[Any]:
    return list(sch.get_child_blocks(sch.get_sblock(sch.mod["main"].body.block.name_hint)))


_realize_of = tvm.get_global_func("s_tir.schedule.GetSBlockRealize")


def _nest(sch: Any, block: Any) -> _Nest | None:
    """The block's nest, or None if it is opaque or its loops aren't its iterators one by one."""
    loops = sch.get_loops(block)
    stmt = sch.get(block)
    bound = _realize_of(sch, block).iter_values
    if not loops or len(loops) != len(stmt.iter_vars):
        return None
    if not all(sch.get(loop).loop_var.same_as(v) for loop, v in zip(loops, bound, strict=True)):
        return None
    kinds = (tirx.IterVar.DataPar, tirx.IterVar.CommReduce)
    if any(it.iter_type not in kinds for it in stmt.iter_vars):
        return None
    return _Nest(block, tuple(loops), tuple(stmt.iter_vars), tuple(stmt.reads), tuple(stmt.writes))


def _uses(expr: Any, var: Any) -> bool:
    return any(v.same_as(var) for v in tirx.analysis.undefined_vars(expr))


def _indices(region: Any) -> list[Any] | None:
    """The indices of a region that is a single point; None for anything wider."""
    if all(isinstance(r.extent, tirx.IntImm) and int(r.extent) == 1 for r in region.region):
        return [r.min for r in region.region]
    return None


# --------------------------------------------------------------------------------------
# Inlining


def _inline_producers(sch: Any) -> Any:
    """Inline each map whose value every consumer then computes about once per element."""
    for block in _children(sch):
        nest = _nest(sch, block)
        if nest is None or nest.reduced or len(nest.writes) != 1:
            continue
        consumers = [_nest(sch, c) for c in sch.get_consumers(block)]
        if not consumers or (len(consumers) > 1 and not _is_move(sch.get(block))):
            continue
        if all(c is not None and _reads_once(c, nest.writes[0].source) for c in consumers):
            sch = _attempt(sch, _inline, block) or sch
    return sch


def _inline(sch: Any, block: Any) -> bool:
    sch.compute_inline(block)
    return True


def _is_move(block: Any) -> bool:
    """Whether a block only loads: it costs nothing to do so in every consumer."""
    body = block.body
    return isinstance(body, tirx.BufferStore) and isinstance(body.value, tvm.ir.TensorLoad)


def _reads_once(consumer: _Nest, buffer: Any) -> bool:
    """Whether the consumer reads each element of the buffer about once in all."""
    for read in consumer.reads:
        if not read.source.same_as(buffer):
            continue
        indices = _indices(read)
        if indices is None:
            return False
        if consumer.reduced and not all(isinstance(i, tirx.Var) for i in indices):
            return False
        for axis, it in enumerate(consumer.iters):
            if consumer.extent(axis) != 1 and not any(_uses(i, it.var) for i in indices):
                return False
    return True


# --------------------------------------------------------------------------------------
# Steps that rules share


def _parallel(sch: Any, loops: Sequence[Any], work: int) -> None:
    if loops and work >= _PARALLEL_FROM:
        sch.parallel(sch.fuse(*loops))


def _vector(extent: int | None, lanes: int) -> int:
    """The widest vector that divides the extent; 1 if that is less than half a register.

    Then the loop is left to LLVM, which vectorises with a scalar rest: a predicate inside a
    vectorised loop would make TVM fall back to scalars for all of it.
    """
    width = math.gcd(extent or 1, lanes)
    return width if 2 * width >= lanes else 1


def _vectorize(sch: Any, loop: Any, extent: int | None, lanes: int) -> None:
    width = _vector(extent, lanes)
    if width > 1:
        _, inner = sch.split(loop, factors=[None, width])
        sch.vectorize(inner)


def _has_branch(stmt: Any) -> bool:
    """Whether a statement holds an if_then_else, which TVM's vectoriser takes apart."""
    found = False

    def visit(call: Any) -> None:
        nonlocal found
        found = found or (isinstance(call.op, tvm.ir.Op) and call.op.name == "prim.if_then_else")

    tvm_ffi.structural_walk(stmt, (tvm.ir.Call, visit))
    return found


def _last_index_is(region: Any, var: Any) -> bool:
    """Whether ``var`` runs along the region's last axis with stride one, and nowhere else."""
    *outer, last = (r.min for r in region.region)
    return last.same_as(var) and not any(_uses(i, var) for i in outer)


# --------------------------------------------------------------------------------------
# Rules


def _map(sch: Any, block: Any, lanes: int) -> bool:
    """No reduction: parallel over all axes but the last, which is vectorised."""
    nest = _nest(sch, block)
    if nest is None or nest.reduced:
        return False
    *outer, inner = nest.loops
    rows = [nest.extent(i) for i in range(len(outer))]
    if _is_pointwise(nest) and None not in rows and math.prod(r or 1 for r in rows) < 64:
        # Few rows, or short ones: as one axis they share out evenly.
        _parallel(sch, nest.loops, nest.work())
        return True
    if not _has_branch(sch.get(block)):
        _vectorize(sch, inner, nest.extent(len(outer)), lanes)
    _parallel(sch, outer, nest.work())
    return True


def _is_pointwise(nest: _Nest) -> bool:
    """Whether every access is at the block's own iterators, so that axes fuse for nothing."""
    iters = [it.var for it in nest.iters]
    for access in (*nest.reads, *nest.writes):
        indices = _indices(access)
        if indices is None or len(indices) != len(iters):
            return False
        if not all(i.same_as(v) for i, v in zip(indices, iters, strict=True)):
            return False
    return True


def _column_reduction(sch: Any, block: Any, lanes: int) -> bool:
    """The contiguous axis survives (a matrix product, a sum over rows).

    A strip of up to four vectors, times up to four rows where an operand is shared between
    them, stays in registers while the reduction runs: at most 16 accumulators.
    """
    nest = _nest(sch, block)
    if nest is None or not nest.reduced or not nest.spatial or len(nest.writes) != 1:
        return False
    column = nest.spatial[-1]
    var = nest.iters[column].var
    strided = [r for r in nest.reads if any(_uses(i.min, var) for i in r.region)]
    if not strided or not all(_last_index_is(r, var) for r in (*strided, nest.writes[0])):
        return False
    width = _vector(nest.extent(column), lanes)
    if width == 1 or _has_branch(sch.get(block)):
        return False
    vectors = math.gcd((nest.extent(column) or 0) // width, 4)

    outer = [nest.loops[i] for i in nest.spatial[:-1]]
    reduced = [nest.loops[i] for i in nest.reduced]
    rows = []
    if nest.spatial[:-1]:
        row = nest.spatial[-2]
        shared = not all(_uses_any(r, nest.iters[row].var) for r in nest.reads)
        tile = math.gcd(nest.extent(row) or 1, 4)
        if shared and tile > 1:
            outer[-1], inner_row = sch.split(nest.loops[row], factors=[None, tile])
            rows = [inner_row]
    strip, unrolled, vector = sch.split(nest.loops[column], factors=[None, vectors, width])
    sch.reorder(*outer, strip, *reduced, *rows, unrolled, vector)
    stored = sch.cache_write(block, 0, "local")
    sch.reverse_compute_at(stored, strip)
    below = len(outer) + 1
    _, store_vector = sch.split(sch.get_loops(stored)[-1], factors=[None, width])
    sch.vectorize(store_vector)
    for loop in [*rows, unrolled]:
        sch.unroll(loop)
    sch.vectorize(vector)
    _parallel(sch, sch.get_loops(stored)[:below], nest.work())
    # Last, because without its init a block is no reduction any more.
    sch.decompose_reduction(block, reduced[0])
    return True


def _uses_any(region: Any, var: Any) -> bool:
    return any(_uses(r.min, var) for r in region.region)


def _row_reduction(sch: Any, block: Any, lanes: int) -> bool:
    """The contiguous axis is reduced: one partial result a lane, added up at the end."""
    nest = _nest(sch, block)
    if nest is None or not nest.spatial or _split_lanes(sch, nest, lanes) is None:
        return False
    partial = sch.get_producers(block)[-1]
    sch.compute_at(partial, sch.get_loops(block)[len(nest.spatial) - 1])
    _parallel(sch, sch.get_loops(block)[: len(nest.spatial)], nest.work())
    _finish_lanes(sch, partial)
    return True


def _split_lanes(sch: Any, nest: _Nest, lanes: int) -> Any | None:
    """Split a sum along the contiguous axis into one per lane; returns the block of partials."""
    axes = nest.reduced
    if not axes or any(nest.extent(i) is None for i in axes):
        return None
    if axes != list(range(len(nest.loops) - len(axes), len(nest.loops))):
        return None
    last = nest.iters[axes[-1]].var
    if not any(_last_index_is(r, last) for r in nest.reads):
        return None
    extent = math.prod(nest.extent(i) or 1 for i in axes)
    width = _vector(extent, lanes)
    if width == 1 or extent == width or _has_branch(sch.get(nest.block)):
        return None
    fused = sch.fuse(*(nest.loops[i] for i in axes))
    _, lane = sch.split(fused, factors=[None, width])
    return sch.rfactor(lane, factor_axis=len(nest.writes[0].region))


def _finish_lanes(sch: Any, partial: Any) -> None:
    """Vectorise partial sums. Comes last: without its init a block is no reduction any more."""
    bound = _realize_of(sch, partial).iter_values
    loops = {
        it.iter_type: loop
        for it, value in zip(sch.get(partial).iter_vars, bound, strict=True)
        for loop in sch.get_loops(partial)
        if sch.get(loop).loop_var.same_as(value)
        # rfactor puts the axis of lanes first in the block, whatever order its loops have.
        and (it.iter_type == tirx.IterVar.CommReduce or value.same_as(bound[0]))
    }
    steps, lane = loops[tirx.IterVar.CommReduce], loops[tirx.IterVar.DataPar]
    sch.reorder(steps, lane)
    sch.vectorize(lane)
    sch.decompose_reduction(partial, steps)


def _outer(sch: Any, block: Any, _lanes: int) -> bool:
    """Parallel over whatever leading loops TVM proves independent."""
    nest = _nest(sch, block)
    if nest is None:
        loops = sch.get_loops(block)
        if not loops:
            return False
        sch.parallel(loops[0])
        return True
    leading = list(_leading_spatial(nest))
    if not leading:
        return False
    _parallel(sch, leading, nest.work())
    return True


def _leading_spatial(nest: _Nest) -> Iterator[Any]:
    for i, loop in enumerate(nest.loops):
        if i not in nest.spatial:
            return
        yield loop


def _row(sch: Any, lanes: int) -> bool:
    """Blocks with common leading axes, one row at a time."""
    nests = [_nest(sch, b) for b in _children(sch)]
    blocks = [n for n in nests if n is not None]
    if len(blocks) < 2 or len(blocks) != len(nests):
        return False
    lead = _common_lead(blocks)
    if lead == 0 or not _worth_rows(blocks, lead):
        return False
    # Partial sums are split off first: rfactor wants its block alone in its loops.
    partials, maps, order = [], [], []
    for nest in blocks[:-1]:
        if nest.reduced:
            partial = _split_lanes(sch, nest, lanes)
            if partial is not None:
                partials.append(partial)
                order.append(partial)
        else:
            maps.append(nest.block)
        order.append(nest.block)
    last = blocks[-1]
    row = sch.fuse(*last.loops[:lead])
    sch.parallel(row)
    for block in reversed(order):
        sch.compute_at(block, row, preserve_unit_loops=True)
    for block in partials:
        _finish_lanes(sch, block)
    for block in [*maps, last.block]:
        inner = sch.get_loops(block)[1:]
        if inner and not _has_branch(sch.get(block)):
            extent = sch.get(inner[-1]).extent
            static = int(extent) if isinstance(extent, tirx.IntImm) else None
            _vectorize(sch, inner[-1], static, lanes)
    return True


def _common_lead(blocks: Sequence[_Nest]) -> int:
    """Leading axes on which all blocks agree: same extents, and row i is made of rows i."""
    lead = 0
    inner = [w.source for n in blocks[:-1] for w in n.writes]
    while all(lead in n.spatial for n in blocks):
        extents = [n.iters[lead].dom.extent for n in blocks]
        if not all(tvm_ffi.structural_equal(e, extents[0]) for e in extents):
            break
        between = [
            (n, a)
            for n in blocks
            for a in (*n.reads, *n.writes)
            if any(a.source.same_as(b) for b in inner)
        ]
        if not all(
            len(a.region) > lead and a.region[lead].min.same_as(n.iters[lead].var)
            for n, a in between
        ):
            break
        lead += 1
    return lead


def _worth_rows(blocks: Sequence[_Nest], lead: int) -> bool:
    """Whether the last block is a map, each sum is one value a row, and rows are many or short."""
    if blocks[-1].reduced or not any(n.reduced for n in blocks):
        return False
    if any(n.reduced and any(n.extent(i) != 1 for i in n.spatial[lead:]) for n in blocks):
        return False
    last = blocks[-1]
    rows = math.prod(last.extent(i) or 1 for i in range(lead))
    width = math.prod(last.extent(i) or 1 for i in range(lead, len(last.iters)))
    return rows >= 8 or width <= _PARALLEL_FROM
