from __future__ import annotations

import numpy as np
import pytest

from sam3_tvm.runtime.concepts.prompts import build_prompts, check_threshold
from sam3_tvm.runtime.pictures.arguments import PromptError


def build(text=None, boxes=None, labels=None, size=(100, 200), **points):
    most = {"max_boxes": 4, "max_points": 3, **points}
    return build_prompts(text, boxes, labels, size, visual_text="visual", **most)


def test_boxes_become_fractions_of_width_and_height():
    (prompt,) = build("dog", [[20, 10, 60, 30]])
    assert prompt.text == "dog"
    np.testing.assert_allclose(prompt.boxes, [[0.2, 0.2, 0.2, 0.2]], rtol=1e-6)
    assert prompt.boxes.dtype == np.float32
    assert (prompt.labels.dtype, prompt.labels.tolist()) == (np.int64, [1])


def test_boxes_alone_go_with_the_references_text():
    (prompt,) = build(None, [[1, 2, 3, 4]], [0])
    assert prompt.text == "visual"
    assert prompt.labels.tolist() == [0]


def test_boxes_that_reach_over_the_edge_are_cut():
    (prompt,) = build("dog", [[-50, -10, 100, 500]])
    np.testing.assert_allclose(prompt.boxes, [[0.25, 0.5, 0.5, 1.0]])


def test_one_array_of_boxes_is_for_every_phrase():
    prompts = build(["dog", "cat"], np.array([[0, 0, 20, 20]]), [0])
    assert [p.boxes.tolist() for p in prompts] == [prompts[0].boxes.tolist()] * 2
    assert [p.labels.tolist() for p in prompts] == [[0], [0]]


def test_boxes_may_differ_by_phrase():
    boxes = [None, [[0, 0, 20, 20], [5, 5, 50, 50]], []]
    prompts = build(["dog", "cat", "ball"], boxes, [None, [1, 0], None])
    assert [len(p.boxes) for p in prompts] == [0, 2, 0]
    assert prompts[1].labels.tolist() == [1, 0]


def test_an_array_with_three_axes_has_boxes_for_each_phrase():
    boxes = np.array([[[0, 0, 10, 10]], [[0, 0, 20, 20]]])
    assert [p.boxes[0, 2] for p in build(["a", "b"], boxes)] == pytest.approx([0.05, 0.1])


@pytest.mark.parametrize("boxes", [None, [], np.zeros((0, 4))])
def test_no_boxes_can_be_said_in_any_way(boxes):
    (prompt,) = build("dog", boxes)
    assert prompt.boxes.shape == (0, 4)
    with pytest.raises(PromptError, match="nothing to look for"):
        build(None, boxes)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "nothing to look for: give text, boxes or both"),
        ({"text": ""}, "empty phrase"),
        ({"text": ["dog", "  "]}, "empty phrase"),
        ({"text": []}, "empty list"),
        ({"text": "d\udcffg"}, "is no valid Unicode: give it in UTF-8"),
        ({"text": ["dog", 3]}, "text takes phrases, not 3"),
        ({"text": 3}, "text takes phrases, not 3"),
        ({"boxes": np.array(3.0)}, r"shape \[N, 4\]"),
        ({"text": ["a", "b"], "boxes": [np.array(3.0), None]}, r"shape \[N, 4\]"),
        ({"text": "a", "boxes": [[0, 0, 9, 9]], "labels": [[1], [1, 0]]}, "box_labels are 1 or 0"),
        (
            {"text": ["a", "b"], "boxes": [[[0, 0, 9, 9]], None], "labels": {1}},
            "box_labels has 1 entries",
        ),
        ({"text": "a", "boxes": [[10, 10, 5, 20]]}, r"\(10, 10, 5, 20\) is empty or upside down"),
        ({"text": "a", "boxes": [[0, 0, 9, 9]] * 5}, "5 boxes for 'a': at most 4"),
        ({"text": "a", "boxes": [[0, 0, 9, 9]], "labels": [1, 0]}, r"shape \(2,\) for 1 boxes"),
        ({"text": "a", "boxes": [[0, 0, 9, 9]], "labels": [2]}, r"1 \(like this\) or 0"),
        ({"text": "a", "labels": [1]}, "box_labels need boxes"),
        ({"text": ["a", "b"], "boxes": [[[0, 0, 9, 9]]]}, "1 entries for 2 phrases"),
        (
            {"text": ["a", "b"], "boxes": [None, None], "labels": [None]},
            "box_labels has 1 entries for 2 phrases",
        ),
    ],
)
def test_what_cannot_be_is_one_clear_line(arguments, says):
    with pytest.raises(PromptError, match=says) as caught:
        build(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), "high", None])
def test_thresholds_lie_between_0_and_1(threshold):
    with pytest.raises(PromptError, match="between 0 and 1"):
        check_threshold(threshold)
    check_threshold(0)
    check_threshold(1)


def test_points_become_fractions_of_width_and_height():
    (prompt,) = build("dog", points=[[20, 10], [200, 100]], point_labels=[1, 0])
    np.testing.assert_allclose(prompt.points, [[0.1, 0.1], [1, 1]], rtol=1e-6)
    assert prompt.points.dtype == np.float32
    assert prompt.point_labels.tolist() == [1, 0]
    assert prompt.boxes.shape == (0, 4)


def test_points_alone_go_with_the_references_text_and_are_positive():
    (prompt,) = build(points=[[1, 2]])
    assert (prompt.text, prompt.point_labels.tolist()) == ("visual", [1])


def test_points_may_differ_by_phrase_while_boxes_are_for_all():
    prompts = build(["dog", "cat"], [[0, 0, 9, 9]], points=[None, [[3, 4]]])
    assert [len(p.points) for p in prompts] == [0, 1]
    assert [len(p.boxes) for p in prompts] == [1, 1]


@pytest.mark.parametrize(
    ("points", "labels", "says"),
    [
        ([[1, 2, 3]], None, r"points take shape \[M, 2\] \(x, y each\), got \(1, 3\)"),
        ([[201, 5]], None, r"point \(201, 5\) lies outside the picture of 200 x 100 px"),
        ([[1, 1]] * 4, None, "4 points for 'dog': at most 3 are taken"),
        ([[1, 1]], [2], r"point_labels are 1 \(like this\) or 0 \(not this\), got \[2\]"),
        ([[1, 1]], [1, 0], r"point_labels has shape \(2,\) for 1 points"),
        (None, [1], "point_labels need points"),
    ],
)
def test_points_that_cannot_be_used(points, labels, says):
    with pytest.raises(PromptError, match=says):
        build("dog", points=points, point_labels=labels)


def test_points_for_a_model_that_takes_none():
    with pytest.raises(PromptError, match="this artifact takes no points: its source encodes"):
        build("dog", points=[[1, 2]], max_points=None)
    assert len(build("dog", points=[], max_points=None)) == 1
    with pytest.raises(PromptError, match="nothing to look for"):
        build(points=[])


def test_one_box_point_or_label_needs_no_list():
    flat, listed = build(boxes=[1, 2, 30, 40], labels=0), build(boxes=[[1, 2, 30, 40]], labels=[0])
    np.testing.assert_array_equal(flat[0].boxes, listed[0].boxes)
    assert flat[0].labels.tolist() == [0]
    several = build(["a", "b"], [[[1, 2, 30, 40]] * 2, None], labels=1)
    assert [prompt.labels.tolist() for prompt in several] == [[1, 1], []]
    assert build(points=[3, 4], max_points=4)[0].points.shape == (1, 2)
