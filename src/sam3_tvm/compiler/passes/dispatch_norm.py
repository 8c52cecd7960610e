"""Layer norm and group norm become single kernels, a ReLU behind group norm included.

Handled, in float32: ``relax.nn.layer_norm`` over a static last axis, and
``relax.nn.group_norm`` with channels on axis 1, over all axes behind it, static but for the
batch. Others stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam3_tvm.compiler.kernels.norm import (
    group_norm_kernel,
    group_norm_name,
    layer_norm_kernel,
    layer_norm_name,
)
from sam3_tvm.compiler.passes.dataflow import Dataflow, call_of, shape_of, static_int
from sam3_tvm.compiler.target import CpuTarget

__all__ = ["DispatchNorm"]


@tvm.transform.module_pass(opt_level=0, name="DispatchNorm")
class DispatchNorm:
    """Replaces the normalisations of every Relax function."""

    def __init__(self, target: CpuTarget) -> None:
        self.target = target

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Return ``mod`` with kernels for its normalisations."""
        mod = relax.transform.Normalize()(mod)
        dispatcher = _Dispatcher(mod, self.target)
        for gvar, func in mod.functions_items():
            if isinstance(func, relax.Function):
                dispatcher.run(gvar, func)
        return dispatcher.builder_.get()


@dataclass(frozen=True)
class _Norm:
    """A normalisation, and whether a ReLU follows it."""

    call: Any
    with_relu: bool = False


def _find_norms(func: Any) -> tuple[dict[Any, _Norm], set[Any]]:
    """Normalisations by the variable that holds their result, and the variables between."""
    flow = Dataflow(func)
    norms: dict[Any, _Norm] = {}
    inner = set()
    for binding in flow.bindings:
        if _is_layer_norm(binding.value):
            norms[binding.var] = _Norm(binding.value)
        elif _is_group_norm(binding.value):
            user = flow.only_user(binding.var)
            if user is not None and call_of(flow.definition(user), "relax.nn.relu") is not None:
                inner.add(binding.var)
                norms[user] = _Norm(binding.value, with_relu=True)
            else:
                norms[binding.var] = _Norm(binding.value)
    return norms, inner


def _is_layer_norm(value: Any) -> bool:
    if call_of(value, "relax.nn.layer_norm") is None:
        return False
    shape, attrs = shape_of(value.args[0]), value.attrs
    return (
        shape is not None
        and [int(a) % len(shape) for a in attrs.axes] == [len(shape) - 1]
        and bool(static_int(shape[-1]))
        and bool(attrs.center)
        and bool(attrs.scale)
    )


def _is_group_norm(value: Any) -> bool:
    if call_of(value, "relax.nn.group_norm") is None:
        return False
    shape, attrs = shape_of(value.args[0]), value.attrs
    return (
        shape is not None
        and len(shape) > 2
        and int(attrs.channel_axis) % len(shape) == 1
        and sorted(int(a) % len(shape) for a in attrs.axes) == list(range(2, len(shape)))
        and all(static_int(d) for d in shape[1:])
        and bool(attrs.center)
        and bool(attrs.scale)
    )


@mutator
class _Dispatcher(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, target: CpuTarget) -> None:
        super().__init__(mod)
        self.target = target
        self.norms: dict[Any, _Norm] = {}
        self.inner: set[Any] = set()
        self.norm: _Norm | None = None

    def run(self, gvar: Any, func: Any) -> None:
        """Rewrite one function, if it normalises anything."""
        self.norms, self.inner = _find_norms(func)
        if self.norms:
            self.builder_.update_func(gvar, self.visit_expr(func))

    def visit_var_binding_(self, binding: Any) -> None:
        """Leave out what a kernel absorbs; announce what it replaces."""
        if binding.var not in self.inner:
            self.norm = self.norms.get(binding.var)
            super().visit_var_binding_(binding)

    def visit_call_(self, call: Any) -> Any:
        """Replace the announced operator."""
        norm, self.norm = self.norm, None
        if norm is None:
            return super().visit_call_(call)
        shape = shape_of(norm.call.args[0]) or []
        x, gamma, beta = (self.visit_expr(arg) for arg in norm.call.args)
        epsilon = float(norm.call.attrs.epsilon)
        if call_of(norm.call, "relax.nn.layer_norm") is not None:
            n = int(shape[-1])
            flat = [prod(shape[:-1], start=tvm.tirx.const(1, "int64")), n]
            name, kernel = layer_norm_name(n), layer_norm_kernel(self.target, n, epsilon)
        else:
            channels, pixels = int(shape[1]), prod(int(d) for d in shape[2:])
            flat = [shape[0], channels, pixels]
            sizes = (channels, int(norm.call.attrs.num_groups), pixels)
            name = group_norm_name(*sizes, norm.with_relu)
            kernel = group_norm_kernel(self.target, *sizes, epsilon, norm.with_relu)
        emit = self.builder_.emit
        x = emit(relax.op.reshape(x, flat))
        gvar = self.builder_.add_func(kernel, name)
        y = emit(relax.call_tir(gvar, [x, gamma, beta], relax.TensorType(flat, "float32")))
        return relax.op.reshape(y, shape)
