"""A component of a source as a Relax module, with the contract's bounds on its sizes."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam3_tvm.arithmetic import FLOAT32, Arithmetic
from sam3_tvm.compiler.graph.arithmetic import with_arithmetic
from sam3_tvm.compiler.graph.stages import IMAGE_INPUTS
from sam3_tvm.components import Component, Dim
from sam3_tvm.importer import import_module
from sam3_tvm.sources.base import Source
from sam3_tvm.sources.sampling import dynamic_shapes, example_sizes, sample_inputs

__all__ = ["import_component"]


def import_component(
    source: Source, component: Component, arithmetic: Arithmetic = FLOAT32
) -> tuple[tvm.IRModule, dict[str, tvm.runtime.Tensor]]:
    """Import one component under its own name.

    Args:
        source: the opened checkpoint.
        component: one of its functions, as the ABI describes it.
        arithmetic: the numbers that it is to compute in.

    Returns:
        A module with one function named like the component, with its arithmetic, the ABI's bounds
        and the positions of its inputs that come from the picture alone, and its parameters by
        name, in order.
    """
    inputs = sample_inputs(component, example_sizes(component), source.vocabulary_size())
    with source.patched():
        mod, params = import_module(
            source.component(component.name), inputs, dynamic_shapes(component)
        )
    mod = _rename(mod, component)
    mod[component.name] = with_arithmetic(mod[component.name], arithmetic)
    return mod, params


def _rename(mod: tvm.IRModule, component: Component) -> tvm.IRModule:
    """Give a module's function the component's name, and its helpers names of their own."""
    func = mod["main"].with_attr("global_symbol", component.name)
    # The planner would reserve memory for the largest batch that the ABI allows; without an
    # upper bound it plans by the sizes of the call.
    func = func.without_attr("tir_var_upper_bound")
    func = func.with_attr("tir_var_lower_bound", _lower_bounds(func, component))
    func = func.with_attr(IMAGE_INPUTS, list(component.image_inputs))
    builder, renamer = relax.BlockBuilder(), _GlobalVarRenamer({})
    for gvar, helper in mod.functions_items():
        if isinstance(helper, tvm.tirx.PrimFunc):
            # Two components may each have an "interpolate" of their own sizes.
            name = f"{component.name}_{gvar.name_hint}"
            if "global_symbol" in helper.attrs:
                helper = helper.with_attr("global_symbol", name)
            renamer.names[gvar.name_hint] = builder.add_func(helper, name)
    renamed = builder.get()
    renamed[component.name] = renamer.visit_expr(func) if renamer.names else func
    return renamed


@mutator
class _GlobalVarRenamer(PyExprMutator):
    """Replaces references to functions of a module."""

    def __init__(self, names: dict[str, tvm.ir.GlobalVar]) -> None:
        super().__init__()
        self.names = names

    def visit_global_var_(self, op: Any) -> Any:
        return self.names.get(op.name_hint, op)


def _lower_bounds(func: relax.Function, component: Component) -> dict[str, int]:
    """The ABI's lower bound of each symbolic size; torch's own may be narrower (0 and 1)."""
    bounds: dict[str, int] = {}
    for var, spec in zip(func.params, component.inputs, strict=False):
        extents = var.ty.values if spec.dtype == "shape" else var.ty.shape
        for extent, dim in zip(extents, spec.shape, strict=True):
            if isinstance(dim, Dim) and isinstance(extent, tvm.tirx.Var):
                bounds[str(extent.name)] = dim.min
    return bounds
