"""The table of decompositions, which the families of this package fill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch

__all__ = ["TABLE", "decomposition", "present"]

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


def present(*names: str) -> Iterator[Any]:
    """Those of aten's overloads that the installed torch has: releases take some away."""
    for name in names:
        operator, _, overload = name.partition(".")
        packet = getattr(torch.ops.aten, operator, None)
        if packet is not None and overload in packet.overloads():
            yield getattr(packet, overload)
