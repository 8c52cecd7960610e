"""The products of a torch module with its parameters, whatever calls them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Product", "WeightProducts"]

_ADDMM, _MM = torch.ops.aten.addmm.default, torch.ops.aten.mm.default


@dataclass(frozen=True)
class Product:
    """``x @ weight.T + bias`` with a parameter.

    Attributes:
        name: the parameter's; of a part of its rows with these, ``in_proj_weight[0:256]``.
        x: float32 [M, K].
        weight: float32 [N, K], which may be a view.
        bias: float32 [N], or None.
    """

    name: str
    x: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""
        outputs, inputs = self.weight.shape
        return outputs, inputs

    def with_bias(self, product: torch.Tensor) -> torch.Tensor:
        """``product`` and the bias."""
        return product if self.bias is None else product + self.bias

    def exact(self) -> torch.Tensor:
        """The result in float32."""
        if self.bias is None:
            return torch.mm(self.x, self.weight.t())
        return torch.addmm(self.bias, self.x, self.weight.t())


class WeightProducts(TorchDispatchMode):
    """A scope in which ``answer`` gives the result of every product of a module's parameters.

    Below modules and functions, where ``nn.Linear``, ``nn.MultiheadAttention`` and ``x @ w`` are
    all the same two operators.

    Args:
        module: whose parameters are meant.
        answer: from a product to its result, float32 [M, N].
    """

    def __init__(self, module: torch.nn.Module, answer: Callable[[Product], torch.Tensor]) -> None:
        super().__init__()
        matrices = [(p.data_ptr(), p, n) for n, p in module.named_parameters() if p.ndim == 2]
        self._parameters: list[tuple[int, torch.Tensor, str]] = sorted(
            matrices, key=lambda entry: entry[0]
        )
        self._places = [place for place, _, _ in self._parameters]
        self._answer = answer

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in (_ADDMM, _MM) and not kwargs:
            x, columns = args[-2:]
            name = self._name(columns)
            if name is not None:
                bias = args[0] if func is _ADDMM else None
                return self._answer(Product(name, x, columns.t(), bias))
        return func(*args, **(kwargs or {}))

    def _name(self, columns: torch.Tensor) -> str | None:
        at = bisect_right(self._places, columns.data_ptr()) - 1
        if at < 0:
            return None
        place, parameter, name = self._parameters[at]
        offset = columns.data_ptr() - place
        if offset >= parameter.nbytes:
            return None
        if columns.numel() == parameter.numel():
            return name
        first = offset // (parameter.element_size() * parameter.shape[1])
        return f"{name}[{first}:{first + columns.shape[1]}]"
