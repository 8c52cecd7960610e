from __future__ import annotations

import dataclasses
import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from sam3_tvm import artifact
from sam3_tvm.artifact import ArtifactError

sys.path.insert(0, str(Path(__file__).parent / "runtime"))
import toy


@pytest.fixture
def made(tmp_path) -> artifact.Artifact:
    return toy.write_artifact(tmp_path / "toy")


def test_what_was_written_is_read_back(made):
    again = artifact.open(made.path, "full")
    assert again == made
    assert again.manifest.components == toy.COMPONENTS
    assert again.manifest.sizes == toy.SIZES
    assert again.manifest.source.reference.default_threshold == 0.3
    assert set(again.manifest.files) == {
        "model.so",
        "tokenizer.json",
        "weights.bin",
        "weights.json",
    }
    weights = again.weights()
    for function, tensors in toy.weights().items():
        assert weights.keys_of(function) == tuple(tensors)
        for stored, tensor in zip(weights.function(function), tensors.values(), strict=True):
            np.testing.assert_array_equal(stored, tensor)
    assert weights.function("scoring") == []


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("absent", "does not exist"),
        ("file", "is a file, .*; give one that"),
        ("empty", "not an artifact"),
    ],
)
def test_what_is_no_artifact_is_refused_in_one_line(tmp_path, path, says):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match=says) as caught:
        artifact.open(tmp_path / path)
    assert "\n" not in str(caught.value)
    assert "sam3-tvm compile" in str(caught.value)


def test_a_checkpoint_is_recognised(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"a checkpoint .* compile it first"):
        artifact.open(tmp_path)


def test_a_missing_and_a_cut_file_are_found_by_size(made):
    weights = made.path / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(ArtifactError, match=r"weights\.bin: has 172 bytes where 176"):
        artifact.open(made.path)
    weights.unlink()
    with pytest.raises(ArtifactError, match=r"weights\.bin: No such file"):
        artifact.open(made.path)


def test_a_changed_byte_is_found_by_full_integrity_alone(made):
    weights = made.path / "weights.bin"
    raw = bytearray(weights.read_bytes())
    raw[5] ^= 1
    weights.write_bytes(raw)
    artifact.open(made.path)
    with pytest.raises(ArtifactError, match="is not the file that was written"):
        artifact.open(made.path, "full")
    with pytest.raises(ValueError, match="'sizes' or 'full'"):
        artifact.open(made.path, "none")


def test_fingerprints_tell_artifacts_apart(made, tmp_path):
    source = dataclasses.replace(made.manifest.source, checkpoint="random:other")
    assert toy.write_artifact(tmp_path / "b", source=source).fingerprint != made.fingerprint


class TestCreate:
    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_an_error_leaves_nothing_behind(self, tmp_path, error):
        def interrupted():
            with artifact.create(tmp_path / "a") as writer:
                (writer.folder / "model.so").write_bytes(b"half")
                raise error

        with pytest.raises(error):
            interrupted()
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_is_one_line_and_other_errors_stay_as_they_are(self, tmp_path):
        def fail(number):
            with artifact.create(tmp_path / "a"):
                raise OSError(number, os.strerror(number))

        with pytest.raises(ArtifactError, match="a: cannot be written"):
            fail(errno.ENOSPC)
        with pytest.raises(PermissionError):
            fail(errno.EACCES)
        assert list(tmp_path.iterdir()) == []

    def test_a_link_to_an_artifact_stays_a_link(self, made):
        link = made.path.with_name("link")
        link.symlink_to(made.path)
        toy.write_artifact(link, model=b"other code")
        assert link.is_symlink()
        assert (made.path / "model.so").read_bytes() == b"other code"

    def test_an_error_leaves_the_old_artifact(self, made):
        with pytest.raises(RuntimeError), artifact.create(made.path):
            raise RuntimeError
        assert artifact.open(made.path, "full") == made
        assert [p.name for p in made.path.parent.iterdir()] == ["toy"]

    def test_an_artifact_is_replaced_even_with_reports_in_it(self, made):
        (made.path / "verify.json").write_text("{}")
        again = toy.write_artifact(made.path, model=b"other code")
        assert (again.path / "model.so").read_bytes() == b"other code"
        assert not (again.path / "verify.json").exists()
        assert [p.name for p in made.path.parent.iterdir()] == ["toy"]

    def test_an_empty_folder_is_taken(self, tmp_path):
        (tmp_path / "a").mkdir()
        toy.write_artifact(tmp_path / "a")

    def test_parents_are_made(self, tmp_path):
        assert toy.write_artifact(tmp_path / "x" / "y" / "a").manifest.files

    @pytest.mark.parametrize(
        ("name", "content", "says"),
        [
            ("notes.txt", "mine", "is not empty and not an artifact"),
            ("manifest.json", '{"name": "a browser extension"}', "not an artifact"),
        ],
    )
    def test_other_folders_are_refused_before_any_work(self, tmp_path, name, content, says):
        (tmp_path / name).write_text(content)
        with pytest.raises(ArtifactError, match=says), artifact.create(tmp_path):
            pytest.fail("the body ran")
        assert (tmp_path / name).read_text() == content

    def test_foreign_files_in_an_artifact_are_kept(self, made):
        (made.path / "photo.png").write_bytes(b"mine")
        with pytest.raises(ArtifactError, match=r"photo\.png"):
            toy.write_artifact(made.path)
        assert (made.path / "photo.png").exists()

    def test_a_file_is_refused(self, tmp_path):
        (tmp_path / "a").write_text("x")
        with pytest.raises(ArtifactError, match="not a folder"), artifact.create(tmp_path / "a"):
            pytest.fail("the body ran")

    def test_an_artifact_without_model_is_not_written(self, tmp_path):
        with (
            pytest.raises(ArtifactError, match=r"would lack model\.so, tokenizer\.json"),
            artifact.create(tmp_path / "a") as writer,
        ):
            toy.describe(writer)
        assert list(tmp_path.iterdir()) == []

    def test_an_artifact_without_description_is_not_written(self, tmp_path):
        with pytest.raises(ArtifactError, match="described"), artifact.create(tmp_path / "a"):
            pass
        assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_an_artifact_is_refused_before_the_work(tmp_path):
    (tmp_path / "round").symlink_to("round")
    for name, reason in (("round", "exists and is not a folder"), ("x" * 300, "File name too")):
        with pytest.raises(ArtifactError, match=reason), artifact.create(tmp_path / name):
            raise AssertionError("not begun")
    with pytest.raises(ArtifactError, match=r"cannot be read \(File name too long\)"):
        artifact.open(tmp_path / ("x" * 300))
    with pytest.raises(ArtifactError, match=r"round: cannot be read \(Too many levels"):
        artifact.open(tmp_path / "round")
    assert [p.name for p in tmp_path.iterdir()] == ["round"]
