"""Pictures of another size: as transformers has it where ``config.image_size`` is set."""

import numpy as np
import pytest
import torch
from transformers.models.sam3_video.configuration_sam3_video import Sam3VideoConfig
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoModel

from sam3_tvm.abi import abi
from sam3_tvm.components import bind
from sam3_tvm.sources import open_source
from sam3_tvm.sources.huggingface.architectures import SAM3
from sam3_tvm.sources.huggingface.resizing import resize
from sam3_tvm.sources.sampling import sample_inputs

SIZES = [112, 126]
"""Of 8 and 9 patches a side; windows are of 4, so that one of the two is padded."""

DIMS = {
    "batch": 1,
    "boxes": 2,
    "clicks": 3,
    "tokens": 4,
    "prompt": 5,
    "queries": 4,
    "memories": 2,
    "pointers": 8,
    "masks": 3,
    "height": 30,
    "width": 20,
}


@pytest.fixture(scope="module", params=SIZES)
def image(request):
    return request.param


@pytest.fixture(scope="module")
def theirs(both_halves, image):
    config = Sam3VideoConfig.from_pretrained(both_halves)
    config.image_size = image
    return Sam3VideoModel.from_pretrained(both_halves, config=config).eval()


@pytest.fixture(scope="module")
def opened(both_halves, image):
    return open_source(str(both_halves), image_size=image)


def test_every_component_takes_and_gives_what_the_abi_says(opened, image):
    assert opened.sizes.image == opened.preprocessing.image_size == image
    assert opened.sizes.grid == image // 14
    for name, component in abi(opened.sizes).items():
        inputs = sample_inputs(component, DIMS, opened.vocabulary_size())
        bind(component, [x if isinstance(x, tuple) else x.shape for x in inputs])
        with opened.patched(), torch.no_grad():
            outputs = opened.component(name)(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for spec, out in zip(component.outputs, outputs, strict=True):
            known = {axis: n for axis, n in enumerate(spec.shape) if isinstance(n, int)}
            assert {axis: out.shape[axis] for axis in known} == known, f"{name}.{spec.name}"


def test_the_detector_is_transformers_own(opened, theirs, image):
    pixels = torch.randn(1, 3, image, image, generator=torch.Generator().manual_seed(1))
    ids = torch.arange(32)[None]
    given = {"input_ids": ids, "attention_mask": (ids < 7).long()}
    given["input_boxes"] = torch.tensor([[[0.4, 0.5, 0.2, 0.3]]])
    given["input_boxes_labels"] = torch.tensor([[1]])
    with opened.patched(), torch.no_grad():
        wanted = theirs.detector_model(pixel_values=pixels, **given)
        fpn = opened.component("vision_encoder")(pixels)[:3]
        text = opened.component("text_encoder")(ids, given["attention_mask"])
        boxes, labels = given["input_boxes"], given["input_boxes_labels"]
        there = torch.ones(1, 1, dtype=torch.bool)
        geometry, mask = opened.component("geometry_encoder")(boxes, labels, there, fpn[2])
        prompt = torch.cat([text, geometry], dim=1)
        prompt_mask = torch.cat([given["attention_mask"].bool(), mask], dim=1)
        memory = opened.component("detr_encoder")(fpn[2], prompt, prompt_mask)
        queries, _, presence = opened.component("detr_decoder")(memory, prompt, prompt_mask)
        logits = opened.component("scoring")(queries, prompt, prompt_mask)
        masks, _ = opened.component("mask_decoder")(queries, *fpn, memory, prompt, prompt_mask)
    torch.testing.assert_close(logits, wanted.pred_logits)
    torch.testing.assert_close(presence, wanted.presence_logits)
    torch.testing.assert_close(masks, wanted.pred_masks)


def test_the_tracker_is_transformers_own(opened, theirs):
    """Sizes that its modules keep, and tables that they compute of these, at any depth."""
    ours, tracker = opened.video_tracker, theirs.tracker_model
    buffers = {n: b for n, b in ours.named_buffers() if not n.startswith("vision_encoder.")}
    wanted = dict(tracker.named_buffers())
    assert buffers.keys() == wanted.keys()
    for name, buffer in buffers.items():
        torch.testing.assert_close(buffer, wanted[name], msg=name)
    assert ours.image_size == tracker.image_size
    assert ours.backbone_feature_sizes == tracker.backbone_feature_sizes
    for name in ("image_embedding_size", "mask_input_size", "input_image_size"):
        assert getattr(ours.prompt_encoder, name) == getattr(tracker.prompt_encoder, name)
        # Which transformers' own setter of Sam3TrackerConfig leaves as they were.
        assert getattr(opened.tracker.prompt_encoder, name) == getattr(ours.prompt_encoder, name)
    assert opened.tracker.backbone_feature_sizes == tracker.backbone_feature_sizes


def test_weights_are_those_of_the_checkpoint(opened, source):
    for part in ("model", "tracker", "video_tracker"):
        ours, own = getattr(opened, part).state_dict(), getattr(source, part).state_dict()
        assert ours.keys() == own.keys()
        # A checkpoint has one of those, and made up trackers two.
        names = own.keys() - {"no_memory_embedding"}
        assert [name for name in names if not torch.equal(ours[name], own[name])] == []


def test_random_weights_are_the_same_at_any_size(source):
    resized = open_source("random:tiny", image_size=112)
    for part in ("model", "tracker", "video_tracker"):
        ours, own = getattr(resized, part).state_dict(), getattr(source, part).state_dict()
        assert [name for name in own if not torch.equal(ours[name], own[name])] == []


def test_a_processor_of_the_checkpoints_own_size_is_no_obstacle(both_halves, tmp_path):
    for path in both_halves.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "preprocessor_config.json").write_text(
        '{"size": {"height": 168, "width": 168}, "mask_size": {"height": 48, "width": 48}}'
    )
    opened = open_source(str(tmp_path), ("concepts",), 112)
    assert opened.preprocessing.image_size == 112
    rgb = np.zeros((20, 30, 3), np.uint8)
    from sam3_tvm.sources.base import pixel_values

    assert pixel_values(rgb, opened.preprocessing).shape == (1, 3, 112, 112)


def test_an_encoder_without_windows_pads_nothing():
    config = SAM3.random["tiny"].config()
    windowed = resize(config, 126)
    config.vision_config.backbone_config.window_size = 0
    shape = resize(config, 126)
    assert (windowed.whole, windowed.padded) == (2, 12)
    assert (shape.whole, shape.padded) == (4, 9)
    assert shape.warning() is None


def test_the_checkpoints_own_size_changes_nothing_of_its_configuration():
    config = SAM3.random["tiny"].config()
    config.vision_config.backbone_feature_sizes = [[40, 40], [20, 20], [10, 10]]
    before = config.to_dict()
    assert resize(config, config.image_size).share == 1
    assert config.to_dict() == before
