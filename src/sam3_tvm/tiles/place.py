"""Where on the earth a picture lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Place"]


@dataclass(frozen=True)
class Place:
    """A coordinate system, and the way to it from a picture's pixels.

    Attributes:
        crs: such as ``EPSG:32633``; where a system has no such number, its description in WKT.
        transform: a, b, c, d, e, f: a pixel's corner x, y is at a x + b y + c, d x + e y + f.
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]

    def of(self, corners: NDArray[np.int32]) -> NDArray[np.float64]:
        """Corners x, y in pixels, [K, 2], in the coordinate system."""
        a, b, c, d, e, f = self.transform
        x, y = corners.astype(np.float64).T
        return np.stack([a * x + b * y + c, d * x + e * y + f], 1)
