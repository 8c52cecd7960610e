"""Scores, which a model gives as logits, as probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["sigmoid"]


def sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    """Of floating point numbers, in their own precision."""
    with np.errstate(over="ignore"):  # exp of a large number is infinite, and its inverse 0
        y: NDArray[Any] = 1 / (1 + np.exp(-x))
    return y
