"""Names of symbolic sizes: the caller's, not torch's ``s77``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

__all__ = ["default_names", "names_by_symbol", "unique_names", "user_inputs"]


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
    if isinstance(spec, torch.SymInt):
        return {0: spec}  # of a number
    return dict(enumerate(spec)) if isinstance(spec, Iterable) else {}


def names_by_symbol(
    module: torch.nn.Module,
    example_args: Sequence[Any],
    dynamic_shapes: Any,
    program: ExportedProgram,
) -> dict[str, str]:
    """The name of the caller's ``Dim`` or ``ShapeVar`` for each of torch's symbols that has one.

    A derived dimension such as ``2 * batch`` names the symbol of its root.
    """
    specs = _specs(module, example_args, dynamic_shapes)
    inputs = user_inputs(program)
    names: dict[str, str] = {}
    if len(inputs) != len(specs):
        return names  # An input of a registered container class: its leaves aren't ours to guess.
    derived: dict[str, str] = {}
    for (_, fake), spec in zip(inputs, specs, strict=True):
        sizes = fake.shape if isinstance(fake, torch.Tensor) else [fake]
        for axis, dim in _axes(spec).items():
            size = sizes[axis]
            name, whole = _name(dim)
            if name is None or not isinstance(size, torch.SymInt):
                continue
            expression = size.node.expr
            symbols = expression.free_symbols
            # Not what was declared as whole and turned out to be a multiple (multiples.py).
            if len(symbols) == 1 and (expression.is_Symbol or not whole):
                target = names if whole else derived
                target.setdefault(str(next(iter(symbols))), name)
    return {**derived, **names}


def _specs(module: torch.nn.Module, args: Sequence[Any], dynamic_shapes: Any) -> list[Any]:
    """What the caller says of each tensor or number among the inputs, in order."""
    # As torch.fx.experimental.dynamic_spec.dynamic_spec leaves it, from torch 2.14 on.
    said = getattr(module.forward, "_dynamic_spec", dynamic_shapes)
    if said is not None and not isinstance(said, Mapping | list | tuple):
        return _bound(module, args, said)
    bound = inspect.signature(module.forward).bind(*args).arguments
    if isinstance(said, Mapping):
        specs = [said.get(name) for name in bound]
    else:
        specs = list(said or [None] * len(bound))
    pairs = zip(bound.values(), specs, strict=True)
    return [spec for pair in pairs for _, spec in _leaves(*pair)]


def _bound(module: torch.nn.Module, args: Sequence[Any], said: Any) -> list[Any]:
    """The same of a ``ShapesSpec`` or ``ParamsSpec``, which torch 2.14 has first."""
    from torch.fx.experimental._spec_binding import _bind_spec_to_args
    from torch.fx.experimental.dynamic_spec import ShapesSpec

    spec = said if isinstance(said, ShapesSpec) else ShapesSpec(said)
    specs: list[Any] = _bind_spec_to_args(module, tuple(args), {}, spec)[0]
    return specs


def _name(dim: Any) -> tuple[str | None, bool]:
    """The name of a ``Dim``, a ``ShapeVar`` or what one of them is the root of, and whether the
    size is that itself."""
    if isinstance(dim, torch.SymInt):
        # A ShapeVar. What is made of one has no name, and torch asks that each stand alone, too.
        name = getattr(dim, "name", "anon")
        return None if name == "anon" else name, True
    return getattr(getattr(dim, "root", dim), "__name__", None), not hasattr(dim, "root")


def user_inputs(program: ExportedProgram) -> list[tuple[str, Any]]:
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
    ``image``, ``size_0`` for an entry of a tuple of ints ``size``, ``image_2_by_4`` for what an
    axis is four times of."""
    names: dict[str, str] = {}
    derived: dict[str, str] = {}
    for name, fake in user_inputs(program):
        sizes = enumerate(fake.shape) if isinstance(fake, torch.Tensor) else [(None, fake)]
        for axis, size in sizes:
            if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol:
                label = name if axis is None else f"{name}_{axis}"
                names.setdefault(str(size.node.expr), label)
            elif isinstance(size, torch.SymInt) and len(size.node.expr.free_symbols) == 1:
                factor, symbol = size.node.expr.as_coeff_Mul()
                if symbol.is_Symbol:
                    derived.setdefault(str(symbol), f"{name}_{axis}_by_{factor}")
    return {**derived, **names}


def unique_names(symbols: Iterable[str], names: Mapping[str, str]) -> dict[str, str]:
    """A valid name for every symbol, no two alike."""
    taken: dict[str, str] = {}
    for symbol in symbols:
        name = re.sub(r"\W", "_", names.get(symbol, symbol))
        while name in taken.values():
            name += "_"
        taken[symbol] = name
    return taken
