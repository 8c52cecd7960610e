"""What kernels do to finished sums before they store them, for linear layers and convolutions."""

from __future__ import annotations

from dataclasses import dataclass

from sam3_tvm.compiler.kernels.emit import Expr, bind, tensor
from sam3_tvm.compiler.kernels.vector_math import gelu, relu

__all__ = ["ACTIVATIONS", "Epilogue"]

ACTIVATIONS = {"gelu": gelu, "relu": relu}


@dataclass(frozen=True)
class Epilogue:
    """``activation(scale * sum + bias + residual)``, or with the residual behind the activation.

    Attributes:
        bias: a value per output channel is added.
        activation: a key of :data:`ACTIVATIONS`, or None.
        residual: an array of the result's shape is added ``"before"`` the activation or
            ``"after"`` it; None if none is.
    """

    bias: bool = False
    activation: str | None = None
    residual: str | None = None

    def __post_init__(self) -> None:
        if self.residual not in (None, "before", "after"):
            raise ValueError(f"residual is before or after the activation, not {self.residual!r}")

    def __str__(self) -> str:
        """What the names of kernels say of it: its parts in their order, a ``_`` before each."""
        parts = ("bias" if self.bias else None, self._residual("before"), self.activation)
        return "".join(f"_{part}" for part in (*parts, self._residual("after")) if part)

    def _residual(self, place: str) -> str | None:
        return "residual" if self.residual == place else None

    def arguments(
        self, channels: int, result: tuple[Expr | int, ...]
    ) -> tuple[Expr | None, Expr | None]:
        """The kernel's next tensor arguments, float32: the bias of ``channels`` values, then the
        residual of the result's shape; None for what isn't there."""
        bias = tensor("bias", (channels,)) if self.bias else None
        return bias, tensor("residual", result) if self.residual else None

    def apply(
        self,
        value: Expr,
        lanes: int,
        *,
        scale: Expr | None = None,
        bias: Expr | None = None,
        residual: Expr | None = None,
    ) -> Expr:
        """What is stored for a vector of sums.

        Args:
            value: the sums.
            lanes: how many.
            scale: vector that multiplies them; or None.
            bias: vector of what is added then; or None.
            residual: vector of the other array; None where the epilogue has none.
        """
        if scale is not None:
            value = value * scale
        if bias is not None:
            value = value + bias
        if self.residual == "before":
            value = value + residual
        if self.activation is not None:
            value = ACTIVATIONS[self.activation](bind(value), lanes)
        if self.residual == "after":
            value = value + residual
        return value
