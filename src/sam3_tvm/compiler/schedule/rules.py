"""The rules of ScheduleCpu: each makes one kind of loops fast, or says that it does not apply.

A rule gets a copy of the schedule. It returns False, or raises ``ScheduleError`` from one of
TVM's primitives, which check that what is asked for is legal; the copy is dropped then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tvm_ffi
from tvm import tirx

from sam3_tvm.compiler.schedule.nests import (
    PARALLEL_FROM,
    Nest,
    children,
    fuse,
    has_branch,
    last_index_is,
    leading_spatial,
    nest_of,
    parallel,
    point_of,
    realize_of,
    uses,
    uses_any,
    vector_width,
    vectorize,
)

__all__ = ["BLOCK_RULES", "row"]


def _map(sch: Any, block: Any, lanes: int) -> bool:
    """No reduction: parallel over all axes but the last, which is vectorised."""
    nest = nest_of(sch, block)
    if nest is None or nest.reduced:
        return False
    *outer, inner = nest.loops
    rows = [nest.extent(i) for i in range(len(outer))]
    if _is_pointwise(nest) and None not in rows and math.prod(r or 1 for r in rows) < 64:
        # Few rows, or short ones: as one axis they share out evenly.
        parallel(sch, nest.loops, nest.work())
        return True
    if not has_branch(sch.get(block)):
        vectorize(sch, inner, nest.extent(len(outer)), lanes)
    parallel(sch, outer, nest.work())
    return True


def _is_pointwise(nest: Nest) -> bool:
    """Whether every access is at the block's own iterators, so that axes fuse for nothing."""
    iters = [it.var for it in nest.iters]
    for access in (*nest.reads, *nest.writes):
        indices = point_of(access)
        if indices is None or len(indices) != len(iters):
            return False
        if not all(i.same_as(v) for i, v in zip(indices, iters, strict=True)):
            return False
    return True


def _transposition(sch: Any, block: Any, lanes: int) -> bool:
    """A map that reads along one axis and writes along another, in square tiles.

    Row by row it would touch a cache line per value, and where those lie a power of two apart
    none would still be there for the next row.
    """
    nest = nest_of(sch, block)
    if nest is None or nest.reduced or len(nest.iters) < 2 or len(nest.writes) != 1:
        return False
    if has_branch(sch.get(block)):
        return False
    written = len(nest.iters) - 1
    if not last_index_is(nest.writes[0], nest.iters[written].var):
        return False
    # What is written along must jump in what is read: a table of row indices doesn't count.
    jumping = [r for r in nest.reads if uses_any(r, nest.iters[written].var)]
    read = next(
        (
            axis
            for axis in range(written)
            if any(last_index_is(r, nest.iters[axis].var) for r in jumping)
        ),
        None,
    )
    if read is None:
        return False
    # A line of 64 bytes is read whole, and as many lines are open at a time as one set of a
    # first-level cache has ways.
    reads, writes = math.gcd(nest.extent(read) or 1, 16), math.gcd(nest.extent(written) or 1, 8)
    if min(reads, writes) < 4:
        return False
    outer = list(nest.loops)
    outer[read], along_read = sch.split(nest.loops[read], factors=[None, reads])
    outer[written], along_write = sch.split(nest.loops[written], factors=[None, writes])
    sch.reorder(*outer, along_write, along_read)
    parallel(sch, outer, nest.work())
    return True


def _window(sch: Any, block: Any, _lanes: int) -> bool:
    """A reduction over a few elements (a pooling window): a row of results at a time.

    The window's loops go outside the row's, which LLVM then vectorises, strides included.
    """
    nest = nest_of(sch, block)
    if nest is None or not nest.reduced or len(nest.spatial) < 2 or len(nest.writes) != 1:
        return False
    size = math.prod(nest.extent(i) or 1024 for i in nest.reduced)
    row_axis = nest.spatial[-1]
    if size > 64 or not last_index_is(nest.writes[0], nest.iters[row_axis].var):
        return False
    outer = [nest.loops[i] for i in nest.spatial[:-1]]
    window = [nest.loops[i] for i in nest.reduced]
    sch.reorder(*outer, *window, nest.loops[row_axis])
    parallel(sch, outer, nest.work())
    sch.decompose_reduction(block, window[0])
    return True


def _column_reduction(sch: Any, block: Any, lanes: int) -> bool:
    """The contiguous axis survives (a matrix product, a sum over rows).

    A strip of up to four vectors, times up to four rows where an operand is shared between
    them, stays in registers while the reduction runs: at most 16 accumulators.
    """
    nest = nest_of(sch, block)
    if nest is None or not nest.reduced or not nest.spatial or len(nest.writes) != 1:
        return False
    column = nest.spatial[-1]
    var = nest.iters[column].var
    strided = [r for r in nest.reads if any(uses(i.min, var) for i in r.region)]
    if not strided or not all(last_index_is(r, var) for r in (*strided, nest.writes[0])):
        return False
    width = vector_width(nest.extent(column), lanes)
    if width == 1 or has_branch(sch.get(block)):
        return False
    vectors = math.gcd((nest.extent(column) or 0) // width, 4)

    outer = [nest.loops[i] for i in nest.spatial[:-1]]
    reduced = [nest.loops[i] for i in nest.reduced]
    rows = []
    if nest.spatial[:-1]:
        row = nest.spatial[-2]
        shared = not all(uses_any(r, nest.iters[row].var) for r in nest.reads)
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
    parallel(sch, sch.get_loops(stored)[:below], nest.work())
    # Last, because without its init a block is no reduction any more.
    sch.decompose_reduction(block, reduced[0])
    return True


def _row_reduction(sch: Any, block: Any, lanes: int) -> bool:
    """The contiguous axis is reduced: one partial result a lane, added up at the end."""
    nest = nest_of(sch, block)
    if nest is None or not nest.spatial or _split_lanes(sch, nest, lanes) is None:
        return False
    partial = sch.get_producers(block)[-1]
    sch.compute_at(partial, sch.get_loops(block)[len(nest.spatial) - 1])
    parallel(sch, sch.get_loops(block)[: len(nest.spatial)], nest.work())
    _finish_lanes(sch, partial)
    return True


def _split_lanes(sch: Any, nest: Nest, lanes: int) -> Any | None:
    """Split a sum along the contiguous axis into one per lane; returns the block of partials."""
    axes = nest.reduced
    if not axes or any(nest.extent(i) is None for i in axes):
        return None
    if axes != list(range(len(nest.loops) - len(axes), len(nest.loops))):
        return None
    last = nest.iters[axes[-1]].var
    if not any(last_index_is(r, last) for r in nest.reads):
        return None
    extent = math.prod(nest.extent(i) or 1 for i in axes)
    width = vector_width(extent, lanes)
    if width == 1 or extent == width or has_branch(sch.get(nest.block)):
        return None
    fused = sch.fuse(*(nest.loops[i] for i in axes))
    _, lane = sch.split(fused, factors=[None, width])
    return sch.rfactor(lane, factor_axis=len(nest.writes[0].region))


def _finish_lanes(sch: Any, partial: Any) -> None:
    """Vectorise partial sums. Comes last: without its init a block is no reduction any more."""
    bound = realize_of(sch, partial).iter_values
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
    nest = nest_of(sch, block)
    if nest is None:
        loops = sch.get_loops(block)
        if not loops:
            return False
        sch.parallel(loops[0])
        return True
    leading = list(leading_spatial(nest))
    if not leading:
        return False
    parallel(sch, leading, nest.work())
    return True


def row(sch: Any, lanes: int) -> bool:
    """Blocks with common leading axes, one row at a time."""
    nests = [nest_of(sch, b) for b in children(sch)]
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
    fused = fuse(sch, last.loops[:lead])
    sch.parallel(fused)
    for block in reversed(order):
        sch.compute_at(block, fused, preserve_unit_loops=True)
    for block in partials:
        _finish_lanes(sch, block)
    for block in [*maps, last.block]:
        inner = sch.get_loops(block)[1:]
        if inner and not has_branch(sch.get(block)):
            extent = sch.get(inner[-1]).extent
            static = int(extent) if isinstance(extent, tirx.IntImm) else None
            vectorize(sch, inner[-1], static, lanes)
    return True


def _common_lead(blocks: Sequence[Nest]) -> int:
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


def _worth_rows(blocks: Sequence[Nest], lead: int) -> bool:
    """Whether the last block is a map, each sum is one value a row, and rows are many or short."""
    if blocks[-1].reduced or not any(n.reduced for n in blocks):
        return False
    if any(n.reduced and any(n.extent(i) != 1 for i in n.spatial[lead:]) for n in blocks):
        return False
    last = blocks[-1]
    rows = math.prod(last.extent(i) or 1 for i in range(lead))
    width = math.prod(last.extent(i) or 1 for i in range(lead, len(last.iters)))
    return rows >= 8 or width <= PARALLEL_FROM


#: Rules for one block, from the one that gains most to the one that nearly always applies.
BLOCK_RULES = (_column_reduction, _row_reduction, _window, _transposition, _map, _outer)
