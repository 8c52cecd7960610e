"""What a kernel made of a tensor expression takes, in the same order in every process.

Sizes that a kernel needs and that are no dimension of an input become parameters of their own.
TVM's ``gen_call_tir_inputs`` puts them in the order of a set of variables, which are hashed by
their addresses (TVM 0.27).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.relax.utils import gen_call_tir_inputs

__all__ = ["ordered_call_tir_inputs"]


def ordered_call_tir_inputs(
    function: Callable[..., Any], *args: Any, **kwargs: Any
) -> tuple[Any, list[Any], Any]:
    """TVM's function, but that sizes stand in the order in which the kernel names them: in the
    shapes of its tensors, then in its body.

    Args:
        function: what makes a tensor expression, or several, of ``args`` and ``kwargs``.

    Returns:
        The PrimFunc, the operands of its call, and the type of the result.
    """
    func, operands, out_type = gen_call_tir_inputs(function, *args, **kwargs)
    first = len(operands)
    # What was passed as a scalar of another type has been given its place by TVM.
    while first and _is_size(operands[first - 1]):
        first -= 1
    if len(operands) - first < 2:
        return func, operands, out_type
    params = list(func.params)
    found = _appearance(func, params[first : len(operands)])

    def place(i: int) -> tuple[int, str]:
        # A size that the kernel doesn't name has no place, but its call has it all the same.
        return found.get(params[i], len(found)), f"{params[i].name}"

    order = [*range(first), *sorted(range(first, len(operands)), key=place)]
    params = [*(params[i] for i in order), *params[len(order) :]]
    func = tirx.PrimFunc(params, func.body, func.ret_type, func.attrs)
    return func, [operands[i] for i in order], out_type


def _is_size(operand: Any) -> bool:
    return bool(tvm.ir.is_prim_var(operand) and operand.ty.dtype == "int64")


def _appearance(func: Any, sizes: list[Any]) -> dict[Any, int]:
    """The place of each size among them, as the kernel names them."""
    wanted, found = set(sizes), dict[Any, int]()

    def note(var: Any) -> None:
        if var in wanted:
            found.setdefault(var, len(found))

    for part in (*(param.ty for param in func.params), func.body):
        if len(found) < len(wanted):
            tvm_ffi.structural_walk(part, (tvm.ir.Var, note))
    return found
