"""Layer norms whose result linear layers read, and nothing else.

Of such a norm a factor of each channel can move into the layers: ``norm(x) / s`` is the norm with
its scale and shift divided by s, and ``W (s * y)`` the layer with the columns of its weight
multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import relax

from sam3_tvm.compiler.graph.dataflow import Dataflow, call_of, shape_of, static_int

__all__ = ["NormReaders", "find_norm_readers"]

Expr = Any


@dataclass(frozen=True)
class NormReaders:
    """A norm over the last axis, of K channels.

    Attributes:
        scale, shift: its parameters, [K].
        weights: of the layers, parameters of two axes; each with the axis of its K inputs.
    """

    scale: Expr
    shift: Expr
    weights: tuple[tuple[Expr, int], ...]


def find_norm_readers(func: relax.Function) -> list[NormReaders]:
    """The norms of a function whose parameters, and those of all that reads them, are used once."""
    flow = Dataflow(func)
    parameters = set(list(func.params)[int(func.attrs["num_input"]) :])

    def is_own(expr: Expr) -> bool:
        return expr in parameters and flow.uses(expr) == 1

    found = []
    for binding in flow.bindings:
        norm = call_of(binding.value, "relax.nn.layer_norm")
        if norm is None or not all(map(is_own, norm.args[1:])):
            continue
        ndim = len(shape_of(binding.var) or [])
        last = [int(axis) % max(ndim, 1) for axis in norm.attrs.axes] == [ndim - 1]
        if not (last and norm.attrs.center and norm.attrs.scale):
            continue
        weights = _readers(flow, binding.var)
        if weights and all(is_own(weight) for weight, _ in weights):
            found.append(NormReaders(norm.args[1], norm.args[2], tuple(weights)))
    return found


def _readers(flow: Dataflow, var: Expr) -> list[tuple[Expr, int]] | None:
    """The weights of all layers that read a value, through views that keep channels together; None
    where something else reads it."""
    found: list[tuple[Expr, int]] = []
    for user in flow.users(var):
        call = None if user is None else flow.definition(user)
        weight = None if call is None else _weight(flow, call, var)
        if weight is not None:
            found.append(weight)
        elif call is not None and _keeps_channels(call, var):
            behind = _readers(flow, user)
            if behind is None:
                return None
            found += behind
        else:
            return None
    return found


def _weight(flow: Dataflow, call: Expr, x: Expr) -> tuple[Expr, int] | None:
    """The weight that ``x`` is multiplied by, and the axis of its inputs."""
    product = call_of(call, "relax.matmul")
    if product is None or product.args[0] != x or len(shape_of(product.args[1]) or []) != 2:
        return None
    permute = call_of(flow.definition(product.args[1]), "relax.permute_dims")
    if permute is None:
        return flow.root(product.args[1]), 0
    # Of two axes the only permutation but the identity, which nobody writes; see linear_patterns.
    axes = permute.attrs.axes
    swapped = axes is None or [int(a) for a in axes] == [1, 0]
    return (flow.root(permute.args[0]), 1) if swapped else None


def _keeps_channels(call: Expr, x: Expr) -> bool:
    """Whether a value has the rows of ``x``, in whatever order, and rows of zeros at most."""
    before, after = shape_of(x) or [], shape_of(call) or []
    if not before or not after or call.args[0] != x:
        return False
    if static_int(before[-1]) is None or static_int(before[-1]) != static_int(after[-1]):
        return False
    if call_of(call, "relax.reshape") is not None:
        return True
    if call_of(call, "relax.permute_dims") is not None:
        axes = call.attrs.axes
        return axes is not None and int(axes[-1]) == len(before) - 1
    if call_of(call, "relax.nn.pad") is not None:
        pads = [int(p) for p in call.attrs.pad_width]
        plain = f"{call.attrs.pad_mode}" == "constant" and float(call.attrs.pad_value) == 0
        return plain and pads[-2:] == [0, 0]
    return False
