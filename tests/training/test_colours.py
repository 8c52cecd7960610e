from __future__ import annotations

import numpy as np
import pytest

from training.colours import COLOURS, difference, draw_colour, lab, typical


def test_lab_has_the_published_values_of_the_primaries() -> None:
    # ISO/CIE 11664-4 for sRGB with white point D65, as commonly tabulated.
    rgb = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255.0]])
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86]]
    np.testing.assert_allclose(lab(rgb), expected, atol=0.05)


def test_difference_broadcasts_and_is_zero_for_one_colour() -> None:
    colours = np.array([[10, 200, 30], [250, 0, 90.0]])
    distances = difference(colours[:, None], colours)
    assert distances.shape == (2, 2)
    assert np.all(np.diag(distances) == 0)
    assert distances[0, 1] == distances[1, 0] > 50


@pytest.mark.parametrize("name", COLOURS)
def test_a_colour_looks_most_like_its_own_name(name: str) -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([draw_colour(rng, name) for _ in range(200)])
    distances = difference(drawn[:, None], np.stack([typical(c) for c in COLOURS]))
    assert {COLOURS[i] for i in distances.argmin(axis=1)} == {name}


def test_no_two_names_have_colours_that_look_alike() -> None:
    rng = np.random.default_rng(0)
    drawn = {c: np.stack([draw_colour(rng, c) for _ in range(100)]) for c in COLOURS}
    for i, one in enumerate(COLOURS):
        for other in COLOURS[:i]:
            assert difference(drawn[one][:, None], drawn[other]).min() > 15, (one, other)
