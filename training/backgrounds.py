"""Backgrounds without anything on them that could pass for a thing."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.colours import difference

__all__ = ["draw_background"]

# The two colours of a pattern, in CIE 1976 distance: one sees them, but nobody takes a
# stripe or a square of a chequered ground for a thing.
_PATTERN_CONTRAST = 13.0
_GRADIENT_CONTRAST = 30.0


def _base(rng: np.random.Generator) -> NDArray[np.float64]:
    """Light, dark, muted or strong: a colour, float64 [3] in 0..255."""
    saturation, value = [
        ((0.0, 0.15), (0.85, 1.0)),
        ((0.0, 0.5), (0.05, 0.25)),
        ((0.05, 0.45), (0.35, 0.9)),
        ((0.5, 1.0), (0.35, 1.0)),
    ][rng.choice(4, p=[0.4, 0.2, 0.3, 0.1])]
    return 255 * np.array(
        colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(*value))
    )


def _near(
    rng: np.random.Generator, colour: NDArray[np.float64], contrast: float
) -> NDArray[np.float64]:
    """Another colour, at most that far away."""
    other = np.clip(colour + rng.normal(0, 40, 3), 0, 255)
    # Distance in L*a*b* isn't proportional to that in RGB, but bisection finds the place.
    low, high = 0.0, 1.0
    for _ in range(6):
        middle = (low + high) / 2
        if difference(colour, colour + middle * (other - colour)) > contrast:
            high = middle
        else:
            low = middle
    return colour + low * (other - colour)


def _ramp(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """0 to 1 from one side to the other, in any direction."""
    angle = rng.uniform(0, 2 * np.pi)
    along = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    ramp = np.float32(np.cos(angle)) * along + np.float32(np.sin(angle)) * along[:, None]
    ramp -= ramp.min()
    ramp /= ramp.max()
    return ramp


def _stripes(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    return (_ramp(rng, size) * int(rng.integers(4, 14)) % 1 < 0.5).astype(np.float32)


def _checks(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    cells = np.arange(size) * int(rng.integers(6, 16)) // size
    return ((cells + cells[:, None]) % 2).astype(np.float32)


def _dots(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    place = np.arange(size, dtype=np.float32) * int(rng.integers(8, 16)) / size % 1 - 0.5
    return np.clip((0.3 - np.hypot(place, place[:, None])) * 8, 0, 1)


def _clouds(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Value noise of two scales."""
    clouds = np.zeros((size, size), np.float32)
    for weight in (0.65, 0.35):
        cells = int(rng.integers(4, 20))
        values = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
        grid = values.resize((size, size), Image.Resampling.BICUBIC)
        clouds += np.float32(weight) * np.asarray(grid)
    return np.clip(clouds, 0, 1)


_PATTERNS = {"stripes": _stripes, "checks": _checks, "dots": _dots, "clouds": _clouds}


def draw_background(
    rng: np.random.Generator, size: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A plain ground, a gradient or a faint pattern.

    Args:
        rng: where chance comes from.
        size: the picture's side, pixels.

    Returns:
        The picture, float32 [size, size, 3] in 0..255, and the colours that are on it,
        float64 [n, 3]: the pattern's or the gradient's ends, and what lies between them.
    """
    base = _base(rng)
    kind = rng.choice(["plain", "gradient", *_PATTERNS], p=[0.25, 0.2, 0.12, 0.12, 0.09, 0.22])
    if kind == "plain":
        ground = np.broadcast_to(base.astype(np.float32), (size, size, 3)).copy()
        return ground, base[None]
    contrast = _GRADIENT_CONTRAST if kind == "gradient" else _PATTERN_CONTRAST
    other = _near(rng, base, contrast)
    mix = _ramp(rng, size) if kind == "gradient" else _PATTERNS[kind](rng, size)
    ground = base.astype(np.float32) + mix[..., None] * (other - base).astype(np.float32)
    return ground, np.linspace(base, other, 3)
