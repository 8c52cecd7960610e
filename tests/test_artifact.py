from __future__ import annotations

import dataclasses
import errno
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from sam3_tvm import artifact
from sam3_tvm.abi import ClickSizes, VideoSizes, abi
from sam3_tvm.artifact import ArtifactError, ClickRules, Manifest, VideoRules
from sam3_tvm.components import abi_to_json

sys.path.insert(0, str(Path(__file__).parent / "runtime"))
import toy


@pytest.fixture
def made(tmp_path) -> artifact.Artifact:
    return toy.write_artifact(tmp_path / "toy")


def change(opened: artifact.Artifact, **entries) -> Path:
    """Rewrite entries of a manifest by hand; a value of None takes the entry out."""
    path = opened.path / artifact.MANIFEST
    data = json.loads(path.read_text())
    for key, value in entries.items():
        node = data
        *parents, last = key.split("__")
        for parent in parents:
            node = node[parent]
        if value is None:
            del node[last]
        else:
            node[last] = value
    path.write_text(json.dumps(data))
    return opened.path


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


def test_manifest_round_trips_through_json(made):
    data = json.loads(json.dumps(made.manifest.to_json()))
    # Without clicks, what an older reader can read.
    assert data["format"] == 3
    assert "clicks" not in data | data["sizes"]
    assert Manifest.from_json(data) == made.manifest


_CLICK_SIZES = {"backbone": 8, "masks": 4}
_CLICK_RULES = {"stability_delta": 0.05, "stability_threshold": 0.98}


def test_what_clicks_need_is_read_back(made):
    data = made.manifest.to_json()
    known = dataclasses.replace(toy.SIZES, hidden=8, clicks=ClickSizes(**_CLICK_SIZES))
    components = abi_to_json(abi(known))
    sizes = {**data["sizes"], "clicks": _CLICK_SIZES}
    entries = {"format": 4, "components": components, "sizes": sizes, "clicks": _CLICK_RULES}
    opened = artifact.open(change(made, **entries))
    assert opened.manifest.sizes.tasks == ("concepts", "clicks")
    assert opened.manifest.clicks == ClickRules(0.05, 0.98)
    assert not opened.manifest.left_out
    again = json.loads(json.dumps(opened.manifest.to_json()))
    assert again["format"] == artifact.FORMAT
    assert Manifest.from_json(again) == opened.manifest


_VIDEO_RULES = {
    "shown_frames": 4,
    "last_frames": 6,
    "pointer_frames": 16,
    "multimask_points": [0, 1],
    "multimask_tracking": True,
    "absent_logit": -1024.0,
}


def _for_video(made, **changed):
    """Entries of an artifact for clicks and video, with some rules changed."""
    sizes = {
        **made.manifest.to_json()["sizes"],
        "hidden": 8,
        "clicks": _CLICK_SIZES,
        "video": {"channels": 4, "memories": 10},
    }
    known = dataclasses.replace(
        toy.SIZES, hidden=8, clicks=ClickSizes(**_CLICK_SIZES), video=VideoSizes(4, 10)
    )
    rules = {"clicks": dict(_CLICK_RULES), "video": dict(_VIDEO_RULES)}
    for key, value in changed.items():
        task, name = key.split("__")
        rules[task][name] = value
    return {"format": 4, "components": abi_to_json(abi(known)), "sizes": sizes, **rules}


def test_what_video_needs_is_read_back(made):
    opened = artifact.open(change(made, **_for_video(made)))
    assert opened.manifest.sizes.tasks == ("concepts", "clicks", "video")
    assert opened.manifest.video == VideoRules(4, 6, 16, (0, 1), True, -1024.0)
    again = json.loads(json.dumps(opened.manifest.to_json()))
    assert Manifest.from_json(again) == opened.manifest


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ({"clicks__stability_delta": -0.1}, r"clicks\.stability_delta is -0\.1, not 0 or more"),
        ({"clicks__stability_threshold": 2}, r"stability_threshold is 2\.0, not between 0 and 1"),
        ({"video__shown_frames": 0}, r"video\.shown_frames is 0, not 1 or more"),
        ({"video__last_frames": -1}, r"video\.last_frames is -1, not 0 or more"),
        ({"video__pointer_frames": 0}, r"video\.pointer_frames is 0, not 1 or more"),
        ({"video__multimask_points": [1]}, r"video\.multimask_points must have 2 entries"),
        ({"video__multimask_points": [0, 1, 2]}, r"video\.multimask_points must have 2 entries"),
        ({"video__multimask_points": [-1, 1]}, r"video\.multimask_points has -1 points"),
        ({"video__last_frames": 5}, "looks back on 9 frames, the model takes memories of 10"),
    ],
)
def test_rules_that_no_film_or_click_can_follow_are_refused(made, rules, says):
    with pytest.raises(ArtifactError, match=says) as caught:
        artifact.open(change(made, **_for_video(made, **rules)))
    assert "\n" not in str(caught.value)
    assert artifact.MANIFEST in str(caught.value)


def test_an_artifact_that_lacks_the_functions_for_clicks_says_so(made):
    sizes = {**made.manifest.to_json()["sizes"], "clicks": _CLICK_SIZES}
    with pytest.raises(ArtifactError, match=r"clicks and sizes\.clicks, which go"):
        artifact.open(change(made, format=4, sizes=sizes))


_STAGES = {
    "image": "detr_encoder_image",
    "image_inputs": ["fpn_2"],
    "kept": [
        {
            "name": "kept_0",
            "dtype": "float32",
            "shape": [{"name": "batch", "min": 1, "max": 64}, 4, 4],
        }
    ],
    "prompt": "detr_encoder_prompt",
    "prompt_inputs": ["prompt", "prompt_mask"],
}


def test_stages_are_read_back(made):
    opened = artifact.open(change(made, stages={"detr_encoder": _STAGES}))
    stages = opened.manifest.stages["detr_encoder"]
    whole = opened.manifest.components["detr_encoder"]
    assert str(stages.image_half(whole)) == (
        "detr_encoder_image(fpn_2: float32[batch, 4, 2, 2]) -> kept_0: float32[batch, 4, 4]"
    )
    names = [spec.name for spec in stages.prompt_half(whole).inputs]
    assert names == ["kept_0", "prompt", "prompt_mask"]
    assert stages.prompt_half(whole).outputs == whole.outputs
    data = json.loads(json.dumps(opened.manifest.to_json()))
    assert Manifest.from_json(data) == opened.manifest


def test_functions_of_format_1_are_whole(made):
    opened = artifact.open(change(made, format=1, stages=None))
    assert opened.manifest.stages == {}
    assert opened.manifest.components == toy.COMPONENTS


@pytest.mark.parametrize(
    ("path", "says"),
    [("absent", "does not exist"), ("file", "is a file"), ("empty", "not an artifact")],
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


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"format": 5}, "format 5 and this sam3-tvm reads up to 4: upgrade"),
        ({"format": "1"}, "no format number"),
        ({"format": 0}, "format 0 does not exist"),
        ({"sizes": None}, "the manifest lacks sizes"),
        ({"stages": None}, "the manifest lacks stages"),
        ({"stages": []}, "stages must be an object"),
        ({"stages": {"detr_encoder": {}}}, r"stages\.detr_encoder lacks image, image_inputs"),
        ({"stages": {"detr": _STAGES}}, "stages names 'detr', which is no function"),
        ({"stages": {"scoring": _STAGES}}, r"stages\.scoring takes 'fpn_2', which scoring has not"),
        (
            {"stages": {"detr_encoder": {**_STAGES, "image_inputs": ["prompt"]}}},
            r"stages\.detr_encoder\.image_inputs has 'prompt', which no picture gives",
        ),
        (
            {"stages": {"detr_encoder": {**_STAGES, "kept": [{"name": "kept_0"}]}}},
            r"stages\.detr_encoder\.kept cannot be read",
        ),
        (
            {"stages": {"detr_encoder": {**_STAGES, "prompt": "scoring"}}},
            "uses the name 'scoring' of another function",
        ),
        ({"sizes__heads": None}, "sizes lacks heads"),
        ({"extra": 1}, "unknown entries: extra"),
        ({"sizes__grid": "2"}, r"sizes\.grid must be an integer, got '2'"),
        ({"sizes__grid": True}, r"sizes\.grid must be an integer, got True"),
        ({"target__cpu_features": "AVX2"}, r"target\.cpu_features must be a list"),
        ({"target__cpu_features": [2]}, r"target\.cpu_features\[0\] must be a string"),
        ({"versions": []}, "versions must be an object"),
        ({"preprocessing__mean": [0.5]}, "three means"),
        ({"preprocessing__image_size": 8}, "pictures of 8 px, the model takes 16"),
        ({"source__reference__geometry_without_boxes": 0}, "must be true or false"),
        ({"source__reference__mask_resize": "both"}, "'probabilities' or 'logits'"),
        ({"components": [{"name": "x"}]}, "components cannot be read"),
        ({"components": []}, "components has no function vision_encoder"),
        ({"files__../escape": {"bytes": 1, "sha256": ""}}, "no plain file name"),
        ({"files__model.so": None}, "files lacks model.so"),
        ({"licence__file": "LICENSE.weights"}, "files lacks LICENSE.weights"),
    ],
)
def test_a_manifest_error_names_its_place(made, entries, says):
    path = change(made, **entries)
    with pytest.raises(ArtifactError, match=says) as caught:
        artifact.open(path)
    assert "\n" not in str(caught.value)
    assert artifact.MANIFEST in str(caught.value)


def test_functions_with_another_signature_are_refused(made):
    data = made.manifest.to_json()["components"]
    data[1]["inputs"][0]["dtype"] = "int32"
    with pytest.raises(ArtifactError, match="text_encoder has other inputs"):
        artifact.open(change(made, components=data))


def test_narrower_bounds_are_accepted(made):
    data = made.manifest.to_json()["components"]
    data[0]["inputs"][0]["shape"][0]["max"] = 1
    opened = artifact.open(change(made, components=data))
    assert opened.manifest.components["vision_encoder"].dims["batch"].max == 1


def test_broken_json_is_refused(made):
    (made.path / artifact.MANIFEST).write_text('{"format": 1,')
    with pytest.raises(ArtifactError, match="not readable JSON"):
        artifact.open(made.path)


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


class TestHost:
    target = artifact.Target(
        "llvm", "x86-64-v3", "x86-64-v3", "x86_64-unknown-linux-gnu", ("AVX2", "FMA3")
    )

    def check(self, **change):
        host = {"system": "Linux", "machine": "x86_64", "features": {"AVX2": True, "FMA3": True}}
        artifact.check_host(self.target, "a", **{**host, **change})

    def test_the_right_machine_passes(self):
        self.check()
        self.check(machine="AMD64")

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"features": {"AVX2": True, "FMA3": False}}, "built for x86-64-v3, .* lacks FMA3;"),
            ({"features": {}}, "lacks AVX2, FMA3;"),
            ({"machine": "arm64"}, "built for x86_64 processors, and this one is arm64"),
            ({"system": "Darwin"}, "built for Linux, and this is Darwin"),
        ],
    )
    def test_another_machine_is_named(self, change, says):
        with pytest.raises(ArtifactError, match=says) as caught:
            self.check(**change)
        assert "sam3-tvm compile" in str(caught.value)

    def test_this_machine_is_detected(self, made):
        made.check_host()
        impossible = dataclasses.replace(made.manifest.target, cpu_features=("NO_SUCH_FEATURE",))
        with pytest.raises(ArtifactError, match="lacks NO_SUCH_FEATURE"):
            artifact.check_host(impossible, "a")


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


class TestWeights:
    def write(self, folder, tensors):
        writer = artifact.WeightsWriter(folder)
        for key, tensor in tensors.items():
            writer.add(key, tensor)
        writer.function("f", list(tensors))
        writer.close()
        return artifact.open_weights(folder)

    def test_every_dtype_and_shape_survives(self, tmp_path):
        rng = np.random.default_rng(0)
        tensors = {
            f"{dtype}.{shape}": (
                rng.integers(0, 2, shape) if dtype == "bool" else rng.integers(0, 100, shape)
            ).astype(dtype)
            for dtype in ("float32", "float16", "int64", "int8", "uint8", "bool")
            for shape in ((), (0, 3), (5,), (2, 3, 7))
        }
        tensors["transposed"] = rng.standard_normal((4, 6)).T
        tensors["transposed"] = tensors["transposed"].astype("float32")
        tensors["big endian"] = np.arange(5, dtype=">i4")
        stored = self.write(tmp_path, tensors)
        assert list(stored) == list(tensors)
        for key, tensor in tensors.items():
            assert stored[key].shape == tensor.shape
            assert stored[key].dtype == tensor.dtype.newbyteorder("=")
            np.testing.assert_array_equal(stored[key], tensor)

    def test_tensors_are_aligned_read_only_and_mapped(self, tmp_path):
        stored = self.write(tmp_path, {f"{n}": np.full(n, n, np.float32) for n in range(1, 40)})
        for tensor in stored.function("f"):
            assert tensor.ctypes.data % 64 == 0
            assert not tensor.flags.writeable
            assert not tensor.flags.owndata

    def test_equal_tensors_are_stored_once(self, tmp_path):
        same = np.arange(1000, dtype=np.float32)
        stored = self.write(tmp_path, {"a": same, "b": same.reshape(10, 100).copy(), "c": same + 1})
        assert (tmp_path / "weights.bin").stat().st_size == 4032 + 4000
        assert stored["a"].ctypes.data == stored["b"].ctypes.data
        assert stored["b"].shape == (10, 100)

    def test_no_weights_at_all_are_fine(self, tmp_path):
        assert len(self.write(tmp_path, {})) == 0

    def test_misuse_is_refused(self, tmp_path):
        writer = artifact.WeightsWriter(tmp_path)
        writer.add("a", np.zeros(2, np.float32))
        with pytest.raises(ArtifactError, match="already stored"):
            writer.add("a", np.zeros(2, np.float32))
        with pytest.raises(ArtifactError, match="'b' is complex64; weights are float32"):
            writer.add("b", np.zeros(2, np.complex64))
        with pytest.raises(ArtifactError, match="not stored"):
            writer.function("f", ["a", "c"])
        writer.function("f", ["a"])
        with pytest.raises(ArtifactError, match="already given"):
            writer.function("f", ["a"])
        writer.close()

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"offset": 64}, "does not fit"),
            ({"offset": 4}, "does not fit"),
            ({"offset": -64}, "no whole number"),
            ({"shape": [3]}, "does not fit"),
            ({"dtype": "object"}, "which is none of"),
        ],
    )
    def test_an_index_that_points_elsewhere_is_refused(self, tmp_path, change, says):
        self.write(tmp_path, {"a": np.zeros(4, np.float32)})
        index = json.loads((tmp_path / "weights.json").read_text())
        index["tensors"]["a"].update(change)
        (tmp_path / "weights.json").write_text(json.dumps(index))
        with pytest.raises(ArtifactError, match=says):
            artifact.open_weights(tmp_path)

    @pytest.mark.parametrize(
        "text", ["", "[]", '{"tensors": {}}', '{"tensors": [], "functions": {}}']
    )
    def test_a_broken_index_is_refused(self, tmp_path, text):
        self.write(tmp_path, {})
        (tmp_path / "weights.json").write_text(text)
        with pytest.raises(ArtifactError, match=r"weights\.json"):
            artifact.open_weights(tmp_path)


def test_an_artifact_that_does_not_say_how_weights_are_stored_has_them_in_float32(made):
    assert artifact.open(change(made, target__weights=None)).manifest.target.weights == "float32"


@pytest.mark.parametrize(("weights", "says"), [("int4", "float32, float16, int8"), (8, "a string")])
def test_an_unknown_precision_of_weights_is_refused_in_one_line(made, weights, says):
    with pytest.raises(ArtifactError, match=says) as caught:
        artifact.open(change(made, target__weights=weights))
    assert "\n" not in str(caught.value)
