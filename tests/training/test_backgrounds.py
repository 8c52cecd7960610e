from __future__ import annotations

import numpy as np

from training.backgrounds import draw_background
from training.colours import difference


def test_backgrounds_have_the_colours_they_say() -> None:
    rng = np.random.default_rng(0)
    plain = 0
    for _ in range(60):
        ground, colours = draw_background(rng, 64)
        assert ground.shape == (64, 64, 3)
        assert ground.dtype == np.float32
        low, high = colours.min(axis=0), colours.max(axis=0)
        assert np.all(ground >= low - 0.01)
        assert np.all(ground <= high + 0.01)
        plain += len(colours) == 1
        # Nothing on it stands out as a thing does.
        assert difference(colours[0], colours[-1]) <= 30.5
    assert 5 <= plain <= 30
