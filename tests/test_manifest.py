"""What a manifest says, and what is said of one that cannot be used."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

import pytest

from sam3_tvm import artifact
from sam3_tvm.abi import abi
from sam3_tvm.components import abi_to_json
from sam3_tvm.errors import ArtifactError
from sam3_tvm.manifest import FORMAT, Manifest
from sam3_tvm.rules import ClickRules, ConceptVideoRules, VideoRules
from sam3_tvm.sizes import ClickSizes, VideoSizes

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


def test_manifest_round_trips_through_json(made):
    data = json.loads(json.dumps(made.manifest.to_json()))
    assert data["format"] == FORMAT
    assert data["clicks"] is data["sizes"]["clicks"] is None
    assert Manifest.from_json(data) == made.manifest


def test_what_is_written_twice_has_the_same_bytes(tmp_path):
    folders = [toy.write_artifact(tmp_path / name).path for name in ("one", "other")]
    first, again = ({p.name: p.read_bytes() for p in f.iterdir()} for f in folders)
    assert first == again


def test_files_of_a_checkpoint_come_with_hashes_and_need_not_be_there(made):
    data = json.loads(json.dumps(made.manifest.to_json()))
    data["source"]["files"] = {"model.safetensors": "0f" * 32}
    assert Manifest.from_json(data).source.files == {"model.safetensors": "0f" * 32}
    data["source"]["files"] = {"model.safetensors": "0F"}
    with pytest.raises(ArtifactError, match=r"source.files has no SHA-256 for 'model.safetensors'"):
        Manifest.from_json(data)
    del data["source"]["files"]
    assert Manifest.from_json(data).source.files == {}


_CLICK_SIZES = {"backbone": 8, "masks": 4}
_CLICK_RULES = {"stability_delta": 0.05, "stability_threshold": 0.98}


def test_what_clicks_need_is_read_back(made):
    data = made.manifest.to_json()
    known = dataclasses.replace(toy.SIZES, hidden=8, clicks=ClickSizes(**_CLICK_SIZES))
    components = abi_to_json(abi(known))
    sizes = {**data["sizes"], "hidden": 8, "clicks": _CLICK_SIZES}
    entries = {
        "components": components,
        "arithmetic": dict.fromkeys(abi(known), "float32"),
        "sizes": sizes,
        "clicks": _CLICK_RULES,
    }
    opened = artifact.open(change(made, **entries))
    assert opened.manifest.sizes.tasks == ("concepts", "clicks")
    assert opened.manifest.clicks == ClickRules(0.05, 0.98)
    assert not opened.manifest.left_out
    again = json.loads(json.dumps(opened.manifest.to_json()))
    assert again["format"] == FORMAT
    assert Manifest.from_json(again) == opened.manifest


_VIDEO_RULES = {
    "shown_frames": 4,
    "last_frames": 6,
    "pointer_frames": 16,
    "multimask_points": [0, 1],
    "multimask_tracking": True,
    "absent_logit": -1024.0,
}
_CONCEPT_RULES = {
    "score_threshold_detection": 0.5,
    "det_nms_thresh": 0.1,
    "assoc_iou_thresh": 0.1,
    "trk_assoc_iou_thresh": 0.5,
    "new_det_thresh": 0.7,
    "recondition_on_trk_masks": True,
    "hotstart_delay": 15,
    "hotstart_unmatch_thresh": 8,
    "hotstart_dup_thresh": 8,
    "suppress_unmatched_only_within_hotstart": True,
    "init_trk_keep_alive": 30,
    "max_trk_keep_alive": 30,
    "min_trk_keep_alive": -1,
    "suppress_overlapping_based_on_recent_occlusion_threshold": 0.7,
    "decrease_trk_keep_alive_for_empty_masklets": False,
    "fill_hole_area": 16,
    "max_num_objects": 10000,
    "recondition_every_nth_frame": 16,
    "high_conf_thresh": 0.8,
    "high_iou_thresh": 0.8,
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
    rules = {
        "clicks": dict(_CLICK_RULES),
        "video": dict(_VIDEO_RULES),
        "video_concepts": dict(_CONCEPT_RULES),
    }
    for key, value in changed.items():
        task, name = key.split("__")
        rules[task][name] = value
    return {
        "components": abi_to_json(abi(known)),
        "arithmetic": dict.fromkeys(abi(known), "float32"),
        "sizes": sizes,
        **rules,
    }


def test_what_video_needs_is_read_back(made):
    opened = artifact.open(change(made, **_for_video(made)))
    assert opened.manifest.sizes.tasks == ("concepts", "clicks", "video")
    assert opened.manifest.video == VideoRules(4, 6, 16, (0, 1), True, -1024.0)
    assert opened.manifest.video_concepts == ConceptVideoRules(**_CONCEPT_RULES)
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
        ({"video_concepts__det_nms_thresh": 1.5}, r"det_nms_thresh is 1\.5, not between 0 and 1"),
        ({"video_concepts__hotstart_delay": -1}, r"hotstart_delay is -1, not 0 or more"),
        (
            {"video_concepts__hotstart_delay": 7},
            "unmatch_thresh is 8, more than hotstart_delay, 7",
        ),
        ({"video_concepts__fill_hole_area": 1.5}, r"fill_hole_area must be an integer"),
        ({"video_concepts__min_trk_keep_alive": 31}, "is 31, more than max_trk_keep_alive, 30"),
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
        artifact.open(change(made, sizes=sizes))


_STAGES = {
    "image": "detr_encoder_image",
    "image_inputs": ["fpn_2"],
    "kept": [
        {
            "name": "kept_0",
            "dtype": "float32",
            "shape": [{"name": "batch", "min": 1, "max": 64}, 4, 4],
            "per_image": True,
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


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"format": 8}, "format 8 and this sam3-tvm reads 7: upgrade"),
        ({"format": 6}, "format 6, of an older sam3-tvm, .* reads 7: compile the checkpoint again"),
        ({"format": 1, "arithmetic": None}, "format 1, of an older sam3-tvm"),
        ({"arithmetic": None}, "the manifest lacks arithmetic"),
        ({"arithmetic": ["float32"]}, "arithmetic must be an object"),
        ({"arithmetic__scoring": None}, "arithmetic and components don't both name scoring"),
        ({"arithmetic__scorer": "float32"}, "arithmetic and components don't both name scorer"),
        ({"arithmetic__scoring": 8}, r"arithmetic\.scoring must be a string"),
        (
            {"arithmetic__scoring": "int4"},
            r"arithmetic\.scoring is one of float32, .*, not 'int4': upgrade",
        ),
        ({"format": "1"}, "no format number"),
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
            r"stages\.detr_encoder\.kept\[0\] lacks dtype, shape",
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
        ({"components": [{"name": "x"}]}, r"components\.x lacks inputs, outputs"),
        ({"components": ["x"]}, r"components\[0\] must be an object, got 'x'"),
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
    with pytest.raises(
        ArtifactError, match=r"components\.text_encoder\.inputs\[0\]\.dtype is 'int32', not 'int64'"
    ):
        artifact.open(change(made, components=data))


@pytest.mark.parametrize(
    ("way", "value", "says"),
    [
        ((1, "inputs", 0, "dtype"), 5, r"text_encoder\.inputs\[0\]\.dtype must be a string, got 5"),
        ((1, "inputs", 0, "name"), ["input_ids"], r"inputs\[0\]\.name must be a string"),
        ((1, "inputs", 0, "shape", 1), "6", r"inputs\[0\]\.shape\[1\] must be an integer, got '6'"),
        ((1, "inputs", 0, "shape", 1), 6.0, r"shape\[1\] must be an integer, got 6\.0"),
        ((1, "inputs", 0, "shape", 1), 7, r"inputs\[0\]\.shape\[1\] is 7, where 6 belongs"),
        ((1, "inputs", 0, "shape", 0, "max"), "64", r"shape\[0\]\.max must be an integer"),
        ((1, "inputs", 0, "shape", 0, "max"), 0, r"batch in 1\.\.0, which are no bounds"),
        ((1, "inputs", 0, "shape", 0, "max"), 1 << 70, r"max must be an integer of 64 bits"),
        ((1, "inputs", 0, "shape", 0, "step"), 1, r"shape\[0\] has unknown entries: step"),
        ((1, "inputs", 0, "shape", 0, "name"), "boxes", "boxes in 1..64, where batch in 1..64"),
        ((1, "inputs"), {}, r"components\.text_encoder\.inputs must be a list"),
        ((1, "name"), "scoring", r"components has 'scoring' twice|components\.scoring\.inputs"),
        ((1, "name"), None, r"components\[1\]\.name must be a string, got None"),
    ],
)
def test_a_signature_is_read_strictly(made, way, value, says):
    data = made.manifest.to_json()["components"]
    node = data
    for key in way[:-1]:
        node = node[key]
    node[way[-1]] = value
    with pytest.raises(ArtifactError, match=says):
        artifact.open(change(made, components=data))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"format": 3, "format": 4}', "an object has 'format' twice"),
        ('{"format": Infinity}', "Infinity is no finite number"),
        ('{"format": 1e999}', "1e999 is no finite number"),
        ("[" * 100_000, "nested too deeply"),
        ("\ufeff[]".encode("utf-16-le"), "it is UTF-16, and JSON is UTF-8"),
        (b"\xff", "byte 0 is no UTF-8"),
    ],
)
def test_what_python_reads_and_json_has_not_is_refused(made, text, says):
    raw = text if isinstance(text, bytes) else text.encode()
    (made.path / artifact.MANIFEST).write_bytes(raw)
    with pytest.raises(ArtifactError, match=f"not readable JSON .*{says}"):
        artifact.open(made.path)


@pytest.mark.parametrize("name", [artifact.MANIFEST, "weights.json", "tokenizer.json"])
def test_a_pipe_in_a_files_place_is_not_waited_for(made, name):
    (made.path / name).unlink()
    os.mkfifo(made.path / name)
    with pytest.raises(ArtifactError, match=r"no regular file|without a readable"):
        artifact.open(made.path)


def test_names_of_a_file_are_printed_without_control_characters(made):
    odd = "\x1b[31mred\x07\u202e\ud800"
    for entries in ({odd: 1}, {"versions": {odd: 1}}, {"stages": {odd: _STAGES}}):
        path = made.path / artifact.MANIFEST
        kept = path.read_text()
        path.write_text(json.dumps({**json.loads(kept), **entries}))
        with pytest.raises(ArtifactError, match="x1b") as caught:
            artifact.open(made.path)
        assert str(caught.value).isprintable()
        path.write_text(kept)


def test_narrower_bounds_are_accepted(made):
    data = made.manifest.to_json()["components"]
    data[0]["inputs"][0]["shape"][0]["max"] = 1
    opened = artifact.open(change(made, components=data))
    assert opened.manifest.components["vision_encoder"].dims["batch"].max == 1


def test_broken_json_is_refused(made):
    (made.path / artifact.MANIFEST).write_text('{"format": 1,')
    with pytest.raises(ArtifactError, match="not readable JSON"):
        artifact.open(made.path)
