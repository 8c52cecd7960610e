"""Mask AP beside cases that one can work out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sam3_tvm.evaluate.average_precision import ScoredQuery, average_precision
from sam3_tvm.evaluate.segmentation import encode

SIZE = (20, 30)


def mask(x: int, width: int = 4):
    made = np.zeros(SIZE, bool)
    made[2:12, x : x + width] = True
    return encode(made)


def query(picture, category, targets, predictions, crowds=()):
    scores = [score for score, _ in predictions]
    masks = [m for _, m in predictions]
    return ScoredQuery(picture, category, SIZE, targets, crowds, scores, masks)


def test_perfect_masks_have_an_ap_of_one(capsys):
    found = average_precision(
        [
            query(0, 0, [mask(0), mask(10)], [(0.9, mask(10)), (0.8, mask(0))]),
            query(1, 1, [mask(5)], [(0.3, mask(5))]),
        ]
    )
    assert (found.ap, found.ap50, found.ap75) == pytest.approx((1, 1, 1))
    # pycocotools' own messages are kept back.
    assert capsys.readouterr().out == ""


def test_a_false_alarm_of_higher_score_halves_the_precision():
    """Right, wrong, right by falling score: precisions 1, 1/2, 2/3 at recalls 1/2, 1/2, 1.

    COCO takes the best precision at this recall or beyond, at 101 recalls from 0 to 1: 1 at the
    51 up to 1/2, 2/3 at the other 50.
    """
    predictions = [(0.9, mask(0)), (0.8, mask(20)), (0.7, mask(10))]
    found = average_precision([query(0, 0, [mask(0), mask(10)], predictions)])
    assert found.ap50 == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert found.ap == pytest.approx(found.ap50)


def test_a_mask_of_iou_two_thirds_counts_up_to_that():
    """Shifted by one of five columns: 4/6. Right at 0.50, 0.55, 0.60, 0.65, of ten thresholds."""
    found = average_precision([query(0, 0, [mask(0, 5)], [(0.9, mask(1, 5))])])
    assert found.ap == pytest.approx(0.4)
    assert (found.ap50, found.ap75) == pytest.approx((1, 0))


def test_categories_count_alike_and_a_category_that_is_missed_is_zero():
    found = average_precision(
        [
            query(0, 0, [mask(0), mask(10)], [(0.9, mask(0)), (0.8, mask(10))]),
            query(0, 1, [mask(20)], []),
        ]
    )
    assert found.ap50 == pytest.approx(0.5)


def test_predictions_in_a_crowd_are_no_false_alarms():
    crowd = mask(15, 15)
    predictions = [(0.9, mask(16)), (0.8, mask(0))]
    assert average_precision([query(0, 0, [mask(0)], predictions, [crowd])]).ap == pytest.approx(1)
    assert average_precision([query(0, 0, [mask(0)], predictions)]).ap == pytest.approx(0.5)


def test_a_match_with_the_first_annotation_counts():
    # COCOeval takes a match with an annotation of id 0 for none.
    assert average_precision([query(0, 0, [mask(0)], [(0.5, mask(0))])]).ap == pytest.approx(1)


def test_without_targets_there_is_no_ap():
    assert math.isnan(average_precision([query(0, 0, [], [(0.5, mask(0))])]).ap)
