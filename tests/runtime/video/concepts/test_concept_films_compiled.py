"""A film by phrase through compiled functions, beside ``Sam3VideoModel`` on the same weights."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")

from concept_harness import ConceptStudio, compare_objects
from track_harness import moving_shapes

from sam3_tvm.runtime import load
from sam3_tvm.runtime.model import Model

RULES = {
    "score_threshold_detection": 0.09,
    "new_det_thresh": 0.09,
    "det_nms_thresh": 0.8,
    "assoc_iou_thresh": 0.3,
    "trk_assoc_iou_thresh": 0.3,
    "hotstart_delay": 5,
    "hotstart_unmatch_thresh": 4,
    "hotstart_dup_thresh": 4,
    "recondition_every_nth_frame": 2,
    "high_conf_thresh": 0.05,
    "high_iou_thresh": 0.3,
    "max_num_objects": 5,
    "fill_hole_area": 2,
}
PHRASES = ["dog", "a cat"]


def test_phrases_in_a_film_find_what_the_reference_finds(tiny_artifact, tmp_path):
    studio, frames = ConceptStudio("random:tiny", tmp_path), moving_shapes(8)
    made = load(tiny_artifact)
    assert made.manifest.video_concepts == studio.source.video_concepts
    rules = replace(made.manifest.video_concepts, **RULES)
    manifest = replace(made.manifest, video_concepts=rules)
    model = Model(made._call, studio.tokenizer, manifest, made.fingerprint)
    with model.track(frames) as session:
        for phrase in PHRASES:
            session.add_text(phrase)
        found = compare_objects(
            session.propagate(), studio.concept_film(rules, PHRASES, frames).propagate()
        )
    assert sum(len(frame.objects) for frame in found) > 8
    assert {phrase for frame in found for phrase in frame.phrases} == {*PHRASES}
