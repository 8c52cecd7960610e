"""Which colours objects have: vivid, unlike each other, and unlike what they cover."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Colour", "Colours", "object_colour", "oklab"]

Colour = tuple[int, int, int]
"""8-bit RGB."""

# Distances in Oklab from which colours are told apart at a glance: a mask's from what it covers,
# with which it is blended, and from other masks'.
_FROM_PICTURE, _FROM_OTHERS = 0.25, 0.15

# So many colours are chosen among for every ten objects.
_TURN = 15


def object_colour(index: int) -> Colour:
    """The n-th of any number of vivid colours, each unlike its neighbours.

    Hues go around the circle by the golden ratio, so that however many there are they stay
    apart; every other turn is darker, as hue alone does not tell dozens of them apart.
    """
    hue = (0.56 + index * 0.618033988749895) % 1
    lightness = (0.55, 0.45, 0.65)[index // 5 % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def oklab(colours: ArrayLike) -> NDArray[np.float64]:
    """sRGB colours, 0 to 255, [..., 3], in Oklab (https://bottosson.github.io/posts/oklab), where
    distances are about as large as they look."""
    srgb = np.asarray(colours, np.float64) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    lab: NDArray[np.float64] = np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T
    return lab


_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


@lru_cache(maxsize=8)
def _palette(count: int) -> NDArray[np.float64]:
    """The first colours in Oklab, [count, 3]."""
    return oklab([object_colour(index) for index in range(count)])


class Colours:
    """Gives a picture's objects their colours, one after the other.

    Each gets the first of :func:`object_colour` that is unlike what it covers and unlike those
    that were given; where there is none, that which comes closest to both.
    """

    def __init__(self) -> None:
        self._given: list[int] = []

    def next(self, covers: Sequence[float] | NDArray[np.float64] | None) -> Colour:
        """The next object's colour.

        Args:
            covers: the mean of the picture under its mask, RGB from 0 to 255; None where it covers
                nothing.
        """
        count = _TURN * (1 + len(self._given) // 10)
        palette = _palette(count)
        fits = np.ones(count)
        if covers is not None:
            fits = np.minimum(fits, _distances(palette, oklab(covers)[None]) / _FROM_PICTURE)
        if self._given:
            fits = np.minimum(fits, _distances(palette, palette[self._given]) / _FROM_OTHERS)
        fits[self._given] = -1
        self._given.append(int(fits.argmax()))
        return object_colour(self._given[-1])


def _distances(colours: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each colour [N, 3] is from the nearest of others [M, 3]."""
    nearest: NDArray[np.float64] = np.linalg.norm(colours[:, None] - others, axis=-1).min(1)
    return nearest
