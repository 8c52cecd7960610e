"""What convolution kernels do to finished sums, and how they store them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tvm import tirx

from sam3_tvm.compiler.kernels.emit import Expr, bind, splat
from sam3_tvm.compiler.kernels.vector_math import gelu, relu

__all__ = ["ACTIVATIONS", "ConvEpilogue", "finish", "interleaved"]

ACTIVATIONS = {"gelu": gelu, "relu": relu}


@dataclass(frozen=True)
class ConvEpilogue:
    """What is done to the sums before they are stored, in this order.

    Attributes:
        bias: a value per output channel is added.
        residual: an array of the result's shape is added.
        activation: a key of :data:`ACTIVATIONS`, or None.
    """

    bias: bool = False
    activation: str | None = None
    residual: bool = False

    def __str__(self) -> str:
        parts = ["bias" if self.bias else "", "residual" if self.residual else ""]
        return "".join(f"_{part}" for part in [*parts, self.activation] if part)


def finish(
    value: Expr, shift: Expr | None, residual: Expr | None, epilogue: ConvEpilogue, lanes: int
) -> Expr:
    """The epilogue on a vector of sums.

    Args:
        value: the sums.
        shift: the channel's bias, a scalar; or None.
        residual: what is added to these sums; or None.
        epilogue: says which activation follows.
        lanes: values in the vector.
    """
    if shift is not None:
        value = value + splat(shift, lanes)
    if residual is not None:
        value = value + residual
    if epilogue.activation is not None:
        value = ACTIVATIONS[epilogue.activation](bind(value), lanes)
    return value


def interleaved(pair: list[Expr], lanes: int) -> Iterator[tuple[Expr, int, int]]:
    """Two vectors as one with the values of both in turn: ``(vector, first index, its lanes)``,
    twice where ``lanes`` is 1."""
    if lanes == 1:
        yield from ((value, side, 1) for side, value in enumerate(pair))
        return
    order = [lane + side for lane in range(lanes) for side in (0, lanes)]
    yield tirx.Shuffle(pair, [tirx.const(i, "int32") for i in order]), 0, 2 * lanes
