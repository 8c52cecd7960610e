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
   one partial result per vector lane), *window* (a small reduction, such as pooling),
   *transposition* (read along one axis, written along another: square tiles), *map* (no
   reduction), *outer* (parallel and no more).
"""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir import Schedule

from sam3_tvm.compiler.schedule.nests import (
    Nest,
    attempt,
    children,
    nest_of,
    point_of,
    realize_of,
    uses,
)
from sam3_tvm.compiler.schedule.rules import BLOCK_RULES, row
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["IS_SCHEDULED", "ScheduleCpu"]

#: Attribute of a function whose loops are final; TVM's DLight sets and respects it too.
IS_SCHEDULED = "tirx.is_scheduled"


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
    rowwise = attempt(sch, row, lanes)
    if rowwise is not None:
        _initialise_apart(rowwise)
        return rowwise.mod["main"]
    for block in children(sch):
        for rule in BLOCK_RULES:
            result = attempt(sch, rule, block, lanes)
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
            values = realize_of(sch, block).iter_values
            bound = zip(stmt.iter_vars, values, strict=True)
            if any(it.iter_type == tirx.IterVar.CommReduce and uses(v, var) for it, v in bound):
                sch.decompose_reduction(block, loop)
                break


def _inline_producers(sch: Any) -> Any:
    """Inline each map whose value every consumer then computes about once per element."""
    for block in children(sch):
        nest = nest_of(sch, block)
        if nest is None or nest.reduced or len(nest.writes) != 1:
            continue
        consumers = [nest_of(sch, c) for c in sch.get_consumers(block)]
        if not consumers or (len(consumers) > 1 and not _is_move(sch.get(block))):
            continue
        if all(c is not None and _reads_once(c, nest.writes[0].source) for c in consumers):
            sch = attempt(sch, _inline, block) or sch
    return sch


def _inline(sch: Any, block: Any) -> bool:
    sch.compute_inline(block)
    return True


def _is_move(block: Any) -> bool:
    """Whether a block only loads: it costs nothing to do so in every consumer."""
    body = block.body
    return isinstance(body, tirx.BufferStore) and isinstance(body.value, tvm.ir.TensorLoad)


def _reads_once(consumer: Nest, buffer: Any) -> bool:
    """Whether the consumer reads each element of the buffer about once in all."""
    for read in consumer.reads:
        if not read.source.same_as(buffer):
            continue
        indices = point_of(read)
        if indices is None:
            return False
        if consumer.reduced and not all(isinstance(i, tirx.Var) for i in indices):
            return False
        for axis, it in enumerate(consumer.iters):
            if consumer.extent(axis) != 1 and not any(uses(i, it.var) for i in indices):
                return False
    return True
