"""Moves partition into windows past the linear layers around an attention, up to the attention.

Partition permutes rows, and a linear layer treats every row alike:
``linear(partition(x)) = partition(linear(x))``, and the same of the way back. Next to the
attention both are free, because its kernel addresses windows of a map where they lie
(:mod:`~sam3_tvm.compiler.graph.attention_sources`). What is left works on the map: one
product makes queries, keys and values of all of it, and the output projection takes the
residual. A layer is passed only where the attention will read, or write, through the partition.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import tvm
from tvm import relax

from sam3_tvm.compiler.graph.attention_patterns import find_attention
from sam3_tvm.compiler.graph.dataflow import Dataflow, call_of, shape_of, static_int
from sam3_tvm.compiler.graph.linear_patterns import LinearLayer, find_linear_layers
from sam3_tvm.compiler.graph.rewriting import Emit, NewValue, rewrite_bindings
from sam3_tvm.compiler.graph.windows import (
    emit_partition,
    emit_unpartition,
    partition_source,
    unpartition_result,
)
from sam3_tvm.compiler.kernels.attention.operands import Windows
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue

__all__ = ["MoveWindows"]

Expr = Any


@tvm.ir.transform.module_pass(opt_level=0, name="MoveWindows")
class MoveWindows:
    """The pass, before MergeLinears and DispatchAttention."""

    def transform_module(
        self, mod: tvm.IRModule, _ctx: tvm.ir.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite every Relax function of the module."""
        return rewrite_bindings(mod, _find)


@dataclass
class Move:
    """A layer to apply to the map instead of to its windows.

    Attributes:
        layer: the layer.
        matrix: its weight as the product takes it.
        x: the map, or with ``back`` the windows that the layer was applied to.
        windows: how the map is cut.
        back: whether the layer follows the attention.
    """

    layer: LinearLayer
    matrix: Expr
    x: Expr
    windows: Windows
    back: bool


def find_moves(flow: Dataflow) -> dict[Expr, Move]:
    """The layers to move, each under the variable that takes their new result."""
    layers = find_linear_layers(flow)
    readers = {flow.root(layer.x): layer for layer in layers.values()}
    moves: dict[Expr, Move] = {}
    for var, attention in find_attention(flow).items():
        roots = [flow.root(source.expr) for source in attention.sources if source.rows]
        before = {root: _before(flow, layers.get(root), roots.count(root)) for root in roots}
        cuts = {move.windows if move is not None else None for move in before.values()}
        length = static_int((shape_of(attention.call.args[0]) or [])[1])
        windows = cuts.pop() if len(roots) == 3 and len(cuts) == 1 else None
        if windows is None or windows.size != length:
            continue
        moves |= {root: move for root, move in before.items() if move is not None}
        rows = flow.only_user(var)
        if rows is not None and call_of(flow.definition(rows), "relax.reshape") is not None:
            moves |= _after(flow, readers.get(rows), windows)
    return moves


def _matrix(flow: Dataflow, layer: LinearLayer) -> Expr:
    return flow.definition(layer.chain[0]).args[1]


def _is_plain(layer: LinearLayer) -> bool:
    return layer.epilogue in (Epilogue(), Epilogue(bias=True))


def _before(flow: Dataflow, layer: LinearLayer | None, operands: int) -> Move | None:
    """The move of a layer over windows whose only use is the attention, as so many operands."""
    if layer is None or not _is_plain(layer) or flow.uses(layer.chain[-1]) != operands:
        return None
    source = partition_source(flow, layer.x)
    return None if source is None else Move(layer, _matrix(flow, layer), *source, back=False)


def _after(flow: Dataflow, layer: LinearLayer | None, windows: Windows) -> dict[Expr, Move]:
    """The move of the only layer that reads the attention's windows, if they go back after."""
    if layer is None or not _is_plain(layer) or flow.only_user(layer.x) is None:
        return {}
    back = unpartition_result(flow, layer.chain[-1])
    if back is None or back[1] != windows:
        return {}
    return {back[0]: Move(layer, _matrix(flow, layer), layer.x, windows, back=True)}


def _find(func: relax.Function) -> dict[Expr, NewValue]:
    moves = find_moves(Dataflow(func))
    return {var: partial(_moved, var, move) for var, move in moves.items()}


def _moved(var: Expr, move: Move, emit: Emit) -> Expr:
    x = move.x
    if move.back:
        x = emit_unpartition(emit, x, move.windows, (shape_of(var) or [])[0])
    y = relax.op.matmul(x, move.matrix)
    if move.layer.bias is not None:
        y = relax.op.add(emit(y), move.layer.bias)
    return y if move.back else emit_partition(emit, emit(y), move.windows)
