"""Rings around masks: along edges and through centres, filled by rules that are not ours."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from sam3_tvm.annotate.rings import bridged
from tests.annotate.hard_masks import hard_masks

MASKS = hard_masks()
masks = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
small = given(arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)))


def around(ring):
    return pairwise([*ring, ring[0]])


def inside(rings, size):
    """By the even-odd rule, the pixels whose centres the rings enclose."""
    found = np.zeros(size, bool)
    for ring in rings:
        for (x0, y0), (x1, y1) in around(ring):
            if x0 == x1:
                found[min(y0, y1) : max(y0, y1), x0:] ^= True
    return found


def with_border(ring, size):
    """As OpenCV fills a polygon of whole numbers: inside by the even-odd rule, or on the way."""
    found = inside([ring], size)
    for (x0, y0), (x1, y1) in around(ring):
        found[min(y0, y1) : max(y0, y1) + 1, min(x0, x1) : max(x0, x1) + 1] = True
    return found


def check_bridged(mask):
    rings = bridged(mask)
    found = np.zeros(mask.shape, bool)
    for ring in rings:
        # Straight along rows and columns: what a reader puts between two points is a pixel, too.
        assert all(x0 == x1 or y0 == y1 for (x0, y0), (x1, y1) in around(ring))
        piece = with_border(ring, mask.shape)
        assert not (piece & found).any()
        found |= piece
    np.testing.assert_array_equal(found, mask)


@masks
def test_hard_masks_come_back(mask):
    check_bridged(mask)


@settings(max_examples=150, deadline=None)
@small
def test_any_mask_comes_back(mask):
    check_bridged(mask)


def test_nothing_has_no_rings():
    assert bridged(np.zeros((3, 4), bool)) == []


def test_a_piece_is_one_ring_whatever_its_holes():
    assert len(bridged(MASKS["a ring"])) == 1
    assert len(bridged(MASKS["an island in a hole"])) == 2


def test_a_thousand_holes_hang_on_each_other():
    y, x = np.mgrid[:2401, :3]
    mask = (x != 1) | (y % 2 == 0)
    assert len(bridged(mask)) == 1
    check_bridged(mask)


@masks
def test_opencv_fills_bridged_rings_to_the_mask(mask):
    cv2 = pytest.importorskip("cv2", reason="OpenCV doesn't load", exc_type=ImportError)
    canvas = np.zeros(mask.shape, np.uint8)
    for ring in bridged(mask):
        cv2.fillPoly(canvas, [np.array(ring, np.int32)], 1)
    np.testing.assert_array_equal(canvas.astype(bool), mask)
