from __future__ import annotations

import numpy as np
import pytest

from sam3_tvm.runtime.pictures.arguments import PromptError
from sam3_tvm.runtime.pictures.coordinates import checked_labels, pixel_boxes, pixel_points

SIZE = (100, 200)


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        ([[10**400, 0, 1, 1]], "boxes are x0, y0, x1, y1 each, not"),
        (np.ones((1, 4), complex), "x0, y0, x1, y1 each"),
        ([[1, 2, 3, 4], [1, 2, 3]], "x0, y0, x1, y1 each"),
        ("1,2,3,4", "x0, y0, x1, y1 each"),
        ([[False, False, True, True]], "x0, y0, x1, y1 each"),
        ([[0, False, 9, 9]], "x0, y0, x1, y1 each"),
        ([["1", "2", "30", "40"]], "x0, y0, x1, y1 each"),
        (np.array([[1, 2, 30, 40]], "M8[s]"), "x0, y0, x1, y1 each"),
        (np.array([[1, 2, 30, 40]], object), "x0, y0, x1, y1 each"),
        ([1, 2, 3], r"boxes take shape \[N, 4\] .*, got \(3,\)"),
        (5, r"shape \[N, 4\]"),
        ([[1, 2, 3]], r"shape \[N, 4\]"),
        ([[10, 10, 5, 20]], r"box \(10, 10, 5, 20\) is empty or upside down"),
        ([[10, 10, 10, 20]], "empty or upside down"),
        ([[0, 0, float("nan"), 20]], "no finite number"),
        ([[0, 0, float("inf"), 20]], "no finite number"),
        ([[200, 0, 210, 20]], "outside the picture of 200 x 100 px"),
        ([[-9, -9, 0, 20]], "outside the picture"),
        ([[0.1, 0.2, 0.5, 0.6]], r"not fractions of the picture; multiply x by 200 and y by 100"),
        ([[0, 0, 1, 1]], "not fractions of the picture"),
        ([[10, 10, 10.4, 40]], "is narrower than a pixel inside the picture of 200 x 100 px"),
        ([[-30, 10, 0.5, 40]], "is narrower than a pixel inside the picture"),
    ],
)
def test_boxes_that_cannot_be_or_were_probably_meant_otherwise_are_refused(boxes, says):
    with pytest.raises(PromptError, match=says) as caught:
        pixel_boxes(boxes, SIZE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ([["a", 2]], "points are x, y each, not"),
        ([[1, 2, 3]], r"points take shape \[M, 2\] \(x, y each\), got \(1, 3\)"),
        ([[201, 5]], r"point \(201, 5\) lies outside the picture of 200 x 100 px"),
        ([[-1, 5]], "lies outside"),
        ([[float("nan"), 5]], r"point \(nan, 5\) lies outside"),
        ([[0.5, 0.4]], "points are in pixels, not fractions of the picture; multiply x by 200"),
    ],
)
def test_points_that_cannot_be_or_were_probably_meant_otherwise_are_refused(points, says):
    with pytest.raises(PromptError, match=says) as caught:
        pixel_points(points, SIZE)
    assert "\n" not in str(caught.value)


def test_corners_of_a_picture_and_all_of_a_small_one_are_no_fractions():
    assert len(pixel_points([[0, 0], [1, 1]], SIZE)) == 2
    assert len(pixel_points([[0.5, 0.5]], (2, 2))) == 1
    assert pixel_boxes([[0, 0, 1, 1]], (2, 2)).tolist() == [[0, 0, 1, 1]]


def test_boxes_are_cut_at_the_edges_and_points_on_them_are_inside():
    assert pixel_boxes([-5, 2, 900, 40], SIZE).tolist() == [[0, 2, 200, 40]]
    assert pixel_points([200, 100], SIZE).tolist() == [[200, 100]]


def test_labels_are_1_unless_they_are_given_for_each_or_for_all():
    assert checked_labels("box", "boxes", None, 2).tolist() == [1, 1]
    assert checked_labels("box", "boxes", 0, 2).tolist() == [0, 0]
    assert checked_labels("box", "boxes", [True, False], 2).tolist() == [1, 0]
    with pytest.raises(PromptError, match=r"box_labels has shape \(1,\) for 2 boxes"):
        checked_labels("box", "boxes", [1], 2)
    with pytest.raises(PromptError, match=r"point_labels are 1 .* or 0 .*, got \[2\]"):
        checked_labels("point", "points", [2], 1)
