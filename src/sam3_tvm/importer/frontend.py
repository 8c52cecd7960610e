"""``import_module``: any torch module becomes a Relax module and its parameters."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
import tvm
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, TensorArgument
from tvm import relax
from tvm.relax.frontend import detach_params
from tvm.relax.frontend.torch import from_exported_program

from sam3_tvm.importer import complex_rewrite, converters  # noqa: F401 - registers them
from sam3_tvm.importer.dimensions import (
    bounds_by_symbol,
    input_symbols,
    name_inputs,
    note_bounds,
    solve_derived,
    symbolic_bounds,
)
from sam3_tvm.importer.errors import RandomOperators, UnsupportedOperators, source_line
from sam3_tvm.importer.export import decompose_unknown, draws, export, nodes
from sam3_tvm.importer.folding import fold, foldable_nodes
from sam3_tvm.importer.names import default_names, names_by_symbol, unique_names
from sam3_tvm.importer.registry import ImportState, convert_map, has_converter
from sam3_tvm.importer.sizes import SizeTable

__all__ = ["import_module", "import_program", "symbolic_bounds"]


def import_module(
    module: torch.nn.Module,
    example_args: Sequence[Any],
    dynamic_shapes: Any = None,
) -> tuple[tvm.IRModule, dict[str, tvm.runtime.Tensor]]:
    """Import a torch module into Relax, unmodified and with whole operators.

    Args:
        module: any ``torch.nn.Module`` that ``torch.export`` can trace with positional inputs.
        example_args: example inputs: tensors, or Python ints (or a tuple of ints, such as an
            output size) which become symbolic when ``dynamic_shapes`` marks them.
        dynamic_shapes: which dimensions vary, as for :func:`torch.export.export`
            (``{0: Dim("batch", min=1, max=8)}`` per tensor; ``Dim.DYNAMIC`` per int).

    Returns:
        The module, whose function ``main`` takes the inputs in order (attribute
        ``num_input`` counts them) followed by the parameters, and the parameters by their
        names in ``module.named_parameters()``, in the order of those trailing arguments.
        An int, or a tuple of ints, is one argument of type ``R.Shape``. Buffers and
        constants are bound into the module. The result is one tensor, or a flat tuple.
        Complex inputs, outputs, parameters and buffers of shape S are real ones of shape
        ``(*S, 2)`` (:mod:`sam3_tvm.importer.complex_numbers`).

    Raises:
        UnsupportedOperators: operators without a converter, all listed with source lines; as
            RandomOperators those that draw random numbers.
    """
    program = export(module, example_args, dynamic_shapes, has_converter)
    names = names_by_symbol(module, example_args, dynamic_shapes, program)
    return import_program(program, names)


def import_program(
    program: ExportedProgram,
    names: Mapping[str, str] | None = None,
) -> tuple[tvm.IRModule, dict[str, tvm.runtime.Tensor]]:
    """As :func:`import_module`, from a program exported without decompositions.

    The program is consumed: its graph is rewritten in place.

    Args:
        program: a functional program, as :func:`sam3_tvm.importer.export.export` gives it.
        names: names for symbolic sizes by torch's (``{"s77": "batch"}``); the others are
            named after the first input that has them, ``image_2`` for axis 2 of ``image``.

    What it gives and raises is what :func:`import_module` does.
    """
    _refuse_random(program)
    program = decompose_unknown(program, has_converter)
    names = unique_names(input_symbols(program), {**default_names(program), **(names or {})})
    bounds = bounds_by_symbol(program)
    sizes = _sizes_as_tensors(program)
    state = ImportState(sizes=SizeTable(bounds, {new: old for old, new in names.items()}))
    _refuse_random(program)
    _check_supported(program, foldable_nodes(program))
    complex_rewrite.rewrite(program)
    name_inputs(program, names)  # after whatever changes an input's shape
    fold(program, state)
    _check_supported(program)
    mod = from_exported_program(
        program,
        keep_params_as_input=True,
        unwrap_unit_return_tuple=True,
        custom_convert_map=convert_map(state),
        run_ep_decomposition=False,
    )
    mod, tensors = detach_params(mod)
    parameters = program.graph_signature.parameters
    params = dict(zip(parameters, tensors.get("main", ()), strict=True))
    mod = _sizes_as_shapes(note_bounds(mod, names, bounds), sizes)
    return solve_derived(mod), params


def _check_supported(program: ExportedProgram, folded: Collection[fx.Node] = ()) -> None:
    """Raise for what has no converter; nodes of constants, which torch computes, need none."""
    missing: dict[str, list[str]] = {}
    for node in nodes(program):
        if complex_rewrite.touches_complex(node):
            supported = complex_rewrite.has_rule(node)
        else:
            supported = node in folded or has_converter(node.target)
        if not supported:
            missing.setdefault(_label(node), []).append(source_line(node))
    if missing:
        raise UnsupportedOperators(missing)


def _refuse_random(program: ExportedProgram) -> None:
    found: dict[str, list[str]] = {}
    for node in filter(draws, nodes(program)):
        found.setdefault(_label(node), []).append(source_line(node))
    if found:
        raise RandomOperators(found)


def _label(node: fx.Node) -> str:
    target: Any = node.target
    if isinstance(target, torch._ops.OperatorBase):
        return str(target)
    return f"{target.__module__}.{target.__name__}"


def _sizes_as_tensors(program: ExportedProgram) -> list[tuple[str, list[str]]]:
    """Replace symbolic int inputs by tensors of that extent, which TVM's importer can take.

    Returns:
        Per group of ints that one argument held: the name for the argument, and the names
        of the stand-in placeholders, in input order. :func:`_sizes_as_shapes` turns each
        group into one ``R.Shape`` argument.
    """
    signature = program.graph_signature
    placeholders = {n.name: n for n in program.graph.nodes if n.op == "placeholder"}
    last = list(placeholders.values())[-1]
    user = [s for s in signature.input_specs if s.kind is InputKind.USER_INPUT]
    groups: dict[str, list[str]] = {}
    for spec in user:
        node = placeholders.get(getattr(spec.arg, "name", ""))
        value = None if node is None else node.meta.get("val")
        if node is None or not isinstance(value, torch.SymInt):
            continue
        with program.graph.inserting_after(last):
            size = program.graph.call_function(torch.ops.aten.sym_size.int, (node, 0))
        size.meta["val"] = value
        node.replace_all_uses_with(size, delete_user_cb=lambda user, size=size: user is not size)
        with value.node.shape_env.suppress_guards():
            fake = _fake_mode(program).from_tensor(torch.empty(2, dtype=torch.int8))
            node.meta["val"] = fake.new_empty((value,), dtype=torch.int8)
        spec.arg = TensorArgument(name=node.name)
        # torch names the entries of a tuple argument "size" as size_0, size_1, ...
        groups.setdefault(re.sub(r"_\d+$", "", node.name), []).append(node.name)
    program.graph_module.recompile()
    return list(groups.items())


def _fake_mode(program: ExportedProgram) -> Any:
    for node in program.graph.nodes:
        mode = getattr(node.meta.get("val"), "fake_mode", None)
        if mode is not None:
            return mode
    raise ValueError("a module without any tensor input has nothing to compile")


def _sizes_as_shapes(mod: tvm.IRModule, groups: list[tuple[str, list[str]]]) -> tvm.IRModule:
    """Turn each group of stand-in tensors into one argument of type ``R.Shape``."""
    if not groups:
        return mod
    func = mod["main"]
    members = {name: (label, names) for label, names in groups for name in names}
    params: list[relax.Var] = []
    for var in func.params:
        if var.name not in members:
            params.append(var)
            continue
        label, names = members[var.name]
        if var.name == names[0]:
            extents = [p.ty.shape[0] for p in func.params if p.name in names]
            params.append(relax.Var(label, relax.ShapeType(extents)))
    merged = len(func.params) - len(params)
    rebuilt = relax.Function(params, func.body, func.ret_ty, func.is_pure, func.attrs)
    rebuilt = rebuilt.with_attr("num_input", int(func.attrs["num_input"]) - merged)
    mod = tvm.IRModule(dict(mod.functions), attrs=mod.attrs)
    mod["main"] = rebuilt
    return mod
