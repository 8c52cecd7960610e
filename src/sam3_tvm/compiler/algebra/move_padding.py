"""Moves padding behind the linear layer that reads it, and cropping ahead of the one it follows.

Where a map isn't a whole number of windows, models pad it with zero rows, project it, attend,
project again and crop. Projected, a row of padding is the bias, whatever the picture:
``linear(pad(x)) = pad(x w) + b``, so that the product is of the map alone. And no row of a product
depends on another: ``crop(linear(x)) = linear(crop(x))``, which leaves the layer next to the
residual that it then takes along. What is left of the padding is the attention, where every row
looks at it.

SAM 3 at 504 pixels, 36 patches in windows of 24: projections of 1296 rows instead of 2304, a sixth
of a windowed layer's operations.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import tvm
from tvm import relax

from sam3_tvm.compiler.graph.dataflow import Dataflow, call_of, shape_of
from sam3_tvm.compiler.graph.linear_patterns import LinearLayer, find_linear_layers
from sam3_tvm.compiler.graph.rewriting import Emit, NewValue, rewrite_bindings
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue

__all__ = ["MovePadding"]

Expr = Any


@tvm.ir.transform.module_pass(opt_level=0, name="MovePadding")
class MovePadding:
    """The pass, before DispatchLinear; after MoveWindows, which leaves padding and cropping next to
    the layers, and after MergeLinears, so that what is padded afterwards is one array."""

    def transform_module(
        self, mod: tvm.IRModule, _ctx: tvm.ir.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite every Relax function of the module."""
        return rewrite_bindings(mod, _find)


def _find(func: relax.Function) -> dict[Expr, NewValue]:
    flow = Dataflow(func)
    found: dict[Expr, NewValue] = {}
    for var, layer in find_linear_layers(flow).items():
        if layer.epilogue not in (Epilogue(), Epilogue(bias=True)):
            continue
        matrix = flow.definition(layer.chain[0]).args[1]
        if (pad := _zero_rows(flow, layer.x)) is not None:
            found[var] = partial(_padded, layer, matrix, pad)
        cropped, crops = _crops(flow, var)
        if crops:
            found[cropped] = partial(_cropped, layer, matrix, crops)
    return found


def _zero_rows(flow: Dataflow, x: Expr) -> Expr | None:
    """The call that pads ``x`` with rows of zeros, if that is what it is."""
    call = call_of(flow.definition(x), "relax.nn.pad")
    if call is None or call.attrs.pad_mode != "constant" or float(call.attrs.pad_value) != 0:
        return None
    widths = [int(n) for n in call.attrs.pad_width]
    return call if any(widths) and not any(widths[-2:]) else None


def _crops(flow: Dataflow, var: Expr) -> tuple[Expr, list[Expr]]:
    """The slices that a value goes through, leaving rows whole, and the variable of the last."""
    crops: list[Expr] = []
    while (user := flow.only_user(var)) is not None:
        call = call_of(flow.definition(user), "relax.strided_slice")
        if call is None or not _keeps_rows(call):
            break
        crops.append(call)
        var = user
    return var, crops


def _keeps_rows(call: Expr) -> bool:
    last = len(shape_of(call.args[0]) or []) - 1
    axes = [int(axis) for axis in call.args[1].fields]
    return all(0 <= axis < last for axis in axes)


def _padded(layer: LinearLayer, matrix: Expr, pad: Expr, emit: Emit) -> Expr:
    product = emit(relax.op.matmul(pad.args[0], matrix))
    padded = relax.op.nn.pad(product, [int(n) for n in pad.attrs.pad_width])
    return padded if layer.bias is None else relax.op.add(emit(padded), layer.bias)


def _cropped(layer: LinearLayer, matrix: Expr, crops: list[Expr], emit: Emit) -> Expr:
    x = layer.x
    for crop in crops:
        x = emit(relax.Call(crop.op, [x, *crop.args[1:]], crop.attrs))
    product = relax.op.matmul(x, matrix)
    return product if layer.bias is None else relax.op.add(emit(product), layer.bias)
