"""Label Studio's run lengths, decoded by its own converter."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sam3_tvm.labels.label_studio import brush


def decoded(rle: list[int], shape: tuple[int, int]) -> np.ndarray:
    # No part of [dev]: it installs a package "tests" of its own, which would hide ours.
    theirs = pytest.importorskip("label_studio_converter.brush")
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


def test_a_masks_bytes_are_those_that_the_converter_gives():
    """Of 0.0.59, kept here as it isn't installed beside these tests."""
    mask = np.zeros((6, 9), bool)
    mask[1:5, 2:8] = True
    mask[2:4, 4:6] = False
    own = [0, 0, 0, 216, 57, 27, 254, 43, 0, 194, 255, 246, 192, 39, 255, 156]
    own += [2, 127, 251, 96, 19, 255, 206, 1, 63, 253, 176, 12, 47, 255, 137, 192, 0]
    assert brush.encode(mask) == own


def test_it_is_the_converters_own_encoding():
    theirs = pytest.importorskip("label_studio_converter.brush")
    mask = np.random.default_rng(2).random((30, 50)) < 0.4
    own = brush.encode(mask)
    # Theirs ends with a byte more where the bits fill the last.
    assert theirs.mask2rle(mask.astype(np.uint8) * 255)[: len(own)] == own
