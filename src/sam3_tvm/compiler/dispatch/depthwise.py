"""Convolutions of every channel by itself become calls of our kernel; a bias joins them.

Handled are ``relax.nn.conv2d`` on NCHW in float32 with as many groups as channels of both sides, of
stride 1, whose channel fits a core's cache. Whatever else has groups stays as it is, for
``LegalizeOps``. Weights stay in float32, whatever the function's arithmetic: there are a few
thousand of them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import tvm
from tvm import relax

from sam3_tvm.compiler.graph.conv_patterns import bias_of, is_depthwise, shape_of_conv
from sam3_tvm.compiler.graph.dataflow import Dataflow
from sam3_tvm.compiler.graph.rewriting import Emit, NewValue, rewrite_bindings
from sam3_tvm.compiler.kernels.conv.depthwise import (
    depthwise_fits,
    depthwise_kernel,
    depthwise_name,
)
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["DispatchDepthwise"]

Expr = Any


@tvm.transform.module_pass(opt_level=0, name="DispatchDepthwise")
class DispatchDepthwise:
    """Replaces the depthwise convolutions of every Relax function.

    Args:
        target: the CPU that the kernels are for.
    """

    def __init__(self, target: CpuTarget) -> None:
        self.target = target

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Return ``mod`` with kernels for its depthwise convolutions."""
        return rewrite_bindings(mod, self._find)

    def _find(self, func: relax.Function) -> dict[Expr, NewValue]:
        flow = Dataflow(func)
        found: dict[Expr, NewValue] = {}
        for binding in flow.bindings:
            conv = binding.value
            if not is_depthwise(conv) or not depthwise_fits(self.target, shape_of_conv(conv)):
                continue
            user = flow.only_user(binding.var)
            bias = None if user is None else bias_of(flow.definition(user), binding.var)
            end = binding.var if bias is None else user
            found[end] = partial(self._call, conv, bias)
        return found

    def _call(self, conv: Expr, bias: Expr | None, emit: Emit) -> Expr:
        shape, op = shape_of_conv(conv), relax.op
        x, weight = conv.args
        channels = shape.in_channels
        operands = [x, emit(op.reshape(weight, (channels, shape.taps)))]
        if bias is not None:
            operands.append(emit(op.reshape(bias, (channels,))))
        made = emit.kernel(
            depthwise_name(shape, bias is not None),
            depthwise_kernel(self.target, shape, bias is not None),
        )
        out = (x.ty.shape[0], channels, shape.out_height, shape.out_width)
        return relax.call_tir(made, operands, relax.TensorType(out, "float32"))
