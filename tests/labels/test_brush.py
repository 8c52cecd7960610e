"""Label Studio's run lengths, decoded by its own converter."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sam3_tvm.labels.label_studio import brush

theirs = pytest.importorskip("label_studio_converter.brush")


def decoded(rle: list[int], shape: tuple[int, int]) -> np.ndarray:
    values = theirs.decode_rle(json.loads(json.dumps(rle)))
    return values.reshape(*shape, 4)


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.5, 1])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 3), (40, 60)])
def test_masks_come_back_to_the_pixel(shape, share):
    mask = np.random.default_rng(1).random(shape) < share
    assert np.array_equal(decoded(brush.encode(mask), shape), mask[..., None].repeat(4, 2) * 255)


def test_runs_of_every_length_at_which_the_size_of_lengths_changes_come_back():
    # In values, of which a pixel has four: 8, 16, 256 and 65,536 are the longest of their sizes.
    lengths = [1, 2, 3, 4, 5, 63, 64, 65, 16383, 16384, 16385, 32768, 32769]
    values = np.arange(len(lengths)) % 2 == 1
    mask = np.repeat(values, lengths)[None]
    assert np.array_equal(decoded(brush.encode(mask), mask.shape)[..., 3] > 0, mask)


def test_it_is_the_converters_own_encoding():
    mask = np.random.default_rng(2).random((30, 50)) < 0.4
    own = brush.encode(mask)
    # Theirs ends with a byte more where the bits fill the last.
    assert theirs.mask2rle(mask.astype(np.uint8) * 255)[: len(own)] == own
