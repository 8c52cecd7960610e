"""Films by phrase beside ``Sam3VideoModel``: the same objects on every frame.

Weights are random, and so scores lie close together and masks all over the frame. Thresholds are
set among these so that objects come, go, are removed, conditioned anew and hidden.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from concept_harness import ConceptStudio, compare_objects
from track_harness import moving_shapes

LIVELY = {
    "score_threshold_detection": 0.468,
    "new_det_thresh": 0.47,
    "det_nms_thresh": 0.93,
    "hotstart_delay": 4,
    "hotstart_unmatch_thresh": 2,
    "hotstart_dup_thresh": 3,
    "recondition_every_nth_frame": 3,
    "high_conf_thresh": 0.3,
    "high_iou_thresh": 0.3,
    "fill_hole_area": 4,
    "assoc_iou_thresh": 0.3,
    "trk_assoc_iou_thresh": 0.36,
}
PHRASES = ["dog", "a cat"]
# Many detections of each phrase, and objects that they are seldom of.
MANY = {
    **LIVELY,
    "score_threshold_detection": 0.465,
    "det_nms_thresh": 0.95,
    "assoc_iou_thresh": 0.5,
    "trk_assoc_iou_thresh": 0.52,
    "hotstart_delay": 0,
}


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> ConceptStudio:
    return ConceptStudio("random:tiny:4", tmp_path_factory.mktemp("tokenizer"))


def passed(studio, rules, phrases, frames, way="forward", as_published=False):
    """A film as both pass it: our frames, and the reference's."""
    model, followed = studio.with_rules(**rules)
    live = way == "live"
    film = studio.concept_film(followed, phrases, None if live else frames, as_published)
    with model.track(None if live else frames) as session:
        for phrase in phrases:
            session.add_text(phrase)
        if live:
            return [session.step(f) for f in frames], [film.step(f) for f in frames]
        reverse = way == "reverse"
        return list(session.propagate(reverse=reverse)), film.propagate(reverse)


def ids(frames) -> set[int]:
    return {name for frame in frames for name in frame.objects}


@pytest.mark.parametrize("way", ["forward", "reverse", "live"])
def test_objects_of_phrases_are_found_followed_and_removed_as_by_the_reference(studio, way):
    found = compare_objects(*passed(studio, LIVELY, PHRASES, moving_shapes(8), way))
    assert ids(found)
    # In a film what its first frames don't bear out is gone, live nothing is.
    assert bool(found[-1].removed) == (way != "live")
    assert not ids(found) & found[-1].removed


def test_objects_that_overlap_while_others_come_in_are_those_of_the_reference(studio):
    """What is remembered of objects differs where others come in, and pixels are contested."""
    rules = {**MANY, "suppress_overlapping_based_on_recent_occlusion_threshold": 0.3}
    found = compare_objects(*passed(studio, rules, ["a cat"], moving_shapes(5)))
    assert all(set(a.objects) < {*ids(found)} for a in found[:2])


def test_where_nothing_is_found_frames_are_empty(studio):
    rules = {**LIVELY, "score_threshold_detection": 0.99, "new_det_thresh": 0.99}
    found = compare_objects(*passed(studio, rules, PHRASES, moving_shapes(6)))
    assert not ids(found)
    assert found[0].masks.shape == (0, 180, 240)


def test_the_reference_mixes_masks_up_where_it_removes_an_object(studio):
    """Why it is compared with removals put last: on these frames alone they differ."""
    frames = moving_shapes(8)
    ours, wanted = passed(studio, LIVELY, PHRASES, frames, as_published=True)
    mixed, before = [], frozenset()
    for a, b in zip(ours, wanted, strict=True):
        if a.objects != b.objects or not np.array_equal(a.masks, b.masks):
            mixed.append(b.index)
            assert b.removed > before
        before = b.removed
    assert mixed


def test_no_more_objects_are_followed_than_the_rules_allow(studio):
    rules = {**MANY, "max_num_objects": 2}
    found = compare_objects(*passed(studio, rules, PHRASES, moving_shapes(4)))
    assert max(len(frame.objects) for frame in found) == 2


@pytest.mark.slow
@pytest.mark.parametrize("way", ["forward", "reverse", "live"])
def test_a_long_film(studio, way):
    found = compare_objects(*passed(studio, LIVELY, PHRASES, moving_shapes(80), way))
    assert len(ids(found)) > 1
    assert way == "live" or found[-1].removed


@pytest.mark.slow
def test_more_than_twenty_objects_of_three_phrases(studio):
    phrases = ["dog", "red ball", "a cat"]
    found = compare_objects(*passed(studio, MANY, phrases, moving_shapes(6)))
    assert max(len(frame.objects) for frame in found) > 20
    assert {phrase for frame in found for phrase in frame.phrases} == set(phrases)
