"""Makes one transposed convolution of one and the 1 x 1 convolution behind it.

With no activation between them, a 2 x 2 transposed convolution of stride 2 from I to M channels
and a 1 x 1 convolution from M to O are the transposed convolution with the weights

    W[i, o, y, x] = sum over m of V[i, m, y, x] U[o, m],    bias = U v + u

The two take 4 M (I + O) multiply-adds for a pixel, the one takes 4 I O; they are merged where
that is less. The products of weights are written as operators on parameters, for
LiftTransformParams to move to compile time, so narrow weights are rounded once, after merging.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax

from sam3_tvm.compiler.graph.conv_patterns import (
    bias_of,
    is_convolution,
    is_pointwise,
    is_transposed,
    shape_of_conv,
    sizes,
)
from sam3_tvm.compiler.graph.dataflow import Dataflow, call_of
from sam3_tvm.compiler.graph.rewriting import Emit, NewValue, rewrite_bindings

__all__ = ["MergeTransposed"]

Expr = Any


@tvm.transform.module_pass(opt_level=0, name="MergeTransposed")
class MergeTransposed:
    """The pass. Where anything else reads the result between the two, or weights are no
    parameters, both stay."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite every Relax function of the module."""
        return rewrite_bindings(mod, _find)


@dataclass
class _Pair:
    """``conv1x1(transposed + first_bias) + second_bias``, biases of shape [1, C, 1, 1] or None."""

    transposed: Expr
    first_bias: Expr | None
    weight: Expr
    second_bias: Expr | None

    def __call__(self, emit: Emit) -> Expr:
        op = relax.op
        x, first = self.transposed.args
        inner, middle = sizes(first)[:2]
        out = sizes(self.weight)[0]
        second = emit(op.reshape(self.weight, (out, middle)))
        second = emit(op.permute_dims(second))
        rows = emit(op.permute_dims(first, [0, 2, 3, 1]))
        rows = emit(op.reshape(rows, (4 * inner, middle)))
        merged = emit(op.matmul(rows, second))
        merged = emit(op.reshape(merged, (inner, 2, 2, out)))
        merged = emit(op.permute_dims(merged, [0, 3, 1, 2]))
        value = relax.Call(self.transposed.op, [x, merged], self.transposed.attrs)
        bias = self.second_bias
        if self.first_bias is not None:
            moved = emit(op.reshape(self.first_bias, (1, middle)))
            moved = emit(op.matmul(moved, second))
            moved = emit(op.reshape(moved, (1, out, 1, 1)))
            bias = moved if bias is None else emit(op.add(moved, bias))
        return value if bias is None else op.add(emit(value), bias)


def _find(func: relax.Function) -> Mapping[Expr, NewValue]:
    flow = Dataflow(func)
    found: dict[Expr, NewValue] = {}
    for binding in flow.bindings:
        if is_transposed(binding.value):
            match = _match(flow, binding)
            if match is not None:
                end, pair = match
                found[end] = pair
    return found


def _match(flow: Dataflow, binding: Expr) -> tuple[Expr, _Pair] | None:
    """The pair that starts here, and the variable that holds its result."""
    end, first_bias = _with_bias(flow, binding.var)
    user = flow.only_user(end)
    if user is None or not is_convolution(flow.definition(user)):
        return None
    conv = flow.definition(user)
    if conv.args[0] != end or not is_pointwise(shape_of_conv(conv)):
        return None
    weight = conv.args[1]
    end, second_bias = _with_bias(flow, user)
    inner, middle = sizes(binding.value.args[1])[:2]
    out = sizes(weight)[0]
    parameters = [binding.value.args[1], weight, first_bias, second_bias]
    offline = all(flow.is_offline(p) for p in parameters if p is not None)
    if not offline or inner * out >= middle * (inner + out):
        return None
    return end, _Pair(binding.value, first_bias, weight, second_bias)


def _with_bias(flow: Dataflow, conv: Expr) -> tuple[Expr, Expr | None]:
    """The variable that adds a bias to a convolution, and the bias, if that is all it is for."""
    user = flow.only_user(conv)
    if user is not None and call_of(flow.definition(user), "relax.add") is not None:
        bias = bias_of(flow.definition(user), conv)
        if bias is not None:
            return user, bias
    return conv, None
