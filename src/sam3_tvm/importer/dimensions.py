"""Names and bounds of symbolic sizes: the caller's, not torch's ``s77``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
import tvm
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

__all__ = [
    "bounds_by_symbol",
    "default_names",
    "input_symbols",
    "name_inputs",
    "names_by_symbol",
    "note_bounds",
    "unique_names",
]


def _leaves(value: Any, spec: Any) -> Iterator[tuple[Any, Any]]:
    """Each tensor or number of an argument with what ``dynamic_shapes`` says of it."""
    if isinstance(value, list | tuple):
        specs = spec if isinstance(spec, list | tuple) else [None] * len(value)
        for entry, of_entry in zip(value, specs, strict=True):
            yield from _leaves(entry, of_entry)
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _leaves(entry, spec.get(key) if isinstance(spec, Mapping) else None)
    else:
        yield value, spec


def _axes(spec: Any) -> dict[int, Any]:
    """What a ``dynamic_shapes`` entry says of each axis."""
    if isinstance(spec, Mapping):
        return dict(spec)
    return dict(enumerate(spec)) if isinstance(spec, list | tuple) else {}


def names_by_symbol(
    module: torch.nn.Module,
    example_args: Sequence[Any],
    dynamic_shapes: Any,
    program: ExportedProgram,
) -> dict[str, str]:
    """The name of the caller's ``Dim`` for each of torch's symbols that has one.

    A derived dimension such as ``2 * batch`` names the symbol of its root.
    """
    bound = inspect.signature(module.forward).bind(*example_args).arguments
    if isinstance(dynamic_shapes, Mapping):
        specs = [dynamic_shapes.get(name) for name in bound]
    else:
        specs = list(dynamic_shapes or [None] * len(bound))
    pairs = [
        pair
        for value, spec in zip(bound.values(), specs, strict=True)
        for pair in _leaves(value, spec)
    ]
    inputs = _user_inputs(program)
    names: dict[str, str] = {}
    if len(inputs) != len(pairs):
        return names  # An input of a registered container class: its leaves aren't ours to guess.
    derived: dict[str, str] = {}
    for (_, fake), (_, spec) in zip(inputs, pairs, strict=True):
        if not isinstance(fake, torch.Tensor):
            continue
        for axis, dim in _axes(spec).items():
            size = fake.shape[axis]
            name = getattr(getattr(dim, "root", dim), "__name__", None)
            if name is None or not isinstance(size, torch.SymInt):
                continue
            symbols = size.node.expr.free_symbols
            if len(symbols) == 1:
                target = derived if hasattr(dim, "root") else names
                target.setdefault(str(next(iter(symbols))), name)
    return {**derived, **names}


def _user_inputs(program: ExportedProgram) -> list[tuple[str, Any]]:
    """Name and fake value of every input of the caller, in order; None for constants."""
    fakes = {n.name: n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder"}
    found = []
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            name = getattr(spec.arg, "name", "")
            found.append((name, fakes.get(name)))
    return found


def default_names(program: ExportedProgram) -> dict[str, str]:
    """A name for every symbol from the first input that has it: ``image_2`` for axis 2 of
    ``image``, ``size_0`` for an entry of a tuple of ints ``size``."""
    names: dict[str, str] = {}
    for name, fake in _user_inputs(program):
        sizes = enumerate(fake.shape) if isinstance(fake, torch.Tensor) else [(None, fake)]
        for axis, size in sizes:
            if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol:
                label = name if axis is None else f"{name}_{axis}"
                names.setdefault(str(size.node.expr), label)
    return names


def bounds_by_symbol(program: ExportedProgram) -> dict[str, tuple[int, int | None]]:
    """The inclusive bounds of every symbol, by torch's name for it.

    They hold what the caller declared and what the model's guards add. A symbol that only
    occurs in derived dimensions has its bounds from those: torch's own for it come from
    the assumption that no size is 0 or 1.
    """
    bare = {
        str(size.node.expr)
        for _, fake in _user_inputs(program)
        for size in (fake.shape if isinstance(fake, torch.Tensor) else [fake])
        if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol
    }
    bounds: dict[str, tuple[int, int | None]] = {}
    for expression, limits in program.range_constraints.items():
        if expression.is_Symbol and expression.is_integer is not False:
            low = int(limits.lower) if limits.lower.is_Integer else -(1 << 40)
            bounds[str(expression)] = (low, int(limits.upper) if limits.upper.is_Integer else None)
    for expression, limits in program.range_constraints.items():
        symbols = expression.free_symbols
        if expression.is_Symbol or len(symbols) != 1 or str(next(iter(symbols))) in bare:
            continue
        (symbol,) = symbols
        factor, offset = sympy.Poly(expression, symbol).all_coeffs()
        if factor <= 0 or not limits.lower.is_Integer:
            continue
        low = max(0, int(sympy.ceiling((limits.lower - offset) / factor)))
        high = limits.upper
        bounds[str(symbol)] = (
            low,
            int(sympy.floor((high - offset) / factor)) if high.is_Integer else None,
        )
    return bounds


def unique_names(symbols: Iterable[str], names: Mapping[str, str]) -> dict[str, str]:
    """A valid name for every symbol, no two alike."""
    taken: dict[str, str] = {}
    for symbol in symbols:
        name = re.sub(r"\W", "_", names.get(symbol, symbol))
        while name in taken.values():
            name += "_"
        taken[symbol] = name
    return taken


def name_inputs(program: ExportedProgram, names: Mapping[str, str]) -> None:
    """Give the program's inputs shapes over symbols of these names, for TVM's importer.

    It names its variables after the symbols in ``meta["tensor_meta"]``; the fake values,
    from which our converters read, keep torch's.
    """
    renamed = {
        sympy.Symbol(old, integer=True): sympy.Symbol(new, integer=True)
        for old, new in names.items()
    }

    def rename(size: Any) -> Any:
        if not isinstance(size, torch.SymInt):
            return size
        expr = size.node.expr
        by_name = {s: renamed[plain] for s in expr.free_symbols if (plain := _plain(s)) in renamed}
        return torch.SymInt(SimpleNamespace(expr=expr.subs(by_name)))

    for node in program.graph.nodes:
        fake = node.meta.get("val")
        if node.op == "placeholder" and isinstance(fake, torch.Tensor):
            shape = tuple(map(rename, fake.shape))
            node.meta["tensor_meta"] = SimpleNamespace(shape=shape, dtype=fake.dtype)


def _plain(symbol: sympy.Symbol) -> sympy.Symbol:
    """The symbol without torch's assumptions, which are part of a symbol's identity."""
    return sympy.Symbol(str(symbol), integer=True)


def note_bounds(
    mod: tvm.IRModule, names: Mapping[str, str], bounds: Mapping[str, tuple[int, int | None]]
) -> tvm.IRModule:
    """The module with the bounds of its sizes as the attributes that Relax's memory planning
    reads, ``tir_var_lower_bound`` and ``tir_var_upper_bound``.

    Args:
        mod: an imported module.
        names: the module's names by torch's.
        bounds: by torch's names.
    """
    func = mod["main"]
    func = func.without_attr("tir_var_lower_bound").without_attr("tir_var_upper_bound")
    known = {names[symbol]: limits for symbol, limits in bounds.items() if symbol in names}
    if known:
        lower = {name: max(low, 0) for name, (low, _) in known.items()}
        func = func.with_attr("tir_var_lower_bound", lower)
    upper = {name: high for name, (_, high) in known.items() if high is not None}
    if upper:
        func = func.with_attr("tir_var_upper_bound", upper)
    noted = tvm.IRModule(dict(mod.functions), attrs=mod.attrs)
    noted["main"] = func
    return noted


def input_symbols(program: ExportedProgram) -> list[str]:
    """Every symbol in the shapes of the caller's inputs, in order of first use."""
    found: dict[str, None] = {}
    for _, fake in _user_inputs(program):
        for size in fake.shape if isinstance(fake, torch.Tensor) else [fake]:
            if isinstance(size, torch.SymInt):
                found.update(dict.fromkeys(sorted(map(str, size.node.expr.free_symbols))))
    return list(found)
