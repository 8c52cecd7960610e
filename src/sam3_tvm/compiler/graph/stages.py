"""Binding times: which values of a function depend on the picture alone.

A component's inputs become known at different times: parameters when it is compiled, a
picture's features once per picture, a prompt with every call. The function attribute
``image_inputs`` names the positions of those of the second kind, and what can be computed from
them and from parameters can be computed once per picture. It is the classic division of a
program into static and dynamic parts: Jones, Gomard and Sestoft, Partial Evaluation and
Automatic Program Generation, 1993, chapter 4.
"""

from __future__ import annotations

from typing import Any

from tvm import relax
from tvm.ir import GenericConst

from sam3_tvm.compiler.graph.dataflow import operands

__all__ = ["IMAGE_INPUTS", "image_inputs", "image_values"]

IMAGE_INPUTS = "image_inputs"
"""The function attribute: positions of the inputs that come from the picture alone."""

Expr = Any


def image_inputs(func: relax.Function) -> list[Expr]:
    """The parameters of a function that hold what comes from the picture alone."""
    if func.attrs is None or IMAGE_INPUTS not in func.attrs:
        return []
    return [func.params[int(i)] for i in func.attrs[IMAGE_INPUTS]]


def image_values(func: relax.Function) -> set[Expr]:
    """The variables of a function that are known once its image inputs are.

    Args:
        func: in A-normal form (Normalize). Of its parameters those at the positions in its
            attribute ``image_inputs`` are image inputs, those from ``num_input`` on are weights.

    Returns:
        The image inputs, the weights, and every variable of the function's outer blocks whose
        value depends on these and on constants alone, in its shape too: it mentions no
        symbolic size that no image input has. What depends on weights alone is among them.
        Nothing inside of branches is.
    """
    known = set(image_inputs(func))
    sizes = {var for param in known for var in relax.analysis.tir_vars_in_type(param.ty)}
    if func.attrs is not None and "num_input" in func.attrs:
        known.update(list(func.params)[int(func.attrs["num_input"]) :])
    for block in func.body.blocks:
        for binding in block.bindings:
            if isinstance(binding, relax.VarBinding) and _is_known(binding, known, sizes):
                known.add(binding.var)
    return known


def _is_known(binding: Expr, known: set[Expr], sizes: set[Expr]) -> bool:
    value = binding.value
    if isinstance(value, relax.If | relax.Function):
        return False
    # A size may be in the arguments and not in the type, as in arange(n, n + 1).
    mentioned = {
        *relax.analysis.free_symbolic_vars(value),
        *relax.analysis.tir_vars_in_type(binding.var.ty),
    }
    return mentioned <= sizes and all(
        isinstance(x, GenericConst) or x in known or x in sizes for x in operands(value)
    )
