"""Moves out of the compiled functions what depends on weights alone, and the weights themselves.

Packing, transposing and folding weights are written by other passes as ordinary operators on
parameter variables. Here they leave the function: they run once, at compile time, and only
their results are stored. Large constants leave as well, so that they are stored and mapped
like weights instead of being compiled into the library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

__all__ = ["lift_constants", "lift_params", "transform_name"]

_NUM_INPUT = "num_input"


def transform_name(name: str) -> str:
    """The name that the function over the weights of function ``name`` has."""
    return f"{name}_transform_params"


def lift_params(mod: tvm.IRModule, names: Sequence[str]) -> tuple[tvm.IRModule, tvm.IRModule]:
    """Split functions into what runs per call and what runs once over their parameters.

    Args:
        mod: the module. Each function named takes ``num_input`` (its attribute) data inputs,
            then its parameters, one tensor each.
        names: the Relax functions to split; the rest of the module stays as it is.

    Returns:
        ``(mod, transform)``. In ``mod``, ``f(inputs..., params...)`` has become
        ``f(inputs..., params)`` where ``params`` is one tuple (empty if nothing is needed). In
        ``transform``, the function :func:`transform_name` ``(f)`` takes the tuple of the
        original parameters, in their order, and returns that tuple. A parameter that is used
        as it is comes back as the same tensor, not as a copy, and equal computations give one
        entry. Both hold only the PrimFuncs that they call.

    Raises:
        ValueError: a name that is no Relax function of ``mod``, or has no ``num_input``.
    """
    for name in names:
        _require_num_input(mod, name)
    others = {
        gvar: func
        for gvar, func in mod.functions_items()
        if isinstance(func, relax.Function) and gvar.name_hint not in names
    }
    chosen = tvm.IRModule(
        {gvar: func for gvar, func in mod.functions_items() if gvar not in others},
        global_infos=mod.global_infos,
    )
    # Equal computations on equal operands would otherwise be stored once per use.
    lifted = tvm.transform.Sequential(
        [
            relax.transform.EliminateCommonSubexpr(),
            relax.transform.LiftTransformParams(shared_transform=False),
        ]
    )(chosen)
    transforms = {transform_name(name) for name in names}
    runtime, transform = tvm.IRModule(global_infos=mod.global_infos), tvm.IRModule()
    for gvar, func in lifted.functions_items():
        is_transform = gvar.name_hint in transforms
        if is_transform or not isinstance(func, relax.Function):
            transform[gvar] = func
        if not is_transform:
            runtime[gvar] = func
    runtime = relax.transform.BundleModelParams("params")(runtime)
    for gvar, func in others.items():
        runtime[gvar] = func
    return _without_unused(runtime), _without_unused(transform)


def _require_num_input(mod: tvm.IRModule, name: str) -> None:
    functions = {g.name_hint: f for g, f in mod.functions_items() if isinstance(f, relax.Function)}
    if name not in functions:
        known = ", ".join(sorted(functions)) or "none"
        raise ValueError(f"no Relax function is named {name!r}; the module's are: {known}")
    attrs = functions[name].attrs
    if attrs is None or _NUM_INPUT not in attrs:
        raise ValueError(
            f"function {name!r} doesn't say which of its arguments are parameters: "
            f"set its attribute {_NUM_INPUT!r} to the number of leading data inputs"
        )


def _without_unused(mod: tvm.IRModule) -> tvm.IRModule:
    entries = [g.name_hint for g, f in mod.functions_items() if isinstance(f, relax.Function)]
    return relax.transform.DeadCodeElimination(entries)(mod) if entries else mod


def lift_constants(
    mod: tvm.IRModule, above_bytes: int = 1024
) -> tuple[tvm.IRModule, dict[str, dict[str, Any]]]:
    """Turn large constants of functions with ``num_input`` into further parameters.

    Args:
        mod: the module.
        above_bytes: constants larger than this are lifted; the others stay, where the
            compiler can see and fold them.

    Returns:
        The new module, and for each function that gained parameters their names and values (a
        ``tvm.runtime.Tensor`` each, not copied) in order. They follow the function's own
        parameters; a constant used several times is one parameter.
    """
    result = mod.clone()
    values: dict[str, dict[str, Any]] = {}
    for gvar, func in mod.functions_items():
        if not isinstance(func, relax.Function) or func.attrs is None:
            continue
        if _NUM_INPUT not in func.attrs:
            continue
        taken = {p.name for p in func.params}
        lifter = _ConstantLifter(above_bytes, taken)
        body = lifter.visit_expr(func.body)
        if not lifter.found:
            continue
        params = [*func.params, *(var for var, _ in lifter.found)]
        lifted = relax.Function(params, body, func.ret_ty, func.is_pure, func.attrs, func.span)
        result.update_func(gvar, lifted)
        values[gvar.name_hint] = {var.name: data for var, data in lifter.found}
    return result, values


@mutator
class _ConstantLifter(PyExprMutator):
    """Replaces each large constant by a variable, the same one for the same data."""

    def __init__(self, above_bytes: int, taken: set[str]) -> None:
        super().__init__()
        self.above_bytes = above_bytes
        self.taken = taken
        self.found: list[tuple[Any, Any]] = []

    def visit_generic_const_(self, op: Any) -> Any:
        data = op.value
        if not isinstance(data, tvm.runtime.Tensor):
            return op
        if data.numel() * data.dtype.itemsize <= self.above_bytes:
            return op
        for var, known in self.found:
            if known.same_as(data):
                return var
        name = f"constant_{len(self.found)}"
        while name in self.taken:
            name += "_"
        var = relax.Var(name, op.ty)
        self.found.append((var, data))
        return var
