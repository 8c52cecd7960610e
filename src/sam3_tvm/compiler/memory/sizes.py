"""Numbers of bytes in the symbolic sizes of a function: as polynomials, and as expressions."""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi
from tvm import relax, tirx
from tvm.relax import BlockBuilder

from sam3_tvm.compiler.memory.plan import ALIGNMENT, Bytes, Plan

__all__ = ["Sizes", "bound", "bytes_value", "int64", "tensor_bytes"]

Expr = Any


class Sizes:
    """The symbolic sizes of a function, and numbers of bytes written in them.

    A number of bytes that is no polynomial, or whose coefficients can't be rounded up to a
    multiple of the alignment without much waste, gets a name of its own.
    """

    def __init__(self, func: relax.Function, lower: dict[str, int]) -> None:
        self.vars = {v.name: v for v in relax.analysis.free_symbolic_vars(func)}
        self.vars.update({v.name: v for v in relax.analysis.defined_symbolic_vars(func)})
        self.lower = {name: lower.get(name, 0) for name in self.vars}
        self.rounded: dict[str, Expr] = {}

    def polynomial(self, size: Expr) -> Bytes:
        """At least the bytes given, aligned for all sizes."""
        exact = _polynomial(size)
        if exact is not None:
            wasteful = [
                names
                for names, c in exact.terms.items()
                if len(names) > 1 and c % ALIGNMENT and c < 16 * ALIGNMENT
            ]
            if not wasteful:
                return exact.aligned()
        units = tirx.floordiv(size + (ALIGNMENT - 1), ALIGNMENT)
        for name, known in self.rounded.items():
            if tvm_ffi.structural_equal(known, units):
                return Bytes({(name,): ALIGNMENT})
        name = f"units_{len(self.rounded)}"
        self.rounded[name] = units
        self.lower[name] = 0
        return Bytes({(name,): ALIGNMENT})

    def define(self, builder: BlockBuilder, plan: Plan) -> dict[str, Expr]:
        """Compute everything that has a name; returns the variables by name."""
        named = dict(self.vars)
        named.update(bound(builder, "units", self.rounded))
        for name, choices in plan.maxima.items():
            largest = bytes_value(choices[0], named)
            for choice in choices[1:]:
                largest = tirx.max(largest, bytes_value(choice, named))
            named.update(bound(builder, "above", {name: largest}))
        return named


def bound(builder: BlockBuilder, stem: str, values: dict[Any, Expr]) -> dict[Any, Expr]:
    """Variables that hold the values, computed all at once. Constants stay as they are."""
    computed = {k: v for k, v in values.items() if not isinstance(v, tirx.IntImm)}
    if computed:
        fresh = {k: tirx.Var(f"{stem}_{i}", "int64") for i, k in enumerate(computed)}
        # By a variable: TVM computes no shapes that stand in a match_cast itself.
        shape = builder.emit(relax.ShapeExpr(list(computed.values())))
        builder.match_cast(shape, relax.ShapeType(list(fresh.values())))
        return {**values, **fresh}
    return dict(values)


def bytes_value(number: Bytes, named: dict[str, Expr]) -> Expr:
    """A number of bytes as an expression."""
    total: Expr = int64(0)
    for names, coefficient in number.terms.items():
        term: Expr = int64(coefficient)
        for name in names:
            term = term * named[name]
        total = total + term
    return tvm.sym.Analyzer().simplify(total)


def _polynomial(expr: Expr) -> Bytes | None:
    """An expression as a polynomial with coefficients >= 0, or None if it isn't one."""
    if isinstance(expr, tirx.IntImm):
        return Bytes.of(int(expr.value))
    if isinstance(expr, tirx.Var):
        return Bytes.named(expr.name)
    if isinstance(expr, tirx.Cast):
        return _polynomial(expr.value)
    if isinstance(expr, (tirx.Add, tirx.Mul)):
        a, b = _polynomial(expr.a), _polynomial(expr.b)
        if a is None or b is None:
            return None
        result = a + b if isinstance(expr, tirx.Add) else a * b
        return result if all(c > 0 for c in result.terms.values()) else None
    return None


def tensor_bytes(extents: Any, dtype: str) -> Expr:
    """The bytes of a tensor."""
    size: Expr = int64((tvm.DataType(dtype).bits + 7) // 8)
    for extent in extents:
        size = size * extent
    return size


def int64(value: int) -> Expr:
    """A constant."""
    return tirx.IntImm("int64", value)
