"""What depends on constants alone is computed once, at import, by torch itself.

Position encodings, rotary tables, index ranges: subgraphs of buffers, constants and
static creation operators become constants. Equal constants are shared, and an axis along
which a constant merely repeats isn't stored. Parameters are no constants: they stay
inputs, and what is computed from them stays in the graph.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Collection
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from tvm import relax

from sam3_tvm.importer.registry import Context, ImportState, constant, converter

__all__ = ["fold", "foldable_nodes", "folded_constant"]

_STORED_AS_IT_IS = 256
"""Constants of up to so many elements are not searched for repetition."""

aten = torch.ops.aten

# Their contents are whatever memory held.
_UNINITIALISED = {
    aten.empty.memory_format,
    aten.empty_like.default,
    aten.new_empty.default,
    aten.empty_strided.default,
    aten.new_empty_strided.default,
    aten.empty_permuted.default,
}


def folded_constant(name: str) -> torch.Tensor:
    """The graph node that stands for a folded tensor; its converter emits the constant."""
    raise NotImplementedError(f"{name} is a placeholder in an exported graph, not a function")


@converter(folded_constant)
def convert_folded(cx: Context, name: str) -> relax.Expr:
    value = cx.state.constants[name]
    shape = list(value.shape)
    if value.numel() > _STORED_AS_IT_IS:
        for axis, extent in enumerate(shape):
            first = value.narrow(axis, 0, 1)
            if extent > 1 and torch.equal(value, first.expand_as(value)):
                value = first
    stored = shared_constant(cx.state, value)
    return stored if list(value.shape) == shape else cx.emit(relax.op.broadcast_to(stored, shape))


def shared_constant(state: ImportState, value: torch.Tensor) -> relax.Expr:
    """The import's one constant of this dtype, shape and these bytes."""
    value = value.detach().cpu().contiguous()
    digest = hashlib.sha256(value.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
    key = f"{value.dtype} {tuple(value.shape)} {digest}"
    if key not in state.shared:
        state.shared[key] = constant(value)
    return state.shared[key]


def fold(program: ExportedProgram, state: ImportState) -> None:
    """Replace, in place, every subgraph of constants by :func:`folded_constant` nodes.

    Args:
        program: a functional program.
        state: takes up the tensors by node name.
    """
    values: dict[fx.Node, Any] = _constants(program)
    with torch.no_grad():
        for node in program.graph.nodes:
            if _foldable(node, values):
                args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: values[n])
                values[node] = node.target(*args, **kwargs)
    last_input = [n for n in program.graph.nodes if n.op == "placeholder"][-1]
    for node in list(values):
        needed = [user for user in node.users if user not in values]
        if not needed or not isinstance(values[node], torch.Tensor):
            continue
        state.constants[node.name] = values[node]
        # Not between the inputs: converters may rely on all of them.
        with program.graph.inserting_after(last_input if node.op == "placeholder" else node):
            stand_in = program.graph.call_function(folded_constant, (node.name,))
        stand_in.meta.update({k: v for k, v in node.meta.items() if k != "from_node"})
        node.replace_all_uses_with(stand_in, delete_user_cb=lambda user: user not in values)
    output = next(n for n in reversed(program.graph.nodes) if n.op == "output")
    for spec, result in zip(program.graph_signature.output_specs, output.args[0], strict=True):
        if isinstance(result, fx.Node) and result.target is folded_constant:
            spec.arg.name = result.name
    for node in reversed(list(values)):
        if node.op == "call_function" and not node.users:
            program.graph.erase_node(node)


def _constants(program: ExportedProgram) -> dict[fx.Node, Any]:
    """The tensors of the placeholders that are buffers or constants, unless mutated."""
    signature = program.graph_signature
    written = {
        spec.target for spec in signature.output_specs if spec.kind is OutputKind.BUFFER_MUTATION
    }
    tensors = {**program.constants, **dict(program.named_buffers())}
    by_name = {
        spec.arg.name: tensors[spec.target]
        for spec in signature.input_specs
        if spec.kind in (InputKind.BUFFER, InputKind.CONSTANT_TENSOR)
        and spec.target not in written
        and isinstance(tensors.get(spec.target), torch.Tensor)
    }
    return {n: by_name[n.name] for n in program.graph.nodes if n.name in by_name}


def foldable_nodes(program: ExportedProgram) -> set[fx.Node]:
    """The nodes that :func:`fold` computes."""
    found = set(_constants(program))
    for node in program.graph.nodes:
        if _foldable(node, found):
            found.add(node)
    return found


def _foldable(node: fx.Node, values: Collection[fx.Node]) -> bool:
    if node.op != "call_function" or not all(n in values for n in node.all_input_nodes):
        return False
    if node.target is operator.getitem:
        return True
    result = node.meta.get("val")
    results = result if isinstance(result, list | tuple) else [result]
    return (
        isinstance(node.target, torch._ops.OpOverload)
        and not node.target._schema.is_mutable
        and torch.Tag.nondeterministic_seeded not in node.target.tags
        and node.target not in _UNINITIALISED
        and bool(results)
        and all(
            isinstance(r, torch.Tensor) and all(isinstance(s, int) for s in r.shape)
            for r in results
        )
    )
