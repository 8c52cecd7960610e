"""What the families of this package share: extents and dtypes of Relax expressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm_ffi
from tvm import relax, tirx

from sam3_tvm.importer.registry import Context

__all__ = [
    "HALF",
    "accumulator",
    "broadcast",
    "cast",
    "dtype_of",
    "extents",
    "is_one",
    "product",
    "same_shape",
]

HALF = ("float16", "bfloat16")
"""Dtypes in which PyTorch stores values but doesn't sum them."""


def dtype_of(x: relax.Expr) -> str:
    """The element dtype of a tensor expression."""
    return str(x.ty.dtype.dtype)


def extents(x: relax.Expr) -> list[Any]:
    """The shape of a tensor: an int where it is static, else a TIR expression.

    Raises:
        ValueError: the shape isn't known, as after an operator whose result size depends on data.
    """
    if not isinstance(x.ty.shape, relax.ShapeExpr):
        raise ValueError(f"{x} has no known shape, its size depends on data")
    return [int(e) if isinstance(e, tirx.IntImm) else e for e in x.ty.shape.values]


def is_one(extent: Any) -> bool:
    """Whether an extent is the static 1 that broadcasts."""
    return isinstance(extent, int) and extent == 1


def product(sizes: Sequence[Any]) -> Any:
    """The product of extents; 1 for none."""
    total: Any = 1
    for size in sizes:
        total = total * size
    return total


def same_shape(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Whether two shapes are the same expression, extent by extent."""
    return bool(tvm_ffi.structural_equal(relax.ShapeExpr(list(a)), relax.ShapeExpr(list(b))))


def accumulator(dtype: str) -> str:
    """The dtype in which sums over values of ``dtype`` are formed.

    PyTorch's CPU kernels add half-precision products in float32 and round once; Relax
    would round after every addition (256 + 1 is 256 in bfloat16).
    """
    return "float32" if dtype in HALF else dtype


def cast(cx: Context, x: relax.Expr, dtype: str) -> relax.Expr:
    """``x`` as ``dtype``; ``x`` itself where it is that already."""
    return x if dtype_of(x) == dtype else cx.emit(relax.op.astype(x, dtype))


def broadcast(cx: Context, x: relax.Expr, shape: Sequence[Any]) -> relax.Expr:
    """``x`` with its static ones, and missing leading dimensions, expanded to ``shape``."""
    have = extents(x)
    fits = len(have) == len(shape) and all(
        is_one(b) or not is_one(a) for a, b in zip(have, shape, strict=True)
    )
    return x if fits else cx.emit(relax.op.broadcast_to(x, relax.ShapeExpr(list(shape))))
