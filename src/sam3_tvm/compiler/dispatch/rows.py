"""Rows that a call looks up in a large table come from one that is stored as the function's
arithmetic says, and are widened as they are read.

Handled is ``relax.take`` (of indices that are clipped, or are said to be good) along the first of
two axes, of a float32 table that is a parameter, where nothing but such calls reads it: of SAM 3
the text encoder's table of tokens. Constants stay as they are: they may be masks or places, which
rounding changes. Runs before weights leave their functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import tvm
from tvm import relax

from sam3_tvm.compiler.dispatch.store_weights import store_rows
from sam3_tvm.compiler.graph.arithmetic import arithmetic_of
from sam3_tvm.compiler.graph.dataflow import (
    Dataflow,
    call_of,
    float32_shape_of,
    shape_of,
    static_int,
)
from sam3_tvm.compiler.graph.rewriting import Emit, NewValue, rewrite_bindings
from sam3_tvm.compiler.kernels.rows import rows_kernel, rows_name
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["DispatchRows"]

Expr = Any

_INDICES = ("int32", "int64")


@tvm.transform.module_pass(opt_level=0, name="DispatchRows")
class DispatchRows:
    """Replaces the look-ups of every Relax function whose tables are stored narrow.

    Args:
        target: the CPU that the kernels are for.
    """

    def __init__(self, target: CpuTarget) -> None:
        self.target = target

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Return ``mod`` with kernels for its look-ups."""
        return rewrite_bindings(mod, self._find)

    def _find(self, func: relax.Function) -> dict[Expr, NewValue]:
        flow, arithmetic = Dataflow(func), arithmetic_of(func)
        found: dict[Expr, NewValue] = {}
        for binding in flow.bindings:
            shape = _table_shape(flow, binding.value)
            if shape is None:
                continue
            precision = arithmetic.of_table(*shape)
            if precision != "float32":
                found[binding.var] = _Rows(self.target, binding.value, shape, precision)
        return found


def _table_shape(flow: Dataflow, value: Expr) -> tuple[int, int] | None:
    """Rows and columns of the table that a call looks rows up in, which only such calls read."""
    call = _look_up(value)
    if call is None or not flow.is_offline(call.args[0]) or flow.is_offline(call.args[1]):
        return None
    table, indices = call.args
    if not isinstance(flow.definition(table), relax.Var):
        return None
    for user in flow.users(table):
        reader = None if user is None else _look_up(flow.definition(user))
        if reader is None or reader.args[0] != table:
            return None
    shape = float32_shape_of(table) or []
    rows, columns = map(static_int, shape) if len(shape) == 2 else (None, None)
    return (rows, columns) if rows and columns and shape_of(indices) is not None else None


def _look_up(value: Expr) -> Expr | None:
    """The value itself where it takes rows by whole numbers, else None."""
    call = call_of(value, "relax.take")
    if call is None or call.attrs.axis is None or int(call.attrs.axis) != 0:
        return None
    # Beyond the table the kernel gives its nearest row, as "clip" does; "fast" leaves that open.
    known = f"{call.attrs.mode}" in ("clip", "fast")
    return call if known and f"{call.args[1].ty.dtype}" in _INDICES else None


@dataclass(frozen=True)
class _Rows:
    """Gives a variable the kernel's call as value."""

    target: CpuTarget
    call: Expr
    shape: tuple[int, int]
    precision: str

    def __call__(self, emit: Emit) -> Expr:
        (table, indices), size = self.call.args, self.shape[1]
        stored, _ = store_rows(emit, table, self.precision)
        sizes = shape_of(indices) or []
        count = prod(sizes, start=tvm.tirx.const(1, "int64"))
        flat = emit(relax.op.reshape(indices, [count]))
        made = rows_kernel(self.target, *self.shape, self.precision, f"{indices.ty.dtype}")
        kernel = emit.kernel(rows_name(*self.shape, self.precision), made)
        result = relax.TensorType([count, size], "float32")
        rows = emit(relax.call_tir(kernel, [stored, flat], result))
        return relax.op.reshape(rows, [*sizes, size])
