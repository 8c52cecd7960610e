from __future__ import annotations

import numpy as np
import pytest

from training.shapes import MAX_TURN, OUTLINED, SHAPES, draw_stencil


def area(shape: str, radius: float = 40, turn: float = 0, width: float | None = None) -> float:
    return float(draw_stencil(shape, radius, turn, width, (0, 0)).sum() / 255)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("circle", np.pi * 0.95**2),
        ("square", 1.6**2),
        ("triangle", 1.1**2 * 3 * np.sqrt(3) / 4),
        ("ring", np.pi * (1 - 0.56**2)),
        ("diamond", 2 * 1.12 * 0.7),
        ("hexagon", 3 * np.sqrt(3) / 2),
    ],
)
def test_areas_are_those_of_geometry(shape: str, expected: float) -> None:
    assert area(shape) == pytest.approx(expected * 40**2, rel=0.02)


@pytest.mark.parametrize("shape", SHAPES)
def test_turning_keeps_the_area_and_touches_all_sides_of_the_stencil(shape: str) -> None:
    for turn in (-MAX_TURN[shape], MAX_TURN[shape] / 3):
        assert area(shape, turn=turn) == pytest.approx(area(shape), rel=0.02)
        stencil = draw_stencil(shape, 40, turn, None, (0.3, -0.2))
        assert all(edge.any() for edge in (stencil[0], stencil[-1], stencil[:, 0], stencil[:, -1]))


@pytest.mark.parametrize("shape", OUTLINED)
def test_an_outline_is_its_shape_without_the_middle(shape: str) -> None:
    full = draw_stencil(shape, 40, 10, None, (0, 0)) >= 128
    outline = draw_stencil(shape, 40, 10, 5.0, (0, 0)) >= 128
    assert outline.shape == full.shape
    assert not np.any(outline & ~full)
    # What is missing keeps the width from the edge, to a pixel: grown by it, it fits.
    hole = full & ~outline
    assert hole.sum() > 0.05 * full.sum()
    rows, columns = np.nonzero(hole)
    outside = np.argwhere(~np.pad(full, 1)) - 1
    nearest = np.hypot(rows[:, None] - outside[:, 0], columns[:, None] - outside[:, 1]).min(axis=1)
    assert 4.5 < nearest.min() < 6.5


def test_a_shift_below_a_pixel_moves_the_centre_of_mass() -> None:
    def centre(shift: float) -> float:
        stencil = draw_stencil("circle", 20.3, 0, None, (shift, 0)).astype(float)
        return float((stencil.sum(axis=0) @ np.arange(stencil.shape[1])) / stencil.sum())

    # The stencil has no margins, so a shift shows as a fraction of a pixel.
    moved = (centre(0.25) - centre(-0.25)) % 1
    assert min(moved, 1 - moved) == pytest.approx(0.5, abs=0.1)
