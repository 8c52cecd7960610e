"""From a torch module to a functional ATen graph that keeps whole operators."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram

__all__ = ["decompose_unknown", "export"]


def export(
    module: torch.nn.Module,
    example_args: Sequence[Any],
    dynamic_shapes: Any = None,
) -> ExportedProgram:
    """Export ``module`` for inference.

    The graph is functional (no in-place operators) and nothing in it is decomposed:
    attention, layer norm, gelu, interpolate and their like stay one node each, so that
    a later pass can give them one kernel.

    Args:
        module: any module whose forward takes positional arguments; it isn't changed.
        example_args: tensors, Python numbers, or tuples of them.
        dynamic_shapes: as for :func:`torch.export.export`.

    Raises:
        torch.export's own errors, for modules that it can't trace.
    """
    training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        with torch.no_grad():
            program = torch.export.export(
                module, tuple(example_args), dynamic_shapes=dynamic_shapes, strict=False
            )
            # An empty table functionalises and decomposes nothing.
            return program.run_decompositions({})
    finally:
        for m in training:
            m.training = True


def decompose_unknown(program: ExportedProgram, known: Collection[str]) -> ExportedProgram:
    """Let torch decompose the operators that have no converter, and no others.

    Args:
        program: a functional program.
        known: names of operators with a converter, as ``add.Tensor``.

    Returns:
        An equivalent program, in which an operator outside ``known`` has no decomposition.
    """
    table = torch.export.default_decompositions()
    while True:
        unknown = {
            node.target
            for node in program.graph.nodes
            if node.op == "call_function"
            and isinstance(node.target, torch._ops.OpOverload)
            and node.target.__name__ not in known
        }
        chosen = {op: table[op] for op in unknown if op in table}
        if not chosen:
            return program
        with torch.no_grad():
            program = program.run_decompositions(chosen)
