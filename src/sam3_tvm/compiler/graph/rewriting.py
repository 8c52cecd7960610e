"""The frame of passes that give bindings of a function new values."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

__all__ = ["Emit", "NewValue", "rewrite_bindings"]

Expr = Any


class Emit:
    """Emits what a new value is made of, ahead of the binding that gets it.

    ``emit(value)`` binds a value, over the function's own variables or such as it returned, to a
    variable.
    """

    def __init__(self, rewriter: _Rewriter) -> None:
        self._rewriter = rewriter

    def __call__(self, value: Expr) -> Expr:
        return self._rewriter.builder_.emit(self._rewriter.visit_expr(value))

    def kernel(self, name: str, func: tvm.tirx.PrimFunc) -> tvm.ir.GlobalVar:
        """A function of the module that does what ``func`` does: a new one, or its equal."""
        return self._rewriter.builder_.add_func(func, name)

    def once(self, key: Hashable, make: Callable[[Emit], Expr]) -> Expr:
        """What ``make`` gave for this key in the block that is being rewritten (a variable of
        one block can't be used in another)."""
        known = self._rewriter.known
        if key not in known:
            known[key] = make(self)
        return known[key]


NewValue = Callable[[Emit], Expr]
"""Emits all operators of a new value but the last, which it returns."""


def rewrite_bindings(
    mod: tvm.IRModule, find: Callable[[relax.Function], Mapping[Expr, NewValue]]
) -> tvm.IRModule:
    """Give variables new values, and drop what is without users then.

    Args:
        mod: the module.
        find: for a Relax function in A-normal form, the variables to redefine. A new value may
            use whatever is defined before its variable.

    Returns:
        The new module.
    """
    mod = relax.transform.Normalize()(mod)
    rewriter = _Rewriter(mod)
    for gvar, func in mod.functions_items():
        if isinstance(func, relax.Function):
            rewriter.found = find(func)
            if rewriter.found:
                rewritten = rewriter.visit_expr(func)
                rewriter.builder_.update_func(gvar, relax.analysis.remove_all_unused(rewritten))
    return rewriter.builder_.get()


@mutator
class _Rewriter(PyExprMutator):
    def __init__(self, mod: tvm.IRModule) -> None:
        super().__init__(mod)
        self.found: Mapping[Expr, NewValue] = {}
        self.known: dict[Hashable, Expr] = {}

    def visit_dataflow_block_(self, block: Any) -> Any:
        outer, self.known = self.known, {}
        try:
            return super().visit_dataflow_block_(block)
        finally:
            self.known = outer

    def visit_binding_block_(self, block: Any) -> Any:
        outer, self.known = self.known, {}
        try:
            return super().visit_binding_block_(block)
        finally:
            self.known = outer

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        """Replace the value of a variable that was found."""
        new_value = self.found.get(binding.var)
        if new_value is not None:
            binding = relax.VarBinding(binding.var, new_value(Emit(self)))
        super().visit_var_binding_(binding)
