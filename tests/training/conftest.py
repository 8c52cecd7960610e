"""Scenes that several tests look at."""

from __future__ import annotations

import numpy as np
import pytest

from training.scenes import Scene, draw_scene


@pytest.fixture(scope="session")
def training_scenes() -> list[Scene]:
    """250 scenes as training draws them."""
    rng = np.random.default_rng(11)
    return [draw_scene(rng, 112) for _ in range(250)]


@pytest.fixture(scope="session")
def held_out_scenes() -> list[Scene]:
    """250 scenes as evaluation draws them."""
    rng = np.random.default_rng(12)
    return [draw_scene(rng, 112, held_out=True) for _ in range(250)]


@pytest.fixture(scope="session")
def scenes(training_scenes: list[Scene], held_out_scenes: list[Scene]) -> list[Scene]:
    return training_scenes + held_out_scenes
