"""The table of decompositions, which the families of this package fill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["TABLE", "decomposition"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

TABLE: dict[Any, Callable[..., Any]] = {}
"""Each function by the operator overload that it stands for."""


def decomposition(*targets: Any) -> Callable[[_Function], _Function]:
    """Register the decorated function for operator overloads.

    Raises:
        ValueError: a target that has a decomposition already.
    """

    def register(function: _Function) -> _Function:
        for target in targets:
            if target in TABLE:
                raise ValueError(f"{target} has a decomposition already")
            TABLE[target] = function
        return function

    return register
