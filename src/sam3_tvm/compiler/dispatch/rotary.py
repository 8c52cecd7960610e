"""Rotary embedding that no attention takes becomes a kernel: of operands of the tracker's attention
to memories, whose positions repeat and whose last rows have none.

Runs after DispatchAttention, whose kernels rotate what they load wherever they can. Handled, in
float32 [B, H, L, D] with D static: ``x cos + pairwise(x) sin`` by constants that vary along L and
D, or by such that are repeated along L; of a whole array, or of its first rows, the rest of which
follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from sam3_tvm.compiler.graph.attention_sources import pairwise_rotation, permutation
from sam3_tvm.compiler.graph.dataflow import (
    Dataflow,
    call_of,
    float32_shape_of,
    same_shape,
    shape_of,
    static_int,
)
from sam3_tvm.compiler.graph.rewriting import Emit, NewValue, rewrite_bindings
from sam3_tvm.compiler.kernels.rotary import rotary_kernel, rotary_name
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["DispatchRotary"]

Expr = Any


@tvm.transform.module_pass(opt_level=0, name="DispatchRotary")
class DispatchRotary:
    """Replaces the rotations of every Relax function."""

    def __init__(self, target: CpuTarget) -> None:
        self.target = target

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Return ``mod`` with kernels for its rotations."""
        tables: list[Expr] = []
        return rewrite_bindings(mod, lambda func: self._find(func, tables))

    def _find(self, func: relax.Function, tables: list[Expr]) -> dict[Expr, NewValue]:
        flow = Dataflow(func)
        found: dict[Expr, NewValue] = {}
        for binding in flow.bindings:
            rotation = _rotation(flow, binding.var)
            if rotation is None:
                continue
            user = flow.only_user(binding.var)
            joined = None if user is None else _with_rest(flow, user, binding.var, rotation)
            var, rotation = (binding.var, rotation) if joined is None else (user, joined)
            found[var] = _Call(self.target, flow, rotation, tables)
        return found


@dataclass(frozen=True)
class _Rotation:
    """``x`` [B, H, L, D] with its first ``count`` rows rotated by ``table`` [P, 2, D], signs of the
    sines included."""

    x: Expr
    count: Expr
    table: NDArray[np.float32]


def _rotation(flow: Dataflow, var: Expr) -> _Rotation | None:
    found = pairwise_rotation(flow, var)
    shape = None if found is None else float32_shape_of(found[0])
    if found is None or shape is None or len(shape) != 4:
        return None
    cosine, sine = (_table(flow, table, shape) for table in found[1:])
    size = static_int(shape[-1])
    if cosine is None or sine is None or cosine.shape != sine.shape or not size or size % 2:
        return None
    sign = np.where(np.arange(size) % 2, 1, -1).astype("float32")
    return _Rotation(found[0], shape[2], np.stack([cosine, sine * sign], axis=1))


def _table(flow: Dataflow, expr: Expr, shape: list[Expr]) -> NDArray[np.float32] | None:
    """[P, D] of what varies along L and D: a constant, or one that is repeated along L."""
    sizes = float32_shape_of(expr)
    if sizes is None or len(sizes) > 4 or not _ones(sizes[:-2]):
        return None
    if not same_shape(sizes[-2:], shape[-2:]):
        return None
    value = flow.definition(expr)
    if (rows := call_of(value, "relax.reshape")) is not None:
        whole = flow.definition(rows.args[0])
        if (repeated := call_of(whole, "relax.broadcast_to")) is None:
            return None
        wide = shape_of(repeated) or []
        source = flow.definition(repeated.args[0])
        # [.., 1, P, D] of [.., m, P, D], whose last axes but one are joined.
        narrow = shape_of(repeated.args[0]) or []
        period = static_int(wide[-2]) if len(wide) >= 3 else None
        fits = period is not None and _ones(narrow[:-2]) and same_shape(narrow[-2:], wide[-2:])
        if not fits or not _ones(wide[:-3]) or not same_shape(wide[-1:], sizes[-1:]):
            return None
        value = source if (view := call_of(source, "relax.reshape")) is None else view.args[0]
        if hasattr(value, "value"):
            return value.value.numpy().reshape(period, -1) if _fills(value, narrow) else None
        return None
    return value.value.numpy().reshape(-1, int(sizes[-1])) if hasattr(value, "value") else None


def _fills(constant: Expr, shape: list[Expr]) -> bool:
    """Whether a constant has as many values as a shape."""
    sizes = [static_int(d) for d in shape]
    return None not in sizes and constant.value.numpy().size == prod(d or 0 for d in sizes)


def _ones(sizes: list[Expr]) -> bool:
    return all(static_int(d) == 1 for d in sizes)


def _with_rest(flow: Dataflow, user: Expr, var: Expr, rotation: _Rotation) -> _Rotation | None:
    """The rotation of an array's first rows, where ``user`` joins the others to what is rotated."""
    join = call_of(flow.definition(user), "relax.concat")
    fields = [] if join is None else list(getattr(flow.definition(join.args[0]), "fields", []))
    if join is None or len(fields) != 2 or fields[0] != var or join.attrs.axis not in (2, -2):
        return None
    rotated, rest = (_rows_of(flow, part) for part in (rotation.x, fields[1]))
    if rotated is None or rest is None:
        return None
    (whole, first, _), (other, start, end) = rotated, rest
    # By its shape: an end may be counted from the array's own.
    count, length = rotation.count, (shape_of(whole) or [])[2]
    fits = flow.root(whole) == flow.root(other) and static_int(first) == 0
    if not fits or not same_shape([count, length], [start, end]):
        return None
    return _Rotation(whole, count, rotation.table)


def _rows_of(flow: Dataflow, expr: Expr) -> tuple[Expr, Expr, Expr] | None:
    """The array that a value is rows of, along its third axis, the first of them and the end."""
    call = call_of(flow.definition(expr), "relax.strided_slice")
    if call is None or len(call.args) != 5:
        return None
    axes, begin, end, step = (list(arg.fields) for arg in call.args[1:])
    plain = [static_int(a) for a in axes] in ([2], [-2]) and [static_int(s) for s in step] == [1]
    return (call.args[0], begin[0], end[0]) if plain else None


@dataclass(frozen=True)
class _Call:
    """Gives a variable the kernel's call as value."""

    target: CpuTarget
    flow: Dataflow
    rotation: _Rotation
    tables: list[Expr]

    def __call__(self, emit: Emit) -> Expr:
        x, table = self.rotation.x, self.rotation.table
        b, heads, length, size = shape = shape_of(x) or []
        moved = call_of(self.flow.definition(x), "relax.permute_dims")
        if static_int(heads) == 1 and moved is not None and permutation(moved) == [0, 2, 1, 3]:
            x = moved.args[0]  # one head: the same in memory
        flat = [b * heads, length, size]
        x = emit(relax.op.reshape(x, flat))
        kernel = emit.kernel(
            rotary_name(len(table), int(size)), rotary_kernel(self.target, len(table), int(size))
        )
        result = relax.TensorType(flat, "float32")
        args = [x, self._constant(), self.rotation.count]
        return relax.op.reshape(emit(relax.call_tir(kernel, args, result)), shape)

    def _constant(self) -> Expr:
        """The table, the same constant for equal values."""
        for known in self.tables:
            if np.array_equal(known.value.numpy(), self.rotation.table):
                return known
        self.tables.append(relax.const(self.rotation.table))
        return self.tables[-1]
