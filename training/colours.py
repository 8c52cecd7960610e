"""Colours with a name, and how far apart two colours look."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLOURS", "difference", "draw_colour", "lab", "typical"]

# Name: lowest and highest hue in degrees, saturation and value. Between two names lies a gap
# in at least one of the three, so that no colour is on the border of two names.
_RANGES: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-7, 6), (0.82, 1.0), (0.74, 0.95)),
    "orange": ((25, 34), (0.88, 1.0), (0.92, 1.0)),
    "yellow": ((50, 58), (0.80, 1.0), (0.92, 1.0)),
    "green": ((105, 142), (0.65, 1.0), (0.45, 0.75)),
    "cyan": ((178, 190), (0.70, 1.0), (0.82, 1.0)),
    "blue": ((216, 234), (0.78, 1.0), (0.68, 0.95)),
    "purple": ((270, 286), (0.62, 0.90), (0.48, 0.70)),
    "pink": ((322, 342), (0.38, 0.58), (0.93, 1.0)),
    "brown": ((20, 28), (0.62, 0.85), (0.36, 0.50)),
    "black": ((0, 360), (0.0, 0.2), (0.0, 0.10)),
    "white": ((0, 360), (0.0, 0.03), (0.95, 1.0)),
    "grey": ((0, 360), (0.0, 0.05), (0.42, 0.60)),
}

COLOURS: tuple[str, ...] = tuple(_RANGES)
"""The names of the colours that things have."""

# Linear sRGB to CIE XYZ, relative to the white point D65 (IEC 61966-2-1).
_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
) / np.array([[0.95047], [1.0], [1.08883]])


def _rgb(hue: float, saturation: float, value: float) -> NDArray[np.float64]:
    return 255 * np.array(colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value))


def draw_colour(rng: np.random.Generator, name: str) -> NDArray[np.float64]:
    """A colour that goes by a name.

    Returns:
        Red, green and blue, float64 [3] in 0..255.
    """
    return _rgb(*(rng.uniform(low, high) for low, high in _RANGES[name]))


def typical(name: str) -> NDArray[np.float64]:
    """The middle of a name's range: float64 [3] in 0..255."""
    return _rgb(*((low + high) / 2 for low, high in _RANGES[name]))


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """sRGB, float64 [..., 3] in 0..255, as CIE L*a*b* of the same shape (ISO/CIE 11664-4)."""
    c = rgb / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    t = linear @ _XYZ.T
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def difference(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """How different two sRGB colours look: the CIE 1976 distance in L*a*b*.

    About 2 is just noticeable; black and white are 100 apart.

    Args:
        one, other: float64 [..., 3] in 0..255, broadcast against each other.

    Returns:
        float64 [...].
    """
    return np.asarray(np.linalg.norm(lab(one) - lab(other), axis=-1))
