"""Clicks through the model: what functions are called with, and what becomes of their masks."""

from __future__ import annotations

import numpy as np
import pytest
import toy
from PIL import Image
from pycocotools import mask as coco

from sam3_tvm.rules import ClickRules
from sam3_tvm.runtime import ClickResult, PromptError
from sam3_tvm.runtime.clicks.clicker import choose_masks

HEIGHT, WIDTH = 40, 80


@pytest.fixture
def functions() -> toy.ToyClickFunctions:
    return toy.ToyClickFunctions()


@pytest.fixture
def model(toy_artifact, functions):
    return toy.make_model(toy_artifact, functions, toy.with_clicks(toy_artifact.manifest))


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def test_a_click_gives_masks_of_the_pictures_size_around_it(model, picture):
    result = model.click(picture, [[20, 10]])
    assert result.masks.shape == (3, HEIGHT, WIDTH)
    assert result.masks.dtype == bool
    assert result.masks[:, 10, 20].all()
    assert not result.masks[:, 30, 70].any()
    areas = result.masks.sum((1, 2))
    assert areas[0] < areas[1] < areas[2]
    np.testing.assert_allclose(result.iou, [0.6, 0.9, 0.7])
    assert result.best == 1
    assert result.logits.shape == (3, 8, 8)
    assert 0 < result.object_score < 1
    assert len(result) == 3
    assert repr(result) == "ClickResult(3 masks, best 0.90, 80x40)"


def test_one_mask_is_the_best_of_the_others_where_the_first_is_unstable(model, picture):
    (mask,) = model.click(picture, [[20, 10]], multimask=False).masks
    np.testing.assert_array_equal(mask, model.click(picture, [[20, 10]]).masks[1])


def test_functions_get_fractions_labels_and_corners(model, picture, functions):
    model.click(picture, [[20, 10], [60, 30]], [1, 0], box=[-5, 8, 40, 100])
    clicks, labels, masks, given = functions.clicked[-1]
    # The box is cut at the picture's edges, as in segment.
    want = [[0.25, 0.25], [0.75, 0.75], [0, 0.2], [0.5, 1]]
    np.testing.assert_allclose(clicks, [want])
    assert labels.tolist() == [[1, 0, 2, 3]]
    assert given.tolist() == [False]
    assert masks.shape == (1, 1, 8, 8)


def test_an_earlier_answer_can_be_handed_back(model, picture, functions):
    first = model.click(picture, [[20, 10]])
    model.click(picture, [[20, 10], [40, 10]], mask=first.logits[first.best])
    *_, masks, given = functions.clicked[-1]
    np.testing.assert_array_equal(masks[0, 0], first.logits[1])
    assert given.tolist() == [True]


def test_a_mask_alone_goes_with_a_click_that_is_none(model, picture, functions):
    model.click(picture, mask=np.ones((8, 8)))
    clicks, labels, masks, given = functions.clicked[-1]
    assert clicks.shape == (1, 1, 2)
    assert labels.tolist() == [[-1]]
    assert masks.dtype == np.float32
    assert given.tolist() == [True]


def test_objects_are_answered_as_each_would_be_alone(model, picture):
    image = model.encode_image(picture)
    points = [[[20, 10]], None, [[60, 30], [70, 35], [5, 5]]]
    labels = [[1], None, [1, 1, 0]]
    boxes = [None, [10, 10, 40, 30], None]
    together = model.click(image, points, labels, boxes)
    assert [type(r) for r in together] == [ClickResult] * 3
    for result, p, s, box in zip(together, points, labels, boxes, strict=True):
        alone = model.click(image, p, s, box)
        np.testing.assert_array_equal(result.logits, alone.logits)


@pytest.mark.parametrize(
    "given",
    [
        {"points": np.array([[[20, 10]]])},
        {"box": np.array([[10, 10, 40, 30]])},
        {"mask": np.zeros((1, 8, 8), np.float32)},
        {"mask": [np.zeros((8, 8), np.float32)]},
        {"points": [None], "box": [[10, 10, 40, 30]]},
    ],
)
def test_one_object_in_a_list_gives_a_list(model, picture, given):
    results = model.click(picture, **given)
    assert isinstance(results, list)
    assert len(results) == 1


def test_an_encoded_image_serves_both_tasks(model, picture, functions):
    image = model.encode_image(picture)
    model.segment(image, text="dog", threshold=0.0)
    model.click(image, [[1, 1]])
    model.click(image, [[2, 2]])
    assert functions.calls["vision_encoder"] == functions.calls["tracker_neck"] == 1


def test_a_picture_is_encoded_for_what_is_asked_of_it(model, picture, functions):
    model.segment(picture, text="dog")
    assert functions.calls["tracker_neck"] == 0
    model.click(picture, [[1, 1]])
    assert functions.calls["vision_encoder"] == 2
    assert functions.calls["tracker_neck"] == 1


def test_saved_encodings_can_be_clicked(model, picture, tmp_path):
    image = model.encode_image(picture)
    image.save(tmp_path / "encoded")
    again = model.load_image(tmp_path / "encoded")
    first, second = model.click(image, [[20, 10]]), model.click(again, [[20, 10]])
    np.testing.assert_array_equal(first.masks, second.masks)


def test_results_can_be_drawn_and_written_as_coco(model, picture):
    result = model.click(picture, [[20, 10], [60, 30]], [1, 0], box=[5, 5, 40, 30])
    drawn = np.asarray(result.overlay())
    assert drawn.shape == picture.shape
    assert (drawn[10, 20] == (60, 200, 90)).all()
    assert (drawn[30, 60] == (220, 50, 50)).all()
    assert isinstance(result.overlay(Image.fromarray(picture), mask=0), Image.Image)
    for entry, mask in zip(result.to_coco(), result.masks, strict=True):
        np.testing.assert_array_equal(coco.decode(entry["segmentation"]), mask)
        assert entry["area"] == mask.sum()


LOGITS = np.zeros((8, 8), np.float32)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "nothing was clicked: give points, a box or a mask"),
        ({"points": []}, "an object has nothing to go by"),
        ({"points": [[81, 10]]}, r"point \(81, 10\) lies outside the picture of 80 x 40 px"),
        ({"points": [[float("nan"), 1]]}, "lies outside"),
        ({"points": [20, 10, 5]}, r"points take shape \[M, 2\]"),
        ({"points": "middle"}, "points takes numbers, not 'middle'"),
        ({"points": [[1, 1]] * 65}, "65 points: at most 64 are taken"),
        ({"points": [[1, 1]] * 63, "box": [1, 1, 9, 9]}, "a box counted as two"),
        ({"points": [[1, 1]], "point_labels": [2]}, r"point_labels are 1 .* or 0"),
        ({"points": [[1, 1]], "point_labels": [1, 1]}, "for 1 points"),
        ({"box": [1, 1, 9, 9], "point_labels": [1]}, "point_labels need points"),
        ({"box": [30, 5, 10, 20]}, "empty or upside down"),
        ({"box": [100, 5, 110, 20]}, "lies outside the picture"),
        ({"box": [1, 2, 3]}, "box takes x0, y0, x1, y1"),
        ({"mask": np.zeros((40, 80), np.float32)}, r"mask takes logits \[8, 8\]"),
        ({"mask": LOGITS > 0}, "logits of an earlier answer, not bool"),
        ({"mask": LOGITS + np.inf}, "no finite numbers"),
        ({"mask": np.full((8, 8), 1e300)}, "no finite numbers in single precision"),
        ({"mask": [[1.0] * 8] * 7 + [[1.0]]}, r"mask takes logits \[8, 8\], not \["),
        ({"mask": LOGITS.astype(complex)}, "mask takes logits"),
        ({"box": [[1, [2], 3, 4]]}, "box takes x0, y0, x1, y1"),
        ({"box": np.zeros((8, 8, 2))[0]}, "box takes x0, y0, x1, y1"),
        ({"points": [[[1, 1]], [[2, 2]]], "point_labels": object()}, "point_labels takes a list"),
        ({"points": [[1, 1]], "point_labels": [[1], [1, 2]]}, "point_labels are 1 or 0"),
        ({"points": [[10**400, 1]]}, "points are x, y each"),
        ({"points": np.array([[1 + 2j, 2]])}, "points are x, y each"),
        ({"points": [[[1, 1]]], "box": [1, 1, 9, 9]}, "points has several objects and box one"),
        ({"points": [[[1, 1]]], "box": [[1, 1, 9, 9], None]}, "points 1, box 2"),
        ({"points": [[[1, 1]], None]}, "an object has nothing to go by"),
    ],
)
def test_clicks_that_cannot_be_are_refused_in_one_line(model, picture, functions, given, says):
    with pytest.raises(PromptError, match=says) as caught:
        model.click(picture, **given)
    assert "\n" not in str(caught.value)
    assert functions.calls["vision_encoder"] == 0


def test_logits_of_which_no_numbers_come_are_refused(model, picture):
    # Each is finite, their sum is not.
    large = np.full((8, 8), 3e38, np.float32)
    refused = pytest.raises(PromptError, match="mask has logits too large to compute with")
    with np.errstate(over="ignore"), refused:
        model.click(picture, [[20, 10]], mask=large)
    assert np.isfinite(model.click(picture, [[20, 10]], mask=large / 1e30).logits).all()


def test_an_artifact_without_clicks_says_how_to_get_one(toy_artifact, picture):
    model = toy.make_model(toy_artifact, toy.ToyFunctions())
    with pytest.raises(PromptError, match="--tasks concepts,clicks"):
        model.click(picture, [[1, 1]])


def test_one_mask_is_the_first_where_it_is_stable_or_empty():
    masks = np.full((3, 3, 4, 4), -1, np.float32)
    masks[0, 0] = 1  # stable
    masks[1, 0, :2] = 0.01  # unstable: nothing of it is above the delta
    iou = np.array([[0.1, 0.5, 0.4]] * 3, np.float32)
    chosen, scores = choose_masks(masks, iou, False, ClickRules(0.05, 0.98))
    np.testing.assert_array_equal(chosen[:, 0], masks[[0, 1, 2], [0, 1, 0]])
    np.testing.assert_array_equal(scores, iou[[0, 1, 2], [0, 1, 0]][:, None])
