"""Projects the few rows that meet every pixel, rather than every pixel.

Scores of pixels, ``m [B, Q, C'] @ pixels [B, C', P]`` where the pixels are a 1 x 1 convolution
``W x + b`` of x [B, C, P], are

    m (W x + b) = (m W) x + m b

which takes Q C (C' + P) multiply-adds for C' P (C + Q): C' C P fewer, but for Q C' C, where C is
C'. The masks of SAM 3 are such scores: Q queries of at most 200, P of 82944 pixels. Where Q is
symbolic it is taken to be below P.
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
    shape_of_conv,
)
from sam3_tvm.compiler.graph.dataflow import Dataflow, call_of, float32_shape_of, static_int
from sam3_tvm.compiler.graph.rewriting import Emit, NewValue, rewrite_bindings

__all__ = ["FoldProjection"]

Expr = Any


@tvm.transform.module_pass(opt_level=0, name="FoldProjection")
class FoldProjection:
    """The pass. A projection that anything else reads too, or whose weights are no parameters,
    stays."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite every Relax function of the module."""
        return rewrite_bindings(mod, _find)


@dataclass
class _Scores:
    """``left @ reshape(conv1x1(x, weight) + bias)``."""

    left: Expr
    x: Expr
    weight: Expr
    bias: Expr | None
    channels: tuple[int, int]
    shape: list[Expr]

    def __call__(self, emit: Emit) -> Expr:
        op, (given, projected) = relax.op, self.channels
        batch, _, pixels = self.shape
        weight = emit(op.reshape(self.weight, (projected, given)))
        left = emit(op.matmul(self.left, weight))
        scores = op.matmul(left, emit(op.reshape(self.x, (batch, given, pixels))))
        if self.bias is None:
            return scores
        bias = emit(op.reshape(self.bias, (projected, 1)))
        return op.add(emit(scores), emit(op.matmul(self.left, bias)))


def _find(func: relax.Function) -> Mapping[Expr, NewValue]:
    flow = Dataflow(func)
    found = {}
    for binding in flow.bindings:
        scores = _match(flow, binding)
        if scores is not None:
            found[binding.var] = scores
    return found


def _match(flow: Dataflow, binding: Expr) -> _Scores | None:
    product = call_of(binding.value, "relax.matmul")
    if product is None or float32_shape_of(binding.var) is None:
        return None
    left, right = product.args
    rows = float32_shape_of(left)
    flat = call_of(flow.definition(right), "relax.reshape")
    if rows is None or len(rows) != 3 or flat is None or flow.only_user(right) is None:
        return None
    projection = _projection(flow, flat.args[0])
    if projection is None:
        return None
    conv, bias = projection
    shape = shape_of_conv(conv)
    offline = [conv.args[1]] if bias is None else [conv.args[1], bias]
    sizes = float32_shape_of(right) or []
    if (
        not is_pointwise(shape)
        or not all(map(flow.is_offline, offline))
        or len(sizes) != 3
        or static_int(sizes[1]) != shape.out_channels
        or static_int(sizes[2]) != shape.height * shape.width
        or not _pays(static_int(rows[1]), shape.in_channels, shape.out_channels, sizes[2])
    ):
        return None
    channels = (shape.in_channels, shape.out_channels)
    return _Scores(left, conv.args[0], conv.args[1], bias, channels, sizes)


def _projection(flow: Dataflow, pixels: Expr) -> tuple[Expr, Expr | None] | None:
    """The convolution that makes the pixels, and the bias that is added to it, if nothing else
    reads them."""
    value = flow.definition(pixels)
    if flow.only_user(pixels) is None:
        return None
    if is_convolution(value):
        return value, None
    if call_of(value, "relax.add") is not None:
        for conv in value.args:
            if is_convolution(flow.definition(conv)) and flow.only_user(conv) is not None:
                bias = bias_of(value, conv)
                return None if bias is None else (flow.definition(conv), bias)
    return None


def _pays(rows: int | None, given: int, projected: int, pixels: Expr) -> bool:
    """Whether projecting the rows takes fewer multiply-adds than projecting the pixels."""
    count = int(static_int(pixels) or 0)
    if rows is None:
        return given <= projected
    return rows * given * (projected + count) < projected * count * (given + rows)
