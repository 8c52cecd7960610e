"""From the rows of a weight to what is stored of them, written as Relax operators.

The operators depend on parameters alone, so
:func:`~sam3_tvm.compiler.memory.weights.lift_params` moves them to compile time.
"""

from __future__ import annotations

from typing import Any

from tvm import relax

from sam3_tvm.compiler.graph.rewriting import Emit
from sam3_tvm.compiler.kernels.product.bfloat16 import rounding
from sam3_tvm.compiler.kernels.product.layout import PackedLayout
from sam3_tvm.compiler.kernels.product.stored_weights import INT8_MAX, STORED

__all__ = ["pack_weights", "store_rows"]

Expr = Any

# Below any weight that matters: a row of zeros gets a scale that is no zero to divide by.
_SMALLEST = 1e-30


def pack_weights(emit: Emit, layout: PackedLayout, rows: Expr, zero: int = 0) -> list[Expr]:
    """A kernel's arguments for the float32 matrix [N, K]: packed as it reads them, and for int8 the
    scales of whole panels of rows.

    Args:
        emit: binds an expression to a variable.
        layout: how the kernel reads them.
        rows: the matrix.
        zero: what stands for a zero of the activations; where it isn't 0, what that adds to the sum
            of an output follows, int32.
    """
    stored, scale = store_rows(emit, layout.padded(emit, rows), layout.dtype)
    packed = layout.packed(emit, stored)
    arguments = [packed] if scale is None else [packed, scale]
    if zero:
        sums = emit(relax.op.sum(emit(relax.op.astype(stored, "int32")), axis=[1]))
        arguments.append(emit(relax.op.multiply(sums, relax.const(zero, "int32"))))
    return arguments


def store_rows(emit: Emit, rows: Expr, weights: str) -> tuple[Expr, Expr | None]:
    """The rows of a float32 matrix as they are stored.

    Args:
        emit: binds an expression to a variable.
        rows: [N, K], a row per output channel.
        weights: the precision, ``"float32"``, ``"float16"`` or ``"bfloat16"`` (rounded to nearest
            even), or ``"int8"``: each row in units of its largest magnitude / 127, rounded to
            nearest.

    Returns:
        The matrix [N, K], and for int8 the float32 unit of every row [N], else None.
    """
    op = relax.op
    if weights == "float32":
        return rows, None
    if weights == "float16":
        return emit(op.astype(rows, "float16")), None
    if weights == "bfloat16":
        kernel = emit.kernel("round_to_bfloat16", rounding())
        bits = relax.TensorType(rows.ty.shape, STORED[weights])
        return emit(relax.call_tir(kernel, [rows], bits)), None
    largest = emit(op.max(emit(op.abs(rows)), axis=[1], keepdims=True))
    largest = emit(op.maximum(largest, relax.const(_SMALLEST, "float32")))
    scale = emit(op.divide(largest, relax.const(float(INT8_MAX), "float32")))
    steps = emit(op.round(emit(op.divide(rows, scale))))
    # The quotient's rounding could leave 127 + an ulp, never a step more: no clipping needed.
    return emit(op.astype(steps, "int8")), emit(op.reshape(scale, (rows.ty.shape[0],)))
