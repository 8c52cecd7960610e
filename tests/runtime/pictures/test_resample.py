from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam3_tvm.runtime.pictures.resample import resize


def reference(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """PyTorch's own, which the reference's image processor runs."""
    nchw = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(
        nchw, size=(height, width), mode="bilinear", antialias=True
    )
    return resized[0].permute(1, 2, 0).numpy()


def noise(height: int, width: int, low: int = 0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(low, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "size", [(1, 1), (37, 53), (853, 1280), (1008, 1007), (1008, 1008), (1500, 1100), (2400, 3600)]
)
def test_the_models_input_is_bit_for_bit_the_references(size):
    rgb = noise(*size)
    np.testing.assert_array_equal(resize(rgb, 1008, 1008), reference(rgb, 1008, 1008))


@settings(max_examples=100, deadline=None)
@given(st.tuples(*[st.integers(1, 300)] * 2), st.tuples(*[st.integers(1, 90)] * 2), st.integers(0))
def test_any_size_to_any_size(source, target, seed):
    rgb = noise(*source, seed=seed)
    np.testing.assert_array_equal(resize(rgb, *target), reference(rgb, *target))


@pytest.mark.parametrize("factor", [7, 9, 20, 100])
def test_bright_pictures_that_shrink_a_lot_stay_exact(factor):
    # The sums need more bits than float32 has.
    rgb = noise(24 * factor, 30 * factor, low=240)
    np.testing.assert_array_equal(resize(rgb, 24, 30), reference(rgb, 24, 30))


def test_a_picture_of_the_right_size_is_unchanged():
    rgb = noise(20, 30)
    np.testing.assert_array_equal(resize(rgb, 20, 30), rgb)
