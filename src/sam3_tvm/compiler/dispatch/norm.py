"""Layer norm and group norm become single kernels, a ReLU behind group norm included.

Handled, in float32: ``relax.nn.layer_norm`` over a static last axis, and
``relax.nn.group_norm`` with channels on axis 1, over all axes behind it, static but for the
batch. Others stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import tvm
from tvm import relax

from sam3_tvm.compiler.graph.dataflow import (
    Dataflow,
    activation_of,
    call_of,
    float32_shape_of,
    shape_of,
    static_int,
)
from sam3_tvm.compiler.graph.norm_patterns import is_layer_norm
from sam3_tvm.compiler.graph.rewriting import Emit, NewValue, rewrite_bindings
from sam3_tvm.compiler.kernels.norm import (
    group_norm_kernel,
    group_norm_name,
    layer_norm_kernel,
    layer_norm_name,
)
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["DispatchNorm"]

Expr = Any


@tvm.transform.module_pass(opt_level=0, name="DispatchNorm")
class DispatchNorm:
    """Replaces the normalisations of every Relax function."""

    def __init__(self, target: CpuTarget) -> None:
        self.target = target

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Return ``mod`` with kernels for its normalisations."""
        return rewrite_bindings(mod, partial(_find_norms, self.target))


@dataclass(frozen=True)
class _Norm:
    """A normalisation, and whether a ReLU follows it."""

    target: CpuTarget
    call: Expr
    with_relu: bool = False

    def __call__(self, emit: Emit) -> Expr:
        """The call of its kernel."""
        shape = shape_of(self.call.args[0]) or []
        x, gamma, beta = self.call.args
        epsilon = float(self.call.attrs.epsilon)
        if call_of(self.call, "relax.nn.layer_norm") is not None:
            n = int(shape[-1])
            flat = [prod(shape[:-1], start=tvm.tirx.const(1, "int64")), n]
            name, kernel = layer_norm_name(n), layer_norm_kernel(self.target, n, epsilon)
        else:
            channels, pixels = int(shape[1]), prod(int(d) for d in shape[2:])
            flat = [shape[0], channels, pixels]
            sizes = (channels, int(self.call.attrs.num_groups), pixels)
            name = group_norm_name(*sizes, self.with_relu)
            kernel = group_norm_kernel(self.target, *sizes, epsilon, self.with_relu)
        x = emit(relax.op.reshape(x, flat))
        result = relax.TensorType(flat, "float32")
        y = emit(relax.call_tir(emit.kernel(name, kernel), [x, gamma, beta], result))
        return relax.op.reshape(y, shape)


def _find_norms(target: CpuTarget, func: relax.Function) -> dict[Expr, NewValue]:
    """Normalisations by the variable that holds their result."""
    flow = Dataflow(func)
    norms: dict[Expr, NewValue] = {}
    for binding in flow.bindings:
        if is_layer_norm(binding.value):
            norms[binding.var] = _Norm(target, binding.value)
        elif _is_group_norm(binding.value):
            user = flow.only_user(binding.var)
            if user is not None and activation_of(flow.definition(user)) == "relu":
                norms[user] = _Norm(target, binding.value, with_relu=True)
            else:
                norms[binding.var] = _Norm(target, binding.value)
    return norms


def _is_group_norm(value: Expr) -> bool:
    if call_of(value, "relax.nn.group_norm") is None:
        return False
    shape, attrs = float32_shape_of(value.args[0]), value.attrs
    return (
        shape is not None
        and len(shape) > 2
        and int(attrs.channel_axis) % len(shape) == 1
        and sorted(int(a) % len(shape) for a in attrs.axes) == list(range(2, len(shape)))
        and all(static_int(d) for d in shape[1:])
        and bool(attrs.center)
        and bool(attrs.scale)
    )
