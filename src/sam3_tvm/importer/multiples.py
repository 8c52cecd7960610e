"""Sizes that the program takes for multiples, written as multiples.

Where a size is left to torch (``Dim.AUTO``, ``Dim.DYNAMIC``), torch may find that the program only
holds where it is a multiple: ``2 * (h // 2) == h``. It notes that as a guard and leaves the two as
they are. Relax can't see that they are equal, and a compiled module knows no guards: it would read
other sizes wrong. So ``h`` becomes twice another size, which is how one would have declared it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
from torch.export import ExportedProgram
from torch.utils._sympy.value_ranges import ValueRanges

__all__ = ["write_multiples"]

_TRIED = 256
"""How many sizes are tried to find of what they must be multiples."""


def write_multiples(program: ExportedProgram) -> None:
    """Let every size of the inputs that must be a multiple of ``k`` be ``k`` times another.

    Args:
        program: as torch exported it; its sizes change in place.
    """
    symbols = dict.fromkeys(_symbols(program))
    if not symbols:
        return
    environment = next(iter(_sizes(program))).node.shape_env
    for symbol in symbols:
        factor = _factor(environment, symbol)
        if factor > 1:
            _write(program, environment, symbol, factor)


def _sizes(program: ExportedProgram) -> Iterator[torch.SymInt]:
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder" and isinstance(value, torch.Tensor):
            yield from (size for size in value.shape if isinstance(size, torch.SymInt))


def _symbols(program: ExportedProgram) -> Iterator[sympy.Symbol]:
    """Those that tensors have as a size, and that no number among the inputs is."""
    numbers = {
        symbol
        for node in program.graph.nodes
        if node.op == "placeholder" and isinstance(node.meta.get("val"), torch.SymInt)
        for symbol in node.meta["val"].node.expr.free_symbols
    }
    for size in _sizes(program):
        if size.node.expr.is_Symbol and size.node.expr not in numbers:
            yield size.node.expr


def _factor(environment: Any, symbol: sympy.Symbol) -> int:
    """What the size must be a multiple of, by the guards that are equations; 1 if of nothing.

    The other sizes are those of the example, for which all guards hold.
    """
    example = environment.backed_var_to_val
    conditions = set()
    # Of a ShapesSpec's sizes torch has no example; what it says of them is asserted.
    asserted = environment.deferred_runtime_asserts.get(symbol, ())
    for guard in [*environment.guards, *asserted]:
        condition = environment.replace(guard.expr)
        others = {s: example[s] for s in condition.free_symbols - {symbol} if s in example}
        condition = condition.xreplace(others)
        if isinstance(condition, sympy.Eq) and condition.free_symbols == {symbol}:
            conditions.add(condition)
    if not conditions:
        return 1
    first = int(example.get(symbol, 0))
    limits = environment.var_to_range[symbol]
    low = max(int(limits.lower), 1) if limits.lower.is_Integer else 1
    high = int(limits.upper) if limits.upper.is_Integer else low + 2 * first + _TRIED
    high = min(high, low + 2 * first + _TRIED)

    def holds(size: int) -> bool:
        return all(c.xreplace({symbol: sympy.Integer(size)}) == sympy.true for c in conditions)

    allowed = [size for size in range(low, high + 1) if holds(size)]
    if not allowed:  # conditions that don't come down to true or false by sizes
        return 1
    factor = math.gcd(*allowed)
    # All multiples, or it is another condition.
    return factor if len(allowed) == high // factor - (low - 1) // factor > 1 else 1


def _write(program: ExportedProgram, environment: Any, symbol: sympy.Symbol, factor: int) -> None:
    limits = environment.var_to_range[symbol]
    part = sympy.Symbol(f"{symbol}_by_{factor}", positive=True, integer=True)
    low = sympy.ceiling(limits.lower / factor)
    high = sympy.floor(limits.upper / factor) if limits.upper.is_Integer else limits.upper
    environment.var_to_range[part] = ValueRanges(low, high)
    environment.var_to_range_sloc[part] = environment.var_to_range_sloc[symbol]
    if symbol in environment.backed_var_to_val:
        environment.backed_var_to_val[part] = environment.backed_var_to_val[symbol] // factor
    environment._set_replacement(symbol, factor * part, "the program's own guards")
    constraints = program.range_constraints
    constraints.pop(symbol, None)
    constraints[part] = ValueRanges(low, high)
    constraints[factor * part] = limits
