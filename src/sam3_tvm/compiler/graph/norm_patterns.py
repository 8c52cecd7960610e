"""Which values are layer norms that a kernel takes."""

from __future__ import annotations

from typing import Any

from sam3_tvm.compiler.graph.dataflow import call_of, float32_shape_of, static_int

__all__ = ["is_layer_norm"]

Expr = Any


def is_layer_norm(value: Expr) -> bool:
    """Whether a value is a float32 ``relax.nn.layer_norm`` with scale and shift over the last axis,
    whose size is known."""
    if call_of(value, "relax.nn.layer_norm") is None:
        return False
    shape, attrs = float32_shape_of(value.args[0]), value.attrs
    return (
        shape is not None
        and [int(a) % len(shape) for a in attrs.axes] == [len(shape) - 1]
        and bool(static_int(shape[-1]))
        and bool(attrs.center)
        and bool(attrs.scale)
    )
