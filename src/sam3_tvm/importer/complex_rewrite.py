"""Complex tensors become real ones: a rewrite of an exported graph.

It goes through the graph operator by operator, so a model such as a rotary embedding needs no
change. Complex inputs, outputs, parameters, buffers and constants of the model become pairs
(:mod:`sam3_tvm.importer.complex_numbers`) too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils._pytree import tree_map_only

from sam3_tvm.importer import (  # noqa: F401 - they register them
    complex_rules,
    complex_shapes,
    einsum_rules,
    fourier_rules,
)
from sam3_tvm.importer.complex_numbers import RULES, Emitter, Pair, is_complex

__all__ = ["has_rule", "rewrite", "touches_complex"]

aten = torch.ops.aten


def touches_complex(node: fx.Node) -> bool:
    """Whether the node takes or gives a complex tensor, or stems from one."""
    return node.target is aten._neg_view.default or any(
        is_complex(n.meta.get("val")) for n in (node, *node.all_input_nodes)
    )


def has_rule(node: fx.Node) -> bool:
    """Whether :func:`rewrite` can express the node, which touches complex tensors, in real ones."""
    function, when = RULES.get(node.target, (None, None))
    return function is not None and (when is None or when(node))


def rewrite(program: ExportedProgram) -> None:
    """Replace every complex tensor of ``program`` by a real one with a trailing axis of 2.

    Changes the program in place: the graph (each new node keeps the stack trace of the one
    that it replaces), its signature, and its parameters, buffers and constants. Products
    of a complex and a real number multiply both parts, where PyTorch first makes the real
    number complex; the two differ only in which of inf and nan an infinite factor gives.

    Args:
        program: functional, undecomposed, with a rule for every node that touches complex
            tensors (:func:`has_rule`).
    """
    touched = [n for n in program.graph.nodes if touches_complex(n)]
    if not touched:
        return
    emitter = Emitter(program)
    found: dict[fx.Node, Any] = {}
    _real_state(program)
    for node in touched:
        emitter.source = node
        if node.op == "placeholder":
            with emitter.fake_mode:
                node.meta["val"] = torch.view_as_real(node.meta["val"].resolve_conj())
            node.meta.pop("tensor_meta", None)
            found[node] = Pair(node)
        elif node.op == "output":
            node.args = tree_map_only(fx.Node, lambda n: _node(found.get(n, n)), node.args)
        else:
            found[node] = result = _apply(emitter, node, found)
            if isinstance(result, fx.Node):
                node.replace_all_uses_with(result)
    for node, result in found.items():
        if isinstance(result, Pair | fx.Node) and _node(result) is not node:
            program.graph_signature.replace_all_uses(node.name, _node(result).name)
    for node in reversed(touched):
        if node.op == "call_function":
            program.graph.erase_node(node)
    for node in reversed(emitter.created):
        if not node.users:
            program.graph.erase_node(node)
    program.graph.lint()
    program.graph_module.recompile()


def _node(value: Any) -> Any:
    return value.node if isinstance(value, Pair) else value


def _apply(emitter: Emitter, node: fx.Node, found: dict[fx.Node, Any]) -> Any:
    """Run the node's rule on its arguments by schema name."""
    function, _ = RULES[node.target]
    args, kwargs = tree_map_only(fx.Node, lambda n: found.get(n, n), (node.args, node.kwargs))
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return function(emitter, *args, **kwargs)
    names = [a.name for a in schema.arguments]
    defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    return function(emitter, **{**defaults, **dict(zip(names, args, strict=False)), **kwargs})


def _real_state(program: ExportedProgram) -> None:
    """Turn complex parameters, buffers and constants into pairs."""
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            continue
        for store in (program.state_dict, program.constants):
            value = store.get(spec.target)
            if isinstance(value, torch.Tensor) and value.is_complex():
                real = torch.view_as_real(value.detach().resolve_conj()).contiguous()
                if isinstance(value, torch.nn.Parameter):
                    real = torch.nn.Parameter(real, requires_grad=value.requires_grad)
                store[spec.target] = real
