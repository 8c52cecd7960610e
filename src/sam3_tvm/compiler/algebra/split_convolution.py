"""Parts a convolution of a sum into what the prompt decides and what the picture alone does.

A convolution is linear: ``conv(a + b) + bias = conv(a) + (conv(b) + bias)``. That is worth it
where a is a picture that was upsampled by 2, whose convolution has a kernel that takes a quarter
of the work (:mod:`~sam3_tvm.compiler.kernels.conv.upsampled`), and b depends on the picture alone
while a does not: SplitStages, which runs afterwards, moves the second half to where it is
computed once per picture. In SAM 3 those are the skip connections of the mask decoder.
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
    is_doubling,
    is_same_3x3,
    residual_of,
    shape_of_conv,
)
from sam3_tvm.compiler.graph.dataflow import Dataflow, call_of
from sam3_tvm.compiler.graph.rewriting import Emit, NewValue, rewrite_bindings
from sam3_tvm.compiler.graph.stages import image_values

__all__ = ["SplitConvolution"]

Expr = Any


@tvm.transform.module_pass(opt_level=0, name="SplitConvolution")
class SplitConvolution:
    """The pass; functions say which inputs are the picture's by their attribute
    ``image_inputs``."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite every Relax function of the module."""
        return rewrite_bindings(mod, _find)


@dataclass
class _Sum:
    """``conv(upsampled + skip) + bias``."""

    conv: Expr
    upsampled: Expr
    skip: Expr
    bias: Expr | None

    def __call__(self, emit: Emit) -> Expr:
        def convolved(x: Expr) -> Expr:
            return emit(relax.Call(self.conv.op, [x, self.conv.args[1]], self.conv.attrs))

        skip = convolved(self.skip)
        if self.bias is not None:
            skip = emit(relax.op.add(skip, self.bias))
        return relax.op.add(convolved(self.upsampled), skip)


def _find(func: relax.Function) -> Mapping[Expr, NewValue]:
    flow, known = Dataflow(func), image_values(func)
    found: dict[Expr, NewValue] = {}
    for binding in flow.bindings:
        conv = binding.value
        parts = _parts(flow, conv, known)
        if parts is None:
            continue
        end, bias = binding.var, None
        user = flow.only_user(end)
        if user is not None:
            bias = bias_of(flow.definition(user), end)
            # A bias that isn't known once per picture would keep the skip half from being so.
            if bias is not None and (flow.is_offline(bias) or bias in known):
                end = user
            else:
                bias = None
        found[end] = _Sum(conv, *parts, bias)
    return found


def _parts(flow: Dataflow, conv: Expr, known: set[Expr]) -> tuple[Expr, Expr] | None:
    """The upsampled summand of a convolution's input, and the one that is known per picture."""
    if not is_convolution(conv) or not is_same_3x3(shape_of_conv(conv)):
        return None
    total = conv.args[0]
    if call_of(flow.definition(total), "relax.add") is None or flow.only_user(total) is None:
        return None
    for part in flow.definition(total).args:
        resize = call_of(flow.definition(part), "relax.image.resize2d")
        if resize is None or not is_doubling(resize) or flow.only_user(part) is None:
            continue
        skip = residual_of(flow.definition(total), part)
        if skip in known and part not in known:
            return part, skip
    return None
