"""The figures on cases that one can work out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sam3_tvm.evaluate.metrics import (
    Counts,
    box_iou,
    count,
    count_others,
    figures,
    match,
    quality,
)


def counted(iou, in_crowd=None) -> Counts:
    iou = np.array(iou, float)
    crowd = np.zeros(len(iou)) if in_crowd is None else np.array(in_crowd)
    return count(iou, match(iou), crowd)


def test_perfect_predictions_are_ones():
    one = figures([counted(np.eye(3))])
    assert (one.precision, one.recall, one.f1) == (1, 1, 1)
    assert (one.matched_iou, one.target_iou) == (1, 1)
    assert (one.prompts, one.targets, one.predictions, one.matched) == (1, 3, 3, 3)


def test_nothing_predicted_is_no_recall_and_an_undefined_precision():
    one = figures([counted(np.zeros((0, 2)))])
    assert math.isnan(one.precision)
    assert (one.recall, one.f1, one.target_iou) == (0, 0, 0)
    assert math.isnan(one.matched_iou)


def test_a_duplicate_is_one_too_many_and_the_better_one_counts():
    one = figures([counted([[0.6], [0.9]])])
    assert (one.matched, one.predictions) == (1, 2)
    assert one.precision == 0.5
    assert one.recall == 1
    assert one.f1 == pytest.approx(2 / 3)
    assert one.matched_iou == 0.9


def test_one_miss_and_one_too_many():
    one = figures([counted([[0.8, 0.0], [0.0, 0.3]])])
    assert (one.precision, one.recall, one.f1) == (0.5, 0.5, 0.5)
    assert one.matched_iou == 0.8
    assert one.target_iou == 0.4


def test_an_iou_of_one_half_is_enough_and_less_is_not():
    assert match(np.array([[0.5]])).tolist() == [0]
    assert match(np.array([[0.4999]])).tolist() == [-1]


def test_pairs_of_higher_iou_are_made_first():
    iou = np.array([[0.9, 0.8], [0.85, 0.1], [0.0, 0.55]])
    assert match(iou).tolist() == [0, -1, 1]


def test_matching_disjoint_targets_is_the_best_assignment():
    """Random masks against disjoint targets: no assignment has a larger sum of IoUs."""
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(0)
    for _ in range(50):
        targets = (np.arange(4)[:, None] == rng.integers(0, 5, 40)).astype(float)
        predictions = np.abs(targets[rng.integers(0, 4, 6)] - (rng.random((6, 40)) < 0.08))
        common = predictions @ targets.T
        union = predictions.sum(1)[:, None] + targets.sum(1) - common
        iou = common / np.maximum(union, 1)
        rows, columns = optimize.linear_sum_assignment(np.where(iou >= 0.5, iou, 0), maximize=True)
        best = iou[rows, columns]
        matched = match(iou)
        ours = iou[matched >= 0, matched[matched >= 0]]
        assert sorted(ours) == pytest.approx(sorted(best[best >= 0.5]))
        assert len(set(matched[matched >= 0])) == len(ours)


def test_absent_prompts_are_rejected_when_nothing_is_predicted():
    nothing, something = np.zeros((0, 0)), np.zeros((2, 0))
    one = figures([counted(nothing), counted(nothing), counted(something), counted([[0.7]])])
    assert one.absent == 3
    assert one.rejected == pytest.approx(2 / 3)
    # What is predicted for an absent phrase lowers the precision of all.
    assert one.precision == pytest.approx(1 / 3)
    only = figures([counted(something)])
    assert math.isnan(only.precision)
    assert math.isnan(only.f1)
    assert only.rejected == 0


def test_objects_count_alike_whatever_prompt_they_belong_to():
    one = figures([counted(np.eye(3)), counted([[0.0]])])
    assert one.recall == 3 / 4
    assert one.precision == 3 / 4


def test_no_prompts_are_no_figures():
    one = figures([])
    assert one.prompts == 0
    assert math.isnan(one.f1)
    assert math.isnan(one.rejected)


def test_predictions_in_a_crowd_do_not_count_unless_they_match():
    counts = counted([[0.0], [0.9], [0.0]], in_crowd=[0.5, 1.0, 0.4])
    assert counts == Counts(1, 2, (0.9,))


def test_the_exemplar_and_what_matches_it_are_left_out():
    iou = np.array([[0.9, 0.0, 0.0], [0.0, 0.8, 0.0], [0.0, 0.0, 0.2]])
    matched = match(iou)
    all_ = count(iou, matched, np.zeros(3))
    assert all_ == Counts(3, 3, (0.9, 0.8))
    assert count_others(all_, matched, [0]) == Counts(2, 2, (0.8,))
    assert count_others(all_, matched, [2]) == Counts(2, 3, (0.9, 0.8))
    assert count_others(all_, matched, []) == all_


def test_a_second_prediction_of_the_exemplar_is_one_too_many():
    iou = np.array([[0.9], [0.8]])
    matched = match(iou)
    assert count_others(count(iou, matched, np.zeros(2)), matched, [0]) == Counts(0, 1, ())


@pytest.mark.parametrize(
    ("counts", "value"),
    [
        (Counts(0, 0, ()), 1),
        (Counts(0, 1, ()), 0),
        (Counts(2, 2, (1.0, 0.8)), 0.9),
        (Counts(2, 1, (0.9,)), 0.6),
    ],
)
def test_quality_is_panoptic_quality(counts, value):
    assert quality(counts) == pytest.approx(value)


def test_box_iou_by_hand():
    a = np.array([[0, 0, 2, 2], [5, 5, 5, 5]], float)
    b = np.array([[1, 0, 3, 2], [0, 0, 2, 2], [4, 4, 6, 6]], float)
    assert box_iou(a, b) == pytest.approx(np.array([[1 / 3, 1, 0], [0, 0, 0]]))
