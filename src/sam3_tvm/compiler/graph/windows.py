"""Partition of a map into windows, and back, as models for windowed attention write them.

Partition takes [images, down * height, across * width, C] to
[images * down * across, height, width, C]: a reshape, a transposition of the six axes, a
reshape. Each row of C values stays whole, so both directions are permutations of rows, and
commute with whatever treats every row alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax

from sam3_tvm.compiler.graph.dataflow import Dataflow, call_of, same_shape, shape_of, static_int
from sam3_tvm.compiler.kernels.attention.operands import Windows

__all__ = ["emit_partition", "emit_unpartition", "partition_source", "unpartition_result"]

Expr = Any

_SWAP = [0, 1, 3, 2, 4, 5]


def partition_source(flow: Dataflow, windows_of: Expr) -> tuple[Expr, Windows] | None:
    """The map that ``windows_of`` [images * windows, height, width, C] are the windows of."""
    merge = call_of(flow.definition(windows_of), "relax.reshape")
    permute = None if merge is None else call_of(flow.definition(merge.args[0]), _PERMUTE)
    split = None if permute is None else call_of(flow.definition(permute.args[0]), "relax.reshape")
    if permute is None or split is None or _axes(permute) != _SWAP:
        return None
    source = _unpadded(flow, split.args[0])
    windows = _windows(shape_of(permute.args[0]), shape_of(source), shape_of(windows_of))
    return None if windows is None else (source, windows)


def unpartition_result(flow: Dataflow, rows: Expr) -> tuple[Expr, Windows] | None:
    """The variable that holds the map of the windows ``rows``, if that is their only use."""
    split = flow.only_user(rows)
    permute = None if split is None else flow.only_user(split)
    merge = None if permute is None else flow.only_user(permute)
    if (
        merge is None
        or call_of(flow.definition(split), "relax.reshape") is None
        or call_of(flow.definition(permute), _PERMUTE) is None
        or call_of(flow.definition(merge), "relax.reshape") is None
        or _axes(flow.definition(permute)) != _SWAP
    ):
        return None
    cut = shape_of(permute)
    windows = _windows(cut, shape_of(merge), shape_of(rows))
    return None if windows is None else (merge, windows)


def _windows(
    cut: list[Expr] | None, whole: list[Expr] | None, parts: list[Expr] | None
) -> Windows | None:
    """The windows by which ``whole`` is cut, as ``cut`` [images, down, height, across, width,
    C], into ``parts``."""
    if cut is None or whole is None or parts is None:
        return None
    images, *sizes = cut
    down, height, across, width, channels = map(static_int, sizes)
    if down is None or height is None or across is None or width is None or channels is None:
        return None
    windows = Windows(down, across, height, width)
    fits = same_shape(whole, [images, down * height, across * width, channels])
    fits = fits and same_shape(parts, [images * windows.count, height, width, channels])
    return windows if fits else None


def emit_partition(emit: Callable[[Expr], Expr], rows: Expr, windows: Windows) -> Expr:
    """The windows of a map, as a call that is not emitted yet."""
    w, (images, _, _, channels) = windows, shape_of(rows) or []
    cut = emit(relax.op.reshape(rows, (images, w.down, w.height, w.across, w.width, channels)))
    swapped = emit(relax.op.permute_dims(cut, _SWAP))
    return relax.op.reshape(swapped, (images * w.count, w.height, w.width, channels))


def emit_unpartition(
    emit: Callable[[Expr], Expr], parts: Expr, windows: Windows, images: Expr
) -> Expr:
    """The map of windows, emitted."""
    w, channels = windows, (shape_of(parts) or [])[-1]
    cut = emit(relax.op.reshape(parts, (images, w.down, w.across, w.height, w.width, channels)))
    swapped = emit(relax.op.permute_dims(cut, _SWAP))
    return emit(
        relax.op.reshape(swapped, (images, w.down * w.height, w.across * w.width, channels))
    )


_PERMUTE = "relax.permute_dims"


def _axes(call: Expr) -> list[int] | None:
    axes = call.attrs.axes
    return None if axes is None else [int(a) for a in axes]


def _unpadded(flow: Dataflow, expr: Expr) -> Expr:
    """The operand of a pad that adds nothing, which is how exact windows are traced."""
    call = call_of(flow.definition(expr), "relax.nn.pad")
    if call is None or any(int(n) for n in call.attrs.pad_width):
        return expr
    return call.args[0]
