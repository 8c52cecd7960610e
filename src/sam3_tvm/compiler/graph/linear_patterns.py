"""Which products of a function are linear layers, and what follows them.

A linear layer is ``matmul(x, permute_dims(w))`` with a float32 weight that depends on the
parameters alone (``matmul(x, w)`` counts too), and takes along, where each is the only user of
what comes before it: the add of a parameter vector, GELU or ReLU, the add of an array of the
result's shape.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from sam3_tvm.compiler.graph.dataflow import (
    Dataflow,
    activation_of,
    call_of,
    float32_shape_of,
    same_shape,
    shape_of,
    static_int,
)
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue

__all__ = ["LinearLayer", "find_linear_layers"]

Expr = Any


@dataclass
class LinearLayer:
    """One match. ``weight`` is [N, K] where ``transposed``, else [K, N]; ``chain`` is every
    variable that the kernel replaces, the last being the one that it defines."""

    x: Expr
    weight: Expr
    transposed: bool
    n: int
    k: int
    bias: Expr | None = None
    residual: Expr | None = None
    epilogue: Epilogue = field(default_factory=Epilogue)
    chain: list[Expr] = field(default_factory=list)


def find_linear_layers(flow: Dataflow) -> dict[Expr, LinearLayer]:
    """The linear layers of a function, each under the variable that it defines."""
    found: dict[Expr, LinearLayer] = {}
    claimed: set[Expr] = set()
    for binding in flow.bindings:
        layer = _match_product(flow, binding)
        if layer is not None:
            _extend(flow, layer, claimed)
            claimed.update(layer.chain)
            found[layer.chain[-1]] = layer
    return found


def _match_product(flow: Dataflow, binding: Expr) -> LinearLayer | None:
    call = call_of(binding.value, "relax.matmul")
    if call is None or float32_shape_of(binding.var) is None:
        return None
    x, weight = call.args
    x_shape, w_shape = float32_shape_of(x), float32_shape_of(weight)
    if not x_shape or w_shape is None or len(w_shape) != 2:
        return None
    if flow.is_offline(x) or not flow.is_offline(weight):
        return None
    k, n = map(static_int, w_shape)
    if k is None or n is None or k == 0 or n == 0:
        return None
    permute = call_of(flow.definition(weight), "relax.permute_dims")
    if permute is not None:
        # Of two axes the only permutation but the identity, which nobody writes.
        axes = permute.attrs.axes
        if axes is None or [int(a) for a in axes] == [1, 0]:
            return LinearLayer(x, permute.args[0], True, n, k, chain=[binding.var])
    return LinearLayer(x, weight, False, n, k, chain=[binding.var])


def _extend(flow: Dataflow, layer: LinearLayer, claimed: set[Expr]) -> None:
    """Take along what follows the product, as far as the kernel's epilogue goes."""
    shape = shape_of(layer.chain[0])
    while layer.residual is None:
        last = layer.chain[-1]
        user = flow.only_user(last)
        if user is None or user in claimed:
            return
        call = flow.definition(user)
        activation = activation_of(call)
        if activation is not None:
            if layer.epilogue.activation is not None:
                return
            layer.epilogue = replace(layer.epilogue, activation=activation)
        elif call_of(call, "relax.add") is not None:
            other = call.args[1] if call.args[0] == last else call.args[0]
            other_shape = float32_shape_of(other)
            if other_shape is None:
                return
            plain = layer.epilogue == Epilogue()
            if plain and flow.is_offline(other) and _is_vector(other_shape, layer.n):
                layer.bias = other
                layer.epilogue = replace(layer.epilogue, bias=True)
            elif same_shape(other_shape, shape or []):
                layer.residual = other
                layer.epilogue = replace(layer.epilogue, residual="after")
            else:
                return
        else:
            return
        layer.chain.append(user)


def _is_vector(shape: list[Expr], n: int) -> bool:
    """Whether a tensor is [n], or that with leading axes of size 1."""
    sizes = [static_int(d) for d in shape]
    return bool(sizes) and sizes[-1] == n and all(s == 1 for s in sizes[:-1])
