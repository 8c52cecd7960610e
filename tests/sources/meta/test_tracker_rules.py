"""The rules by which objects of phrases are followed, where Meta's source states them."""

import sam3_tvm.sources.meta.tracker_components as meta
from sam3_tvm.sources.huggingface.video_concepts import concept_video_rules


def test_the_numbers_are_those_that_transformers_took_over():
    assert meta.concept_video_rules() == concept_video_rules({})
