"""How far results are from PyTorch's in float32, and which of two engines is the more exact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["OFF", "ROUNDING", "SLACK", "Error", "largest", "relative_error"]

OFF = 0.1
"""The rms error beyond which a result is *off*: no rounding of a sound engine comes that far on
SAM 3. Eight bits for weights and activations come to 0.04, a wrong layout or a swapped argument to
the size of the values."""

ROUNDING = 1e-5
"""The rms error up to which all are equally exact: what the order of additions makes in float32."""

SLACK = 1.1
"""How many times as large an error may be and still count as no larger: what another seed makes."""

_TINY = 1e-30


@dataclass(frozen=True)
class Error:
    """The error of a result.

    Attributes:
        rms: root mean square of the differences, relative to that of the reference's values.
        largest: largest difference, relative to the reference's largest value.

    Both are the share that differs of booleans, infinite where shapes differ, and NaN where a value
    is.
    """

    rms: float
    largest: float

    @property
    def off(self) -> bool:
        """Whether the result is something else rather than less exact."""
        # Written so that NaN is off.
        return not self.rms <= OFF

    def at_least_as_exact_as(self, other: Error) -> bool:
        """Whether an engine with this error may stand for one with the other error."""
        return self.rms <= max(ROUNDING, SLACK * other.rms)

    def __str__(self) -> str:
        return f"{self.rms:.1e}"


def relative_error(got: NDArray[np.generic], wanted: NDArray[np.generic]) -> Error:
    """The error of one array."""
    if got.shape != wanted.shape:
        return Error(float("inf"), float("inf"))
    if wanted.size == 0:
        return Error(0.0, 0.0)
    if wanted.dtype == np.bool_:
        share = float(np.mean(got != wanted))
        return Error(share, share)
    reference = wanted.astype(np.float64)
    difference = np.abs(got.astype(np.float64) - reference)
    return Error(
        float(_rms(difference) / max(_rms(reference), _TINY)),
        float(difference.max() / max(float(np.abs(reference).max()), _TINY)),
    )


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def largest(errors: Iterable[Error]) -> Error:
    """The largest of each, NaN if one is; no error of nothing."""
    pairs = [(error.rms, error.largest) for error in errors]
    # NumPy's maximum, for which NaN is larger than anything.
    rms, most = np.max(np.array(pairs).reshape(-1, 2), axis=0, initial=0.0)
    return Error(float(rms), float(most))
