"""Agreement of two models: matched by mask, whatever the order and the figures."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from rectangles import rectangle

from sam3_tvm.evaluate.agreement import agreement
from sam3_tvm.evaluate.report import Detections
from sam3_tvm.evaluate.segmentation import encode

A, B, NEAR_A = (1, 1, 9, 9), (20, 10, 29, 19), (1, 1, 9, 8)


def found(*objects):
    """An outcome: boxes of masks with their scores."""
    masks = tuple(encode(rectangle(box)) for box, _ in objects)
    scores = np.array([score for _, score in objects], "float32")
    return SimpleNamespace(detections=Detections(scores, masks))


def test_objects_are_the_same_whatever_their_order():
    got = agreement([found((A, 0.9), (B, 0.8))], [found((B, 0.85), (NEAR_A, 0.6))])
    assert (got.prompts, got.same, got.objects) == (1, 1, 2)
    assert got.iou_min == pytest.approx(56 / 64)
    assert got.iou_mean == pytest.approx((1 + 56 / 64) / 2)
    assert got.score_max == pytest.approx(0.3)
    assert got.score_mean == pytest.approx((0.3 + 0.05) / 2)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([(A, 0.9)], []),
        ([], [(A, 0.9)]),
        ([(A, 0.9)], [(B, 0.9)]),
        ([(A, 0.9)], [(A, 0.9), (B, 1)]),
    ],
)
def test_an_object_of_one_alone_is_a_difference(ours, theirs):
    got = agreement([found(*ours), found()], [found(*theirs), found()])
    assert (got.prompts, got.same) == (2, 1)


def test_nothing_found_by_either_is_the_same():
    got = agreement([found()], [found()])
    assert (got.same, got.objects) == (1, 0)
    assert math.isnan(got.score_max)
