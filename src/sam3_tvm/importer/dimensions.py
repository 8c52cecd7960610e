"""Bounds of symbolic sizes, and how a program and a module hold them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
import tvm
from torch.export import ExportedProgram
from tvm import relax, tirx

from sam3_tvm.importer.names import user_inputs

__all__ = [
    "bounds_by_symbol",
    "input_symbols",
    "name_inputs",
    "note_bounds",
    "solve_derived",
    "symbolic_bounds",
]


def bounds_by_symbol(program: ExportedProgram) -> dict[str, tuple[int, int | None]]:
    """The inclusive bounds of every symbol, by torch's name for it.

    They hold what the caller declared and what the model's guards add. A symbol that only
    occurs in derived dimensions has its bounds from those: torch's own for it come from
    the assumption that no size is 0 or 1.
    """
    bare = {
        str(size.node.expr)
        for _, fake in user_inputs(program)
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


_LOWER, _UPPER = "tir_var_lower_bound", "tir_var_upper_bound"


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
    return _with_bounds(
        mod, {names[symbol]: limits for symbol, limits in bounds.items() if symbol in names}
    )


def _with_bounds(mod: tvm.IRModule, bounds: Mapping[str, tuple[int, int | None]]) -> tvm.IRModule:
    func = mod["main"]
    func = func.without_attr(_LOWER).without_attr(_UPPER)
    if bounds:
        lower = {name: max(low, 0) for name, (low, _) in bounds.items()}
        func = func.with_attr(_LOWER, lower)
    upper = {name: high for name, (_, high) in bounds.items() if high is not None}
    if upper:
        func = func.with_attr(_UPPER, upper)
    noted = tvm.IRModule(dict(mod.functions), attrs=mod.attrs)
    noted["main"] = func
    return noted


def symbolic_bounds(mod: tvm.IRModule, function: str = "main") -> dict[str, tuple[int, int | None]]:
    """Bounds of each symbolic size: what the caller declared, narrowed by the model's own
    guards (``torch._check``, assertions on shapes).

    Returns:
        ``{variable name: (smallest, largest or None)}``, inclusive.
    """
    attrs = mod[function].attrs
    lower = dict(attrs[_LOWER]) if _LOWER in attrs else {}
    upper = dict(attrs[_UPPER]) if _UPPER in attrs else {}
    return {
        str(name): (int(lower.get(name, 0)), int(upper[name]) if name in upper else None)
        for name in {**lower, **upper}
    }


def solve_derived(mod: tvm.IRModule) -> tvm.IRModule:
    """Let every symbolic size be found from the inputs of a call.

    TVM reads a size from an input that has it as an extent. Where inputs only have ``4 * h``,
    that extent becomes a variable of its own, ``h`` a quarter of it, and the input is asserted
    to have ``4 * h`` after all. The bounds of the new variables are noted as well.
    """
    func = mod["main"]
    extents = [(p, axis, e) for p in func.params for axis, e in enumerate(_shape(p))]
    given = {e.name for _, _, e in extents if isinstance(e, tirx.Var)}
    symbols = {v.name: v for _, _, e in extents for v in tirx.analysis.undefined_vars(e)}
    names = set(symbols)
    fresh: dict[tuple[str, int], tirx.Var] = {}
    solutions: dict[str, tirx.Expr] = {}
    bounds = symbolic_bounds(mod)
    for param, axis, extent in extents:
        unsolved = [v for v in tirx.analysis.undefined_vars(extent) if v.name not in given]
        if not unsolved:
            continue
        label = _unused(f"{param.name}_{axis}", names)
        names.add(label)
        fresh[param.name, axis] = variable = tirx.Var(label, "int64")
        form = tvm.sym.detect_linear_equation(extent, unsolved[:1])
        symbol = unsolved[0].name
        if len(form) == 2 and all(isinstance(term, tirx.IntImm) for term in form):
            factor, offset = map(int, form)
            solutions.setdefault(symbol, tirx.floordiv(variable - offset, factor))
            low, high = bounds.get(symbol, (0, None))
            bounds[label] = (
                factor * low + offset,
                None if high is None else factor * high + offset,
            )
    if not fresh:
        return mod
    bindings = [
        binding for name, value in solutions.items() for binding in _defining(symbols[name], value)
    ]
    params = []
    for param in func.params:
        changed = [fresh.get((param.name, axis), e) for axis, e in enumerate(_shape(param))]
        if any(name == param.name for name, _ in fresh):
            params.append(relax.Var(param.name, relax.TensorType(changed, param.ty.dtype)))
            bindings.append(relax.MatchCast(param, params[-1], param.ty))
        else:
            params.append(param)
    blocks = [relax.BindingBlock(bindings), *func.body.blocks]
    body = relax.SeqExpr(blocks, func.body.body)
    solved = relax.Function(params, body, func.ret_ty, func.is_pure, func.attrs)
    changed_mod = tvm.IRModule(dict(mod.functions), attrs=mod.attrs)
    changed_mod["main"] = solved
    return _with_bounds(changed_mod, bounds)


def _defining(symbol: tirx.Var, value: tirx.Expr) -> list[Any]:
    """Bindings that make a size ``value``, by way of data: a size that TVM knows to equal an
    expression it replaces by that, for which its shape lowering then lacks a place."""
    builder = relax.BlockBuilder()
    number = builder.normalize(relax.op.arange(value, value + 1, 1, "int64"))
    held = relax.Var("number", number.ty)
    single = relax.Var("numbers", relax.TensorType((1,), "int64"))
    sized = builder.normalize(relax.op.tensor_to_shape(single))
    shape = relax.Var("shape", sized.ty)
    known = relax.ShapeType([symbol])
    return [
        relax.VarBinding(held, number),
        relax.MatchCast(single, held, single.ty),
        relax.VarBinding(shape, sized),
        relax.MatchCast(relax.Var("size", known), shape, known),
    ]


def _shape(param: relax.Var) -> list[Any]:
    shape = getattr(param.ty, "shape", None)
    if isinstance(param.ty, relax.ShapeType):
        return list(param.ty.values or ())
    return list(shape) if shape is not None else []


def _unused(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def input_symbols(program: ExportedProgram) -> list[str]:
    """Every symbol in the shapes of the caller's inputs, in order of first use."""
    found: dict[str, None] = {}
    for _, fake in user_inputs(program):
        for size in fake.shape if isinstance(fake, torch.Tensor) else [fake]:
            if isinstance(size, torch.SymInt):
                found.update(dict.fromkeys(sorted(map(str, size.node.expr.free_symbols))))
    return list(found)
