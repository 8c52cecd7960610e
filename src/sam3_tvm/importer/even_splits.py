"""Parts of equal size of an axis whose size varies.

``cat([x, y]).split(len_of_x)`` has two parts whatever the sizes are. torch.export finds the number
of parts by a division that rounds up, can't see that it is exact, and fixes the size.
"""

from __future__ import annotations

from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
from torch.overrides import TorchFunctionMode

__all__ = ["EvenSplits"]

_SPLITS = frozenset({torch.Tensor.split, torch.split})
_CHUNKS = frozenset({torch.Tensor.chunk, torch.chunk})


class EvenSplits(TorchFunctionMode):
    """The scope in which ``split`` and ``chunk`` name the size of every part, where the parts of
    a varying axis are provably equal."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _SPLITS or func in _CHUNKS:
            sizes = _sizes(func in _CHUNKS, *args, **kwargs)
            if sizes is not None:
                dim = args[2] if len(args) > 2 else kwargs.get("dim", 0)
                return torch.split(args[0], sizes, dim)
        return func(*args, **kwargs)


def _sizes(
    chunks: bool, tensor: torch.Tensor, *given: Any, dim: int = 0, **named: Any
) -> list[Any] | None:
    """The size of each part, None unless they are equal, many or few as the axis varies."""
    wanted = [*given, *named.values()][0]
    dim = given[1] if len(given) > 1 else dim
    whole = tensor.shape[dim]
    if not isinstance(whole, torch.SymInt) or isinstance(wanted, list | tuple):
        return None
    part = sympy.cancel(_expression(whole) / _expression(wanted))
    if chunks:
        return [whole // wanted] * wanted if part.is_integer else None
    return [wanted] * int(part) if part.is_Integer and part > 0 else None


def _expression(size: Any) -> sympy.Expr:
    return size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)
