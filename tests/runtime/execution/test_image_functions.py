"""Functions in two halves: what is kept of a picture, and that the halves give the whole."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import toy

from sam3_tvm.artifact import Manifest
from sam3_tvm.components import AbiError
from sam3_tvm.runtime.execution.functions import FunctionTable
from sam3_tvm.runtime.execution.image_functions import ImageFunctions


@pytest.fixture
def manifest(toy_artifact) -> Manifest:
    return dataclasses.replace(toy_artifact.manifest, stages=toy.STAGES)


@pytest.fixture
def table(manifest, functions) -> FunctionTable:
    return FunctionTable(manifest.components, functions, manifest.stages)


def _randoms(*shapes):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def _features(table):
    (pixels,) = _randoms((1, 3, 16, 16))
    outputs = table("vision_encoder", pixels)
    return dict(zip(["fpn_0", "fpn_1", "fpn_2"], outputs, strict=True))


def test_a_function_in_halves_can_be_called_whole(table, functions):
    fpn_2, prompt = _randoms((2, 4, 2, 2), (2, 5, 4))
    mask = np.array([[True] * 5, [True, False, True, False, True]])
    (memory,) = table("detr_encoder", fpn_2, prompt, mask)
    np.testing.assert_array_equal(memory, toy.ToyFunctions.detr_encoder(fpn_2, prompt, mask))
    assert dict(functions.calls) == {"detr_encoder_image": 1, "detr_encoder_prompt": 1}


def test_halves_are_checked_like_functions(table):
    fpn_2, kept, prompt = _randoms((1, 4, 2, 2), (1, 4, 5), (1, 5, 4))
    mask = np.ones((1, 5), bool)
    with pytest.raises(AbiError, match=r"detr_encoder_prompt: kept_0.* axis 2 must be 4, got 5"):
        table("detr_encoder_prompt", kept, prompt, mask)
    with pytest.raises(AbiError, match="detr_encoder_image takes 1 inputs"):
        table("detr_encoder_image", fpn_2, prompt)
    with pytest.raises(AbiError, match=r"fpn_2.* must be float32, got float64"):
        table("detr_encoder", fpn_2.astype(np.float64), prompt, mask)


def test_what_later_calls_need_is_kept_and_nothing_more(table, manifest, functions):
    on_image = ImageFunctions(table, manifest)
    features = _features(table)
    kept = on_image.keep(features)
    # geometry_encoder is whole and takes fpn_2; mask_decoder's second half takes fpn_1.
    assert set(kept) == {"fpn_2", "fpn_1", "detr_encoder.kept_0", "mask_decoder.kept_0"}
    assert tuple(kept) == on_image.names
    assert kept["fpn_2"] is features["fpn_2"]
    assert functions.calls["detr_encoder_image"] == functions.calls["mask_decoder_image"] == 1


@pytest.mark.parametrize("prompts", [1, 3])
def test_prompts_share_what_was_kept(table, manifest, functions, prompts):
    on_image = ImageFunctions(table, manifest)
    features = _features(table)
    kept = on_image.keep(features)
    prompt, queries, memory = _randoms((prompts, 5, 4), (prompts, 2, 4), (prompts, 4, 4))
    mask = np.ones((prompts, 5), bool)
    repeated = {k: np.repeat(v, prompts, 0) for k, v in features.items()}
    (got,) = on_image("detr_encoder", kept, prompt, mask)
    want = toy.ToyFunctions.detr_encoder(repeated["fpn_2"], prompt, mask)
    np.testing.assert_array_equal(got, want)
    got = on_image("mask_decoder", kept, queries, memory, prompt, mask)
    want = toy.ToyFunctions.mask_decoder(queries, *repeated.values(), memory, prompt, mask)
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # Once for the picture, however many prompts.
    assert functions.calls["detr_encoder_image"] == functions.calls["mask_decoder_image"] == 1


def test_a_model_gives_the_same_in_halves(toy_artifact, manifest, functions, tmp_path):
    picture = np.random.default_rng(5).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    whole = toy.make_model(toy_artifact, toy.ToyFunctions())
    halves = toy.make_model(toy_artifact, functions, manifest)
    image = halves.encode_image(picture)
    image.save(tmp_path / "image.safetensors")
    loaded = halves.load_image(tmp_path / "image.safetensors")
    for name, array in image.features.items():
        assert loaded.features[name].tobytes() == array.tobytes()
    assert list(loaded.features) == list(image.features)
    phrases, boxes = ["dog", "red ball", "cat"], [None, [[6, 4, 30, 24]], None]
    wanted = whole.segment(picture, phrases, boxes, threshold=0.1)
    for encoded in (image, loaded):
        results = halves.segment(encoded, phrases, boxes, threshold=0.1)
        for result, want in zip(results, wanted, strict=True):
            assert result.scores.tobytes() == want.scores.tobytes()
            np.testing.assert_array_equal(result.boxes, want.boxes)
            np.testing.assert_array_equal(result.masks, want.masks)
    assert functions.calls["detr_encoder_image"] == functions.calls["mask_decoder_image"] == 1
    assert "detr_encoder" not in functions.calls
