"""Layers of an artifact's checkpoint in int8, measured as ``verify --sensitivity`` does it."""

from __future__ import annotations

import pytest
from PIL import Image

from sam3_tvm import artifact
from sam3_tvm.runtime.pictures.image import ImageError
from sam3_tvm.sources.base import PromptSpec
from sam3_tvm.verify import sensitivity as module
from sam3_tvm.verify.report import VerifyError
from sam3_tvm.verify.sensitivity import sensitivity


def test_an_artifact_names_what_is_measured(tiny_artifact):
    report = sensitivity(tiny_artifact, functions=["text_encoder"], layers="*layers.0.mlp.fc?")
    assert report.checkpoint == "random:tiny"
    # By default one photograph, and what verify asks of any.
    assert len(report.pictures) == 1
    assert report.prompts == ["'a person's face'", "'cat' +", "visual +-+"]
    names = {row.layer.rpartition(".")[2]: row for row in report.rows}
    assert set(names) == {"fc1", "fc2"}
    assert (names["fc1"].inputs, names["fc1"].outputs) == (64, 128)
    assert all(0 < row.function_error < row.own for row in report.rows)


def test_the_checkpoint_is_opened_as_it_was_compiled_and_phrases_are_asked(
    tiny_artifact, monkeypatch, tmp_path
):
    asked = {}

    def measure(source, pictures, prompts, **options):
        asked.update(options, sizes=source.sizes, pictures=pictures, prompts=prompts(None))

    monkeypatch.setattr(module, "measure", measure)
    Image.new("RGB", (8, 6)).save(tmp_path / "x.jpg")
    sensitivity(tiny_artifact, images=[tmp_path / "x.jpg"], phrases=["dog", "cat"])
    assert asked["sizes"] == artifact.open(tiny_artifact).manifest.sizes
    assert asked["pictures"] == [tmp_path / "x.jpg"]
    assert asked["prompts"] == [PromptSpec("dog"), PromptSpec("cat")]
    assert (asked["functions"], asked["pattern"]) == (None, None)


def test_no_artifact_is_said(tmp_path):
    with pytest.raises(artifact.ArtifactError):
        sensitivity(tmp_path)


def test_a_picture_that_cannot_be_read_is_said_before_the_checkpoint_is(
    tiny_artifact, monkeypatch, tmp_path
):
    monkeypatch.delattr(module, "open_source")
    with pytest.raises(ImageError, match="no such file"):
        sensitivity(tiny_artifact, images=[tmp_path / "x.jpg"])


def test_an_unknown_function_is_said_before_the_checkpoint_is_read(tiny_artifact, monkeypatch):
    monkeypatch.delattr(module, "open_source")
    with pytest.raises(
        VerifyError, match=r"no function 'vision'; the artifact has vision_encoder, "
    ):
        sensitivity(tiny_artifact, functions=["vision"])
