"""Other views of an example's picture: mirrored, and closer."""

from __future__ import annotations

import numpy as np
import pytest

from sam3_tvm.runtime.concepts.views import VIEWS, views


def within(rgb, box):
    """The pixels in a box, centre and size as fractions."""
    height, width = rgb.shape[:2]
    x, y, w, h = box * [width, height, width, height]
    left, top = round(x - w / 2), round(y - h / 2)
    return rgb[top : top + round(h), left : left + round(w)]


@pytest.mark.parametrize("box", [[20, 10, 40, 20], [0, 0, 20, 10], [100, 70, 120, 90]])
def test_boxes_lie_around_the_same_on_every_view(box):
    rgb = np.random.default_rng(3).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    x0, y0, x1, y1 = box
    boxes = np.array(
        [[(x0 + x1) / 240, (y0 + y1) / 180, (x1 - x0) / 120, (y1 - y0) / 90]], np.float32
    )
    mirrored, closer = views(rgb, boxes)
    assert len((mirrored, closer)) == VIEWS
    wanted = rgb[y0:y1, x0:x1]
    np.testing.assert_array_equal(within(mirrored[0], mirrored[1][0]), wanted[:, ::-1])
    np.testing.assert_array_equal(within(closer[0], closer[1][0]), wanted)
    assert mirrored[0].shape == rgb.shape
    assert closer[0].shape == (60, 80, 3)


def test_what_is_seen_closer_has_room_around_all_boxes():
    rgb = np.zeros((100, 100, 3), np.uint8)
    boxes = np.array([[0.2, 0.5, 0.1, 0.1], [0.8, 0.5, 0.1, 0.1]], np.float32)
    _, (part, where) = views(rgb, boxes)
    assert part.shape == (88, 88, 3)
    assert (where[:, :2] - where[:, 2:] / 2).min() > 0.05
    assert (where[:, :2] + where[:, 2:] / 2).max() < 0.95


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (2, 40), (100, 100)])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.79, 0.798])
def test_a_closer_view_is_a_part_that_has_all_of_the_boxes(size, share):
    height, width = size
    rgb = np.zeros((height, width, 3), np.uint8)
    for middle in (0.5, 1 - share / 2, share / 2):
        for part, where in views(rgb, np.array([[middle, middle, share, share]], np.float32))[1:]:
            assert part.shape[0] < height
            assert part.shape[1] < width
            assert (where[:, :2] - where[:, 2:] / 2).min() > -1e-5
            assert (where[:, :2] + where[:, 2:] / 2).max() < 1 + 1e-5


def test_boxes_that_fill_the_picture_are_not_seen_closer():
    rgb = np.zeros((50, 50, 3), np.uint8)
    assert len(views(rgb, np.array([[0.5, 0.5, 0.9, 0.2]], np.float32))) == 1
