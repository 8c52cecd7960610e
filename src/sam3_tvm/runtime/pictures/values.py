"""Equality of what holds arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["PlainValue", "same"]


def same(a: Any, b: Any) -> bool:
    """Whether two values are the same: arrays by dtype, shape and elements, NaN equal to NaN;
    sequences and mappings by what they hold; anything else by ``==``."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)) or a.dtype != b.dtype:
            return False
        return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, Sequence) and isinstance(b, Sequence) and not isinstance(a, str | bytes):
        return len(a) == len(b) and all(map(same, a, b))
    # What is not equal to itself, a NaN, is the same as another.
    return bool(a == b) or bool(a != a and b != b)


class PlainValue:
    """Equal to another of its class that holds the same, by :func:`same`.

    So it has no hash, as lists and arrays have none: what it holds can be written to, and would
    be another value then. Where the object itself is meant, go by ``id(value)``.
    """

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return same(vars(self), vars(other))
