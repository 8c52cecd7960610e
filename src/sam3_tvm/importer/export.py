"""From a torch module to a functional ATen graph that keeps whole operators."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
from torch import fx
from torch._dynamo.exc import TorchDynamoException, UserError, UserErrorType
from torch._export.utils import (
    _collect_all_valid_cia_ops_for_aten_namespace as whole_operators,
)
from torch._export.utils import _is_preservable_cia_op
from torch.export import ExportedProgram, exported_program
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from sam3_tvm.importer import decompositions
from sam3_tvm.importer.even_splits import EvenSplits
from sam3_tvm.importer.known_values import KnownValues
from sam3_tvm.importer.multiples import write_multiples

__all__ = ["decompose_unknown", "draws", "export", "nodes"]


def export(
    module: torch.nn.Module,
    example_args: Sequence[Any],
    dynamic_shapes: Any = None,
    known: Callable[[Any], bool] = lambda target: True,
) -> ExportedProgram:
    """Export ``module`` for inference.

    The graph is functional (no in-place operators) and nothing in it is decomposed that is
    known: attention, layer norm, gelu, interpolate and their like stay one node each, so that
    a later pass can give them one kernel.

    Args:
        module: any module whose forward takes positional arguments; it isn't changed.
        example_args: tensors, Python numbers, or tuples of them.
        dynamic_shapes: as for :func:`torch.export.export`.
        known: whether a graph node's target has a converter. The others are decomposed as
            :func:`decompose_unknown` does it, save those that draw random numbers.

    A condition on sizes that torch can't decide, such as ``min(n * n, 64 * n) == n * n``, is
    no error if it holds for every size that ``dynamic_shapes`` allows, which is tried. Nor is
    code that asks for a size as a Python integer (``len(x)``), where TorchDynamo sees through it,
    nor a decision by a value that follows from buffers and sizes alone (``if mask.all():``).

    Raises:
        torch.export's own errors, for modules that it can't trace.
    """
    training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        with torch.no_grad():
            program = _trace(module, tuple(example_args), dynamic_shapes)
            write_multiples(program)
            # A table of nothing else would functionalise and decompose nothing. A run costs most
            # by what it does before it sees the graph, so the unknown is decomposed in the same.
            table = {**_decompositions(program, known), **_transforms(program)}
            return program.run_decompositions(table) if table else _functional(program, known)
    finally:
        for m in training:
            m.training = True


def _transforms(program: ExportedProgram) -> dict[Any, Any]:
    """The decompositions of a program's Fourier transforms.

    Left whole, one with ``norm="ortho"`` has its sizes fixed to those of the example, without a
    word: torch's function for its fake result takes the root of a size.
    """
    found = {node.target for node in nodes(program) if str(node.target).startswith("aten.fft_")}
    if not found:
        return {}
    table = torch.export.default_decompositions()
    return {target: table[target] for target in found if target in table}


def _trace(module: torch.nn.Module, args: tuple[Any, ...], dynamic_shapes: Any) -> ExportedProgram:
    """``torch.export.export``, with values known where the module asks for one."""
    try:
        return _trace_sizes(module, args, dynamic_shapes)
    except GuardOnDataDependentSymNode:
        with KnownValues(module):
            return _trace_sizes(module, args, dynamic_shapes)


def _trace_sizes(
    module: torch.nn.Module, args: tuple[Any, ...], dynamic_shapes: Any
) -> ExportedProgram:
    """``torch.export.export``, and where it finds that a size can't vary, two further ways."""
    try:
        return torch.export.export(module, args, dynamic_shapes=dynamic_shapes, strict=False)
    except UserError as error:
        if error.error_type is not UserErrorType.CONSTRAINT_VIOLATION:
            raise
        for another in (_try_conditions, _follow_bytecode):
            program = another(module, args, dynamic_shapes)
            if program is not None:
                return program
        raise


def _try_conditions(
    module: torch.nn.Module, args: tuple[Any, ...], dynamic_shapes: Any
) -> ExportedProgram | None:
    """Export with undecided conditions on sizes tried out; None unless all always hold."""
    try:
        with EvenSplits():
            program = torch.export.export(
                module,
                args,
                dynamic_shapes=dynamic_shapes,
                strict=False,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
    except UserError:
        return None
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten._assert_scalar.default:
            if not _always_holds(node.args[0], program.range_constraints):
                return None
            program.graph.erase_node(node)
    return program


def _follow_bytecode(
    module: torch.nn.Module, args: tuple[Any, ...], dynamic_shapes: Any
) -> ExportedProgram | None:
    """Export by TorchDynamo, which keeps a size symbolic where Python insists on an integer
    (``len(x)``, ``range``); None for a module that it can't follow."""
    try:
        return torch.export.export(module, args, dynamic_shapes=dynamic_shapes, strict=True)
    except (TorchDynamoException, RuntimeError, ValueError):
        return None


_CASES = 1 << 16
"""How many combinations of sizes are tried before a condition counts as undecided."""


def _always_holds(condition: Any, ranges: Mapping[Any, Any]) -> bool:
    """Whether a condition on sizes holds for all of them within their ranges."""
    value = condition.meta.get("val") if isinstance(condition, torch.fx.Node) else condition
    if not isinstance(value, torch.SymBool):
        return value is True
    expression = value.node.expr
    symbols = sorted(expression.free_symbols, key=str)
    limits = [ranges[symbol] for symbol in symbols if symbol in ranges]
    if len(limits) < len(symbols) or not all(limit.upper.is_Integer for limit in limits):
        return False
    extents = [range(max(int(limit.lower), 0), int(limit.upper) + 1) for limit in limits]
    if math.prod(map(len, extents)) > _CASES:
        return False
    return all(
        bool(expression.xreplace(dict(zip(symbols, map(sympy.Integer, sizes), strict=True))))
        for sizes in itertools.product(*extents)
    )


def decompose_unknown(program: ExportedProgram, known: Callable[[Any], bool]) -> ExportedProgram:
    """Decompose the operators that have no converter, by torch's table and ours, and no others.

    Args:
        program: a functional program.
        known: whether a graph node's target has a converter.

    Returns:
        An equivalent program, in which an operator that isn't known has no decomposition, or
        draws random numbers.
    """
    chosen: dict[Any, Any] = {}
    while True:
        further = _decompositions(program, known)
        if further.keys() <= chosen.keys():
            return program
        # The earlier ones again: a further operator may decompose into them.
        chosen.update(further)
        with torch.no_grad():
            program = program.run_decompositions(chosen)


def _functional(program: ExportedProgram, known: Callable[[Any], bool]) -> ExportedProgram:
    """``program.run_decompositions({})``, in less time.

    torch prepares to keep whole every operator that it has, one by one, which takes most of the
    time that a module of ordinary size takes. Where nothing is decomposed it is enough for those
    that stand in the graph and those with a converter, which what writes in place may call.
    """
    kept = {op for op in whole_operators() if known(op)}
    kept |= {node.target for node in nodes(program) if _is_preservable_cia_op(node.target)}
    every = exported_program._collect_all_valid_cia_ops
    exported_program._collect_all_valid_cia_ops = lambda: kept
    try:
        return program.run_decompositions({})
    finally:
        exported_program._collect_all_valid_cia_ops = every


def _decompositions(program: ExportedProgram, known: Callable[[Any], bool]) -> dict[Any, Any]:
    """The table's entries for what the graph calls and isn't known.

    What draws is left, so that it can be refused by the name that the model's author wrote.
    """
    calls = [
        node
        for node in nodes(program)
        if isinstance(node.target, torch._ops.OpOverload) and not known(node.target)
    ]
    drawn = {node.target for node in calls if draws(node)}
    # Operators that write in place are replaced before a table is asked.
    unknown = {n.target for n in calls if not n.target._schema.is_mutable} - drawn
    if not unknown:
        return {}
    table = {**torch.export.default_decompositions(), **decompositions.TABLE}
    return {op: table[op] for op in unknown if op in table}


def nodes(program: ExportedProgram) -> Iterator[fx.Node]:
    """Every call of a function, in the branches of ``torch.cond`` too."""
    for module in program.graph_module.modules():
        if isinstance(module, fx.GraphModule):
            yield from (node for node in module.graph.nodes if node.op == "call_function")


def draws(node: fx.Node) -> bool:
    """Whether an operator's result depends on random numbers, as it is called here.

    torch tags the operators. Dropout, recurrent layers and attention draw where they train,
    with a probability that isn't 0.
    """
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    if torch.Tag.nondeterministic_seeded not in node.target.tags:
        return False
    schema = node.target._schema
    given = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    given.update(zip((a.name for a in schema.arguments), node.args, strict=False))
    given.update(node.kwargs)
    if False in (given.get("train"), given.get("training")):
        return False
    probability = "p" if "dropout" in schema.name else "dropout"
    return all(given.get(name) != 0 for name in (probability, "dropout_p"))
