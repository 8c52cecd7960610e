"""Symbolic sizes: torch's SymPy expressions as TIR expressions.

torch.export knows the size of every intermediate result as an expression over the
symbols of the inputs. Reading sizes from there, instead of computing each anew from
Relax types, keeps equal sizes syntactically equal, which Relax's shape deduction needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import reduce
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
import tvm
from torch.utils._sympy import functions as sym
from tvm import relax, tirx

__all__ = ["SizeTable", "is_symbolic", "static_value"]

_EXACT_DENOMINATOR = 1 << 20
"""Up to here a factor is exact both as a fraction in int64 and as a float64 product."""


def is_symbolic(value: Any) -> bool:
    """Whether a converted argument is a symbolic integer (a TIR expression)."""
    return isinstance(value, tvm.ir.Expr) and tvm.ir.is_prim_expr(value)


def static_value(size: Any) -> int | None:
    """The integer that ``size`` is known to be, or None for a symbolic one."""
    if isinstance(size, int):
        return int(size)
    return int(size.value) if isinstance(size, tirx.IntImm) else None


def _int64(value: Any) -> tirx.Expr:
    return tirx.const(value, "int64") if isinstance(value, int) else value


def _fold(operator: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda *args: reduce(operator, args)


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    sympy.Add: _fold(lambda a, b: a + b),
    sympy.Mul: _fold(lambda a, b: a * b),
    sym.FloorDiv: tirx.floordiv,
    sym.CleanDiv: tirx.floordiv,
    # torch's Mod is for operands that are known to be non-negative, where all agree.
    sym.Mod: tirx.floormod,
    sym.PythonMod: tirx.floormod,
    sym.ModularIndexing: lambda a, b, c: tirx.floormod(tirx.floordiv(a, b), c),
    sym.Max: _fold(tirx.max),
    sym.Min: _fold(tirx.min),
    sympy.Max: _fold(tirx.max),
    sympy.Min: _fold(tirx.min),
    sympy.Eq: lambda a, b: tirx.EQ(a, b),
    sympy.Ne: lambda a, b: tirx.NE(a, b),
    sympy.Lt: lambda a, b: a < b,
    sympy.Le: lambda a, b: a <= b,
    sympy.Gt: lambda a, b: a > b,
    sympy.Ge: lambda a, b: a >= b,
    sympy.And: _fold(tirx.And),
    sympy.Or: _fold(tirx.Or),
    sympy.Not: lambda a: tirx.Not(a),
    sym.Where: lambda c, a, b: tirx.Select(c, a, b),
}

_ROUNDING = {
    sym.FloorToInt: tirx.floor,
    # TVM has no type inference for ceil (nor trunc) in a shape.
    sym.CeilToInt: lambda x: -tirx.floor(-x),
    sym.TruncToInt: lambda x: tirx.Select(x < 0, -tirx.floor(-x), tirx.floor(x)),
    sym.RoundToInt: tirx.nearbyint,
}


class SizeTable:
    """The TIR variable of every symbol of one import.

    Attributes:
        ranges: inclusive bounds by symbol name, as torch knows them.
        symbols: torch's symbol by the name of the variable that inputs have for it, where
            the two differ.
    """

    def __init__(
        self,
        ranges: dict[str, tuple[int, int | None]] | None = None,
        symbols: dict[str, str] | None = None,
    ) -> None:
        self.ranges = ranges or {}
        self.symbols = symbols or {}
        self._variables: dict[str, tirx.Expr] = {}
        self._analyzer = tvm.sym.Analyzer()

    def define(self, symbol: str, variable: tirx.Var | int) -> None:
        """Let ``variable``, or a known number, stand for torch's symbol of that name."""
        if symbol in self._variables:
            return
        if isinstance(variable, int):
            self._variables[symbol] = tirx.const(variable, "int64")
            return
        self._variables[symbol] = variable
        low, high = self.ranges.get(symbol, (0, None))
        # Without an upper bound, a size is still far from where int64 wraps around.
        high = min(high if high is not None else 1 << 40, 1 << 40)
        self._analyzer.bind(variable, tvm.ir.Range.from_min_extent(low, high - low + 1))

    def define_from(self, shapes: Iterable[relax.Expr]) -> None:
        """Take over the variables in the types of these function parameters."""
        for parameter in shapes:
            for extent in parameter.ty.shape or ():
                for variable in tirx.analysis.undefined_vars(extent):
                    self.define(self.symbols.get(variable.name, variable.name), variable)

    def with_fresh_variables(self) -> tuple[SizeTable, list[tuple[tirx.Var, tirx.Var]]]:
        """A table of the same symbols for another function, with variables of its own, and the
        pairs of variables, this table's and the other's."""
        other = SizeTable(self.ranges, self.symbols)
        pairs: dict[str, tuple[tirx.Var, tirx.Var]] = {}
        for symbol, variable in self._variables.items():
            if not isinstance(variable, tirx.Var):
                other._variables[symbol] = variable
                continue
            pair = pairs.setdefault(variable.name, (variable, tirx.Var(variable.name, "int64")))
            other.define(symbol, pair[1])
        return other, list(pairs.values())

    def knows(self, value: Any) -> bool:
        """Whether every symbol of a torch size has a variable."""
        if not isinstance(value, torch.SymInt):
            return True
        return all(str(s) in self._variables for s in value.node.expr.free_symbols)

    def expr(self, value: Any) -> Any:
        """A torch size as a Python int, or as a TIR expression of dtype int64 (bool for a
        comparison).

        Raises:
            NotImplementedError: a function of sizes that has no translation.
            KeyError: a symbol that no input and no ``item()`` defines.
        """
        if isinstance(value, bool | int):
            return value
        if isinstance(value, torch.SymInt | torch.SymBool):
            value = value.node.expr
        found = self._translate(sympy.sympify(value))
        if isinstance(found, tirx.IntImm) and found.ty.dtype == "int64":
            return int(found.value)
        return found

    def proven(self, condition: Any) -> bool:
        """Whether a TIR condition holds for all values within the bounds."""
        if isinstance(condition, bool):
            return condition
        return bool(self._analyzer.can_prove(condition))

    def equal(self, left: Any, right: Any) -> bool:
        """Whether two sizes are equal for all values within the bounds."""
        return bool(self._analyzer.can_prove_equal(_int64(left), _int64(right)))

    def simplify(self, value: Any) -> Any:
        """The size in its simplest form, an int if it is constant."""
        if isinstance(value, int):
            return value
        value = self._analyzer.simplify(value)
        static = static_value(value)
        return value if static is None else static

    def _translate(self, expr: sympy.Basic) -> Any:
        if isinstance(expr, sympy.Symbol):
            return self._variables[str(expr)]
        if isinstance(expr, sympy.Integer):
            return tirx.const(int(expr), "int64")
        if expr in (sympy.true, sympy.false):
            return tirx.const(bool(expr), "bool")
        if isinstance(expr, sympy.Pow | sym.PowByNatural) and expr.args[1].is_Integer:
            base, exponent = self._translate(expr.args[0]), int(expr.args[1])
            if exponent > 0:
                return reduce(lambda a, b: a * b, [base] * exponent)
        if expr.func in _ROUNDING:
            return self._round(expr)
        if expr.func not in _FUNCTIONS:
            raise NotImplementedError(f"the size {expr} uses {expr.func.__name__}")
        return _FUNCTIONS[expr.func](*map(self._translate, expr.args))

    def _round(self, expr: sympy.Basic) -> Any:
        """A float expression of sizes, rounded; in integers where those are exact."""
        (inner,) = expr.args
        if expr.func is not sym.RoundToInt:
            scaled = self._scaled(inner)
            if scaled is not None:
                size, factor = scaled
                over = size * factor.numerator
                if expr.func is sym.CeilToInt:
                    return -tirx.floordiv(-over, factor.denominator)
                down = expr.func is sym.FloorToInt or self.proven(over >= 0)
                divide = tirx.floordiv if down else tirx.truncdiv
                return divide(over, _int64(factor.denominator))
        return tirx.Cast("int64", _ROUNDING[expr.func](self._float(inner)))

    def _scaled(self, expr: sympy.Basic) -> tuple[Any, Fraction] | None:
        """``(size, factor)`` if the expression is one integer size times constants that
        float64 arithmetic treats exactly, else None."""
        factor = Fraction(1)
        size = None
        for part in sympy.Mul.make_args(expr):
            if part.func in (sym.IntTrueDiv, sym.FloatTrueDiv) and part.args[1].is_number:
                divisor = Fraction(float(part.args[1]))
                # A quotient by a power of two is exact; others may round up to an integer
                # only when they are one, for integers below 2**53.
                if divisor.denominator != 1 or divisor <= 0:
                    return None
                factor /= divisor
                part = part.args[0]
            if part.is_number:
                factor *= Fraction(float(part))
                continue
            if size is not None:
                return None
            inner = part.args[0] if part.func is sym.ToFloat else part
            if not inner.is_integer:
                return None
            size = self._translate(inner)
        small = max(abs(factor.numerator), factor.denominator) <= _EXACT_DENOMINATOR
        return (size, factor) if size is not None and small else None

    def _float(self, expr: sympy.Basic) -> Any:
        if expr.is_number:
            return tirx.const(float(expr), "float64")
        if expr.func is sym.ToFloat or expr.is_integer:
            inner = expr.args[0] if expr.func is sym.ToFloat else expr
            return tirx.Cast("float64", self._translate(inner))
        parts = list(map(self._float, expr.args))
        if expr.func in (sym.IntTrueDiv, sym.FloatTrueDiv):
            return tirx.div(*parts)
        if expr.func in (sympy.Add, sympy.Mul):
            return _FUNCTIONS[expr.func](*parts)
        raise NotImplementedError(f"the size {expr} uses {expr.func.__name__}")
