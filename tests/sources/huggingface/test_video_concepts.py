"""The rules for films by phrase, as a checkpoint's configuration has them."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from transformers.models.sam3_video.configuration_sam3_video import Sam3VideoConfig

from sam3_tvm.rules import ConceptVideoRules
from sam3_tvm.sources import SourceError, open_source
from sam3_tvm.sources.huggingface.video_concepts import concept_video_rules


def test_random_weights_have_transformers_own_rules(source):
    config = Sam3VideoConfig()
    for field in fields(ConceptVideoRules):
        assert getattr(source.video_concepts, field.name) == getattr(config, field.name)


def test_every_number_of_the_configuration_is_a_rule():
    """But those that aren't of films by phrase."""
    numbers = {
        name
        for name, value in Sam3VideoConfig.__dict__.items()
        if isinstance(value, (bool, int, float)) and not name.startswith("_")
    }
    others = numbers - {field.name for field in fields(ConceptVideoRules)}
    assert others <= {"initializer_range", "low_res_mask_size"}
    assert "hotstart_delay" in numbers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hotstart_delay", "15"),
        ("hotstart_delay", 7),  # less than the frames for which an object goes
        ("det_nms_thresh", 1.5),
        ("fill_hole_area", -1),
    ],
)
def test_what_cannot_be_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        concept_video_rules({name: value})


def _checkpoint(both_halves, tmp_path, **changed):
    described = json.loads((both_halves / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**described, **changed}))
    for file in ("model.safetensors", "tokenizer.json"):
        (tmp_path / file).symlink_to(both_halves / file)
    return str(tmp_path)


def test_a_checkpoint_says_its_rules(both_halves, tmp_path):
    opened = open_source(_checkpoint(both_halves, tmp_path, det_nms_thresh=0.25, hotstart_delay=20))
    assert opened.video_concepts == concept_video_rules(
        {"det_nms_thresh": 0.25, "hotstart_delay": 20}
    )
    assert open_source(str(tmp_path), ["concepts", "clicks"]).video_concepts is None


def test_a_checkpoint_with_other_values_is_refused_in_one_line(both_halves, tmp_path):
    with pytest.raises(SourceError, match=r"config\.json has no rules for films: .*det_nms") as one:
        open_source(_checkpoint(both_halves, tmp_path, det_nms_thresh=-1.0))
    assert "\n" not in str(one.value)
