"""What torch's own decompositions lack: operators as compositions of simpler ones.

A decomposition is a function of the operator's arguments that is written with torch itself and
traced, so that it holds for symbolic sizes and can be read as a formula::

    @decomposition(aten.hypot.default)
    def hypot(self: Tensor, other: Tensor) -> Tensor: ...

One that can't take its arguments returns ``NotImplemented``; the operator then stays in the
graph and is refused with the others that have no converter.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["decomposition", "table"]

_FAMILIES = ("elementwise", "ordering", "indexing", "products")

_Function = TypeVar("_Function", bound=Callable[..., Any])
_TABLE: dict[Any, Callable[..., Any]] = {}


def decomposition(*targets: Any) -> Callable[[_Function], _Function]:
    """Register the decorated function for operator overloads.

    Raises:
        ValueError: a target that has a decomposition already.
    """

    def register(function: _Function) -> _Function:
        for target in targets:
            if target in _TABLE:
                raise ValueError(f"{target} has a decomposition already")
            _TABLE[target] = function
        return function

    return register


def table() -> dict[Any, Callable[..., Any]]:
    """Every decomposition of this package by operator overload."""
    for family in _FAMILIES:
        importlib.import_module(f"{__name__}.{family}")
    return dict(_TABLE)
