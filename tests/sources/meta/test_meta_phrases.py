"""Films by phrase with Meta's modules, by the rules of transformers' ``Sam3VideoModel``."""

from __future__ import annotations

import numpy as np
import pytest
from concept_harness import ConceptStudio
from meta_tiny import needs_meta
from track_harness import moving_shapes

from sam3_tvm.runtime.video.functions import FrameOutput
from sam3_tvm.runtime.video.memory import MaskAnswer, from_bfloat16

pytestmark = needs_meta


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> ConceptStudio:
    return ConceptStudio("random:meta-tiny", tmp_path_factory.mktemp("tokenizer"))


def test_objects_of_a_phrase_are_followed(studio):
    every = {"score_threshold_detection": 0.0, "new_det_thresh": 0.0}
    again = {"recondition_every_nth_frame": 2, "high_conf_thresh": 0.0, "high_iou_thresh": 0.0}
    model, _ = studio.with_rules(**every, **again, max_num_objects=3, hotstart_delay=0)
    with model.track(moving_shapes(5)) as session:
        session.add_text("dog")
        found = list(session.propagate())
        assert session.objects == [0, 1, 2]
    assert [frame.index for frame in found] == [0, 1, 2, 3, 4]
    # Of those that are seen, some began on an earlier frame.
    assert sum(0 in frame.objects for frame in found) > 1
    assert {phrase for frame in found for phrase in frame.phrases} == {"dog"}


def test_a_mask_is_remembered_alike_whoever_found_it(studio):
    """The decoder's are enlarged by a function, others by the runtime."""
    with studio.model.track(moving_shapes(1)) as session:
        functions = session._functions
        features = functions.encode(moving_shapes(1)[0])
        side = functions.mask_side
        logits = 4 * np.random.default_rng(0).standard_normal((side, side), np.float32)
        pointer = np.zeros(functions.remembered["pointer"], np.float32)
        output = FrameOutput(MaskAnswer(logits, 10.0), pointer)
        one = from_bfloat16(functions.remember(features, output, prompted=False))
        other = from_bfloat16(functions.remember_mask(features, logits))
    np.testing.assert_allclose(other, one, rtol=2**-7, atol=1e-4)
