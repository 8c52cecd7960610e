"""Functions for cvat-cli, run by its own code; only what a CVAT server would answer stands in."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sam3_tvm.errors import UsageError
from sam3_tvm.labels.cvat.masks import encode
from sam3_tvm.runtime import load
from tests.serve.stand_in import StandIn

pytest.importorskip("cvat_sdk")

import cvat_sdk.auto_annotation as cvat
from cvat_sdk import masks, models
from cvat_sdk.auto_annotation import driver

from sam3_tvm.labels.cvat import detect, interact

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("share", [0.02, 0.5, 1])
def test_the_sdk_decodes_masks_to_the_pixel(share):
    mask = np.random.default_rng(3).random((20, 30)) < share
    encoded = encode(mask)
    assert encoded == masks.encode_mask(mask)
    assert np.array_equal(masks.decode_mask(encoded, image_width=30, image_height=20), mask)


@pytest.fixture
def annotated(monkeypatch):
    """What ``cvat-cli task auto-annotate`` would upload for a task of two pictures."""

    def run(
        function, kind="any", pictures=None, names=("Star", "Disk"), **options
    ) -> models.PatchedLabeledDataRequest:
        labels = [
            models.Label(id=70 + n, name=name, type=kind, attributes=[], sublabels=[])
            for n, name in enumerate(names)
        ]
        samples = [
            SimpleNamespace(
                frame_name=f"{n}.png",
                frame_index=n,
                media=SimpleNamespace(load_image=lambda picture=picture: picture),
            )
            for n, picture in enumerate(pictures or [Image.new("RGB", (24, 16))] * 2)
        ]
        dataset = SimpleNamespace(labels=labels, samples=samples)
        monkeypatch.setattr(driver, "TaskDataset", lambda *_, **__: dataset)
        sent = []
        upload = SimpleNamespace(partial_update_annotations=lambda *_, **all_: sent.append(all_))
        client = SimpleNamespace(
            logger=logging.getLogger("test"), tasks=SimpleNamespace(api=upload)
        )
        driver.annotate_task(client, 5, function, **options)
        return sent[0]["patched_labeled_data_request"]

    return run


class Opening(StandIn):
    """One that also takes pictures that aren't encoded."""

    def segment(self, image, *args, **kwargs):
        return super().segment(self.encode_image(image), *args, **kwargs)


@pytest.fixture
def detector(monkeypatch):
    monkeypatch.setattr(detect, "load", lambda *_, **__: Opening())
    return detect.create("artifact", "Star,Disk=red disk")


def test_the_driver_uploads_a_mask_for_every_object(annotated, detector):
    shapes = annotated(detector).shapes
    assert [(one.frame, one.label_id, one.type.value) for one in shapes] == [
        (frame, label, "mask") for frame in (0, 1) for label in (70, 71) for _ in range(2)
    ]
    mask = masks.decode_mask(shapes[2].points, image_width=24, image_height=16)
    assert mask[:2].all()
    assert not mask[2:].any()


def test_the_driver_uploads_polygons_where_it_converts(annotated, detector):
    shapes = annotated(detector, "polygon", conv_mask_to_poly=True).shapes
    assert {one.type.value for one in shapes} == {"polygon"}
    corners = np.reshape(shapes[0].points, (-1, 2)).tolist()
    assert sorted(corners) == [[0, 0], [0, 1], [24, 0], [24, 1]]


def test_the_callers_threshold_goes_before_the_functions(annotated, detector):
    assert len(annotated(detector, conf_threshold=0.7).shapes) == 4


def test_what_is_uploaded_is_what_the_model_finds(annotated, shapes_artifact):
    ndimage = pytest.importorskip("scipy.ndimage")
    function = detect.create(f"{shapes_artifact}", "Hexagon=green hexagon,Star=yellow star")
    names = ("Hexagon", "Star")
    pictures = [Image.open(EXAMPLES / name) for name in ("hexagons.jpg", "stars.jpg")]
    shapes = annotated(function, pictures=pictures, names=names).shapes
    model = load(shapes_artifact)
    found = [
        mask
        for picture in pictures
        for result in model.segment(picture, ["green hexagon", "yellow star"])
        for mask in result.masks
    ]
    assert len(shapes) == len(found) > 3
    for shape, mask in zip(shapes, found, strict=True):
        height, width = mask.shape
        uploaded = masks.decode_mask(shape.points, image_width=width, image_height=height)
        assert np.array_equal(uploaded, mask)
    drawn = annotated(
        function, "polygon", pictures=pictures, names=names, conv_mask_to_poly=True
    ).shapes
    # Of a mask's polygons that of its largest part; a polygon has no holes.
    solid = [ndimage.binary_fill_holes(mask) for mask in found]
    assert min(max(overlap(one.points, mask) for one in drawn) for mask in solid) > 0.95


def overlap(points, mask) -> float:
    """The intersection over union of a polygon, by the centres of pixels, with a mask."""
    shapely = pytest.importorskip("shapely")
    rows, columns = np.indices(mask.shape) + 0.5
    inside = shapely.contains_xy(shapely.Polygon(np.reshape(points, (-1, 2))), columns, rows)
    return (inside & mask).sum() / (inside | mask).sum()


@pytest.mark.parametrize("text", ["", " , ", "a,a", "a=,=b"])
def test_labels_that_are_none_are_named(text):
    with pytest.raises(UsageError, match="labels are taken"):
        detect.create("artifact", text)


def test_the_command_line_makes_the_functions(monkeypatch):
    common = pytest.importorskip("cvat_cli._internal.common")
    monkeypatch.setattr(detect, "load", lambda *_, **__: StandIn())
    given = {"artifact": "x", "text": "cat,dog"}
    made = common.FunctionLoader("sam3_tvm.labels.cvat.detect", None, given).load()
    assert [label.name for label in made.spec.labels] == ["cat", "dog"]


class TestInteractor:
    @pytest.fixture
    def agent(self, monkeypatch):
        module = pytest.importorskip("cvat_cli._internal.agent_driver_interaction")
        model = StandIn()
        monkeypatch.setattr(interact, "load", lambda *_, **__: model)
        function = interact.create("artifact")
        monkeypatch.setattr(module, "worker_current_function", lambda: function)
        module.AgentInteractionFunctionDriver.init_worker(None)
        return SimpleNamespace(module=module, model=model, function=function)

    def prompts(self, agent, pos=(), neg=(), box=None):
        return agent.module._InteractionPromptsImpl(
            pos_points=pos, neg_points=neg, bounding_box=box
        )

    def test_the_agent_encodes_a_picture_once(self, agent):
        picture = Image.new("RGB", (24, 16))
        asked = self.prompts(agent, pos=((3.0, 2.0),), neg=((20.0, 15.0),))
        (shape,) = agent.module._worker_job_interact("key", picture, asked)
        (again,) = agent.module._worker_job_interact_from_cache("key", asked)
        assert agent.model.calls == ["encode", "click", "click"]
        assert shape.points == again.points
        mask = masks.decode_mask(shape.points, image_width=24, image_height=16)
        assert mask[:3].all()
        assert not mask[3:].any()
        (sure,) = shape.attributes
        assert (sure.spec_id, sure.value) == (
            cvat.InteractionResultAttributes.CONFIDENCE.value,
            "0.9000",
        )

    def test_a_box_alone_is_enough(self, agent):
        asked = self.prompts(agent, box=((1.0, 1.0), (9.0, 9.0)))
        assert agent.module._worker_job_interact("key", Image.new("RGB", (24, 16)), asked)

    def test_it_is_registered_with_what_it_takes(self, agent):
        fields = agent.module.AgentInteractionFunctionDriver.get_remote_function_fields(
            agent.function.spec
        )
        assert fields == {
            "min_pos_points": 0,
            "min_neg_points": 0,
            "startswith_box_optional": True,
        }


def test_without_the_sdk_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvat_sdk.auto_annotation", None)
    monkeypatch.delitem(sys.modules, "sam3_tvm.labels.cvat.detect")
    with pytest.raises(Exception, match=r"pip install 'sam3-tvm\[cvat\]'"):
        __import__("sam3_tvm.labels.cvat.detect")
