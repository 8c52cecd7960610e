"""How a thing moves through a clip: its place, turn and size as functions of time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["SPAN", "Motion", "draw_motion"]

SPAN = 48
"""Frames of a whole clip; motions are drawn for times from 0 to this."""

_FASTEST = 0.03  # of the picture's side, per frame
_LEAVES = 0.35  # of the things go out of the picture and come back


def _bounce(value: float, low: float, high: float) -> float:
    """A value that goes on evenly, thrown back at two walls."""
    span = high - low
    place = (value - low) % (2 * span)
    return low + (place if place <= span else 2 * span - place)


@dataclass(frozen=True)
class Motion:
    """A path that bounces and sways, with a turn and a size that change.

    Lengths are in parts of the picture's side, times in frames, angles in degrees.

    Attributes:
        start: x and y at time 0, before swaying.
        velocity: of both, per frame.
        low, high: the walls of x and y.
        sway: how far it sways in x and y.
        pace: of swaying, turning to and fro and growing, radians per frame.
        phase: of these, radians.
        turn: at time 0.
        spin: per frame.
        swing: how far it turns to and fro.
        radius: in the middle.
        growth: how much larger and smaller it gets, of its radius.
    """

    start: tuple[float, float]
    velocity: tuple[float, float]
    low: tuple[float, float]
    high: tuple[float, float]
    sway: tuple[float, float]
    pace: float
    phase: float
    turn: float
    spin: float
    swing: float
    radius: float
    growth: float

    def place(self, time: float) -> tuple[float, float]:
        """x and y of the centre."""
        wave = math.sin(self.pace * time + self.phase)
        x, y = (
            _bounce(s + v * time, low, high) + sway * wave
            for s, v, low, high, sway in zip(
                self.start, self.velocity, self.low, self.high, self.sway, strict=True
            )
        )
        return x, y

    def angle(self, time: float) -> float:
        """Degrees, clockwise."""
        return (
            self.turn
            + self.spin * time
            + self.swing * math.sin(1.3 * self.pace * time + self.phase + 1.0)
        )

    def size(self, time: float) -> float:
        """The radius."""
        return self.radius * (1 + self.growth * math.sin(0.8 * self.pace * time + self.phase + 2.0))


def draw_motion(
    rng: np.random.Generator, diameters: tuple[float, float], max_turn: float
) -> Motion:
    """Draw how a thing moves.

    Args:
        rng: where chance comes from.
        diameters: the least and the largest that it may have.
        max_turn: how far it may be turned from upright; 180 for all around.
    """
    least, most = (d / 2 for d in diameters)
    radius = rng.uniform(least + 0.3 * (most - least), most - 0.3 * (most - least))
    growth = rng.uniform(0, min(radius - least, most - radius)) / radius
    speed, way = _FASTEST * rng.uniform() ** 0.5, rng.uniform(0, 2 * math.pi)
    low, high = [0.8 * radius] * 2, [1 - 0.8 * radius] * 2
    if rng.random() < _LEAVES:
        axis = int(rng.integers(2))
        low[axis], high[axis] = -1.6 * radius, 1 + 1.6 * radius
    free = max_turn >= 180
    swing = rng.uniform(0, 0.5) * min(max_turn, 60.0)
    return Motion(
        start=(rng.uniform(low[0], high[0]), rng.uniform(low[1], high[1])),
        velocity=(speed * math.cos(way), speed * math.sin(way)),
        low=(low[0], low[1]),
        high=(high[0], high[1]),
        sway=(rng.uniform(0, 0.05), rng.uniform(0, 0.05)),
        pace=rng.uniform(0.05, 0.25),
        phase=rng.uniform(0, 2 * math.pi),
        turn=rng.uniform(-1, 1) * (180.0 if free else max_turn - swing),
        spin=rng.uniform(-5, 5) if free and rng.random() < 0.6 else 0.0,
        swing=swing,
        radius=radius,
        growth=growth,
    )
