"""SAM 3's functions in two halves: the first on a picture, then the second with each prompt, give
what the whole gives, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

import sam3_tvm
from sam3_tvm import artifact
from sam3_tvm.abi import BATCH, PROMPT, task_of
from sam3_tvm.components import Dim
from sam3_tvm.runtime.execution.image_functions import ImageFunctions
from sam3_tvm.runtime.execution.module import load_functions


@pytest.fixture(scope="module")
def opened(tiny_artifact):
    return artifact.open(tiny_artifact)


@pytest.fixture(scope="module")
def table(opened):
    return load_functions(opened, threads=1)


@pytest.fixture(scope="module")
def features(opened, table):
    side = opened.manifest.sizes.image
    pixels = np.random.default_rng(0).standard_normal((1, 3, side, side), dtype=np.float32)
    *fpn, backbone = table("vision_encoder", pixels)
    names = [f"{level}_{n}" for level in ("fpn", "tracker") for n in range(3)]
    return dict(zip(names, (*fpn, *table("tracker_neck", backbone)), strict=True))


def _inputs(component, batch):
    """Inputs of prompts: no two alike, and of the second some tokens don't count."""
    rng = np.random.default_rng(1)
    sizes = {BATCH.name: batch, PROMPT.name: 5, "queries": 7, "boxes": 3}
    sizes |= {"memories": 2, "pointers": 3}
    for spec in component.inputs:
        if spec.per_image:
            continue
        shape = [sizes[d.name] if isinstance(d, Dim) else d for d in spec.shape]
        if spec.dtype == "bool":
            value = np.ones(shape, bool)
            value[1:][..., -2:] = False
            yield value
        elif spec.dtype == "int64":
            yield rng.integers(0, 2, shape)
        else:
            yield rng.uniform(0.2, 0.8, shape).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    "name",
    ["geometry_encoder", "detr_encoder", "mask_decoder", "memory_attention", "memory_encoder"],
)
def test_halves_give_what_the_whole_gives(opened, table, features, name, batch):
    component = opened.manifest.components[name]
    inputs = list(_inputs(component, batch))
    on_image = ImageFunctions(table, opened.manifest)
    got = on_image(name, on_image.keep(features), *inputs)
    rest = iter(inputs)
    repeated = {key: np.repeat(value, batch, 0) for key, value in features.items()}
    whole = [repeated[s.name] if s.per_image else next(rest) for s in component.inputs]
    for ours, theirs in zip(got, table(name, *whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_function_of_the_picture_alone_is_left_whole(opened, table, features):
    assert "without_memory" not in opened.manifest.stages
    on_image = ImageFunctions(table, opened.manifest)
    (got,) = on_image("without_memory", on_image.keep(features, {"without_memory"}))
    (whole,) = table("without_memory", features["tracker_2"])
    np.testing.assert_array_equal(got, whole)


def test_an_encoded_picture_has_what_prompts_need_and_nothing_more(opened, tmp_path):
    model = sam3_tvm.load(opened.path, threads=1)
    picture = np.random.default_rng(2).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    image = model.encode_image(picture)
    stages = opened.manifest.stages
    prompted = [name for name in stages if task_of(name) != "video"]
    wanted = {f"{name}.{spec.name}" for name in prompted for spec in stages[name].kept}
    # Nothing that a click's decoder does depends on the picture alone.
    clicks = {"tracker_0", "tracker_1", "tracker_2"}
    assert set(image.features) == wanted | clicks
    assert {name.split(".")[0] for name in wanted} == {
        "geometry_encoder",
        "detr_encoder",
        "mask_decoder",
    }
    image.save(tmp_path / "image.safetensors")
    again = model.load_image(tmp_path / "image.safetensors")
    for name, array in image.features.items():
        assert again.features[name].tobytes() == array.tobytes()
    prompts = {"text": ["a person", "cat"], "boxes": [None, [[5, 5, 30, 40]]], "threshold": 0.0}
    for ours, theirs in zip(
        model.segment(again, **prompts), model.segment(image, **prompts), strict=True
    ):
        assert ours.scores.tobytes() == theirs.scores.tobytes()
        np.testing.assert_array_equal(ours.masks, theirs.masks)
