"""The components for clicks beside transformers' own ``Sam3TrackerModel``, and their weights."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.models.sam3.modeling_sam3 import Sam3Model
from transformers.models.sam3_tracker.modeling_sam3_tracker import Sam3TrackerModel

from sam3_tvm.abi import CLICK_LABELS, abi
from sam3_tvm.runtime.clicks.clicker import choose_masks
from sam3_tvm.sources import SourceError, open_source
from sam3_tvm.sources.huggingface.architectures import SAM3
from sam3_tvm.sources.huggingface.clicks import read_tracker
from sam3_tvm.sources.huggingface.files import read_config, read_tracker_config, tracker_shapes
from sam3_tvm.sources.random_weights import randomise
from sam3_tvm.sources.sampling import sample_inputs

SHAPES = Path(__file__).parents[3] / "checkpoints" / "shapes"


@pytest.fixture(scope="module")
def pictures(source):
    generator = torch.Generator().manual_seed(5)
    side = source.sizes.image
    return torch.randn(2, 3, side, side, generator=generator)


def draw(shape, seed, high=1.0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * high


def ours(source, picture, points, labels, masks=None):
    """The components chained, for the objects of one picture [1, 3, I, I].

    Args:
        source: where they come from.
        picture: the network's input.
        points: pixels of the network's input, [objects, N, 2].
        labels: [objects, N], corners of boxes included.
        masks: logits [objects, 1, 4S, 4S], or None.
    """
    side, count = 4 * source.sizes.grid, len(points)
    given = torch.full((count,), masks is not None)
    logits = torch.zeros(count, 1, side, side) if masks is None else masks
    with source.patched(), torch.no_grad():
        *_, backbone = source.component("vision_encoder")(picture)
        features = source.component("tracker_neck")(backbone)
        sparse, dense = source.component("prompt_encoder")(
            points / source.sizes.image, labels, logits, given
        )
        repeated = (f.repeat(count, 1, 1, 1) for f in features)
        return source.component("click_decoder")(*repeated, sparse, dense)


def assert_same(source, pictures, wanted, all_points, all_labels, masks=None, multimask=True):
    for row, picture in enumerate(pictures):
        prior = None if masks is None else masks[row : row + 1]
        got = ours(source, picture[None], all_points[row], all_labels[row], prior)
        proposed, iou, object_logits, _ = (t.numpy() for t in got)
        chosen, scores = choose_masks(proposed, iou, multimask, source.clicks)
        np.testing.assert_allclose(chosen, wanted.pred_masks[row], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(scores, wanted.iou_scores[row], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            object_logits, wanted.object_score_logits[row], rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize(("objects", "count"), [(1, 1), (2, 3), (3, 9)])
def test_points_give_what_the_whole_model_gives(source, pictures, objects, count, multimask):
    points = draw((2, objects, count, 2), count, source.sizes.image)
    labels = torch.randint(0, 2, (2, objects, count), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        wanted = source.tracker(
            pixel_values=pictures,
            input_points=points,
            input_labels=labels,
            multimask_output=multimask,
        )
    assert wanted.pred_masks.shape[2] == (3 if multimask else 1)
    assert_same(source, pictures, wanted, points, labels, multimask=multimask)


def corners(boxes):
    """Boxes [..., 4] as clicks: corners [..., 2, 2] and their labels."""
    points = boxes.unflatten(-1, (2, 2))
    return points, torch.tensor([2, 3]).expand(points.shape[:-1])


@pytest.mark.parametrize("multimask", [True, False])
def test_boxes_give_what_the_whole_model_gives(source, pictures, multimask):
    boxes = draw((2, 3, 4), 1, source.sizes.image / 2)
    boxes[..., 2:] += boxes[..., :2]
    with torch.no_grad():
        wanted = source.tracker(
            pixel_values=pictures, input_boxes=boxes, multimask_output=multimask
        )
    assert_same(source, pictures, wanted, *corners(boxes), multimask=multimask)


def test_points_and_a_box_together_give_what_the_whole_model_gives(source, pictures):
    side = source.sizes.image
    points, labels = draw((2, 2, 3, 2), 7, side), torch.tensor([1, 0, 1]).expand(2, 2, 3)
    boxes = torch.tensor([0.1, 0.2, 0.7, 0.9]).expand(2, 2, 4) * side
    with torch.no_grad():
        wanted = source.tracker(
            pixel_values=pictures, input_points=points, input_labels=labels, input_boxes=boxes
        )
    at, kinds = corners(boxes)
    assert_same(source, pictures, wanted, torch.cat([points, at], 2), torch.cat([labels, kinds], 2))


@pytest.mark.parametrize("multimask", [True, False])
def test_a_mask_prior_gives_what_the_whole_model_gives(source, pictures, multimask):
    """The reference takes one object per picture with a mask."""
    points = draw((2, 1, 2, 2), 2, source.sizes.image)
    labels = torch.tensor([1, 0]).expand(2, 1, 2)
    side = 4 * source.sizes.grid
    masks = torch.randn(2, 1, side, side, generator=torch.Generator().manual_seed(1)) * 4
    with torch.no_grad():
        wanted = source.tracker(
            pixel_values=pictures,
            input_points=points,
            input_labels=labels,
            input_masks=masks,
            multimask_output=multimask,
        )
        without = source.tracker(pixel_values=pictures, input_points=points, input_labels=labels)
    assert not torch.allclose(wanted.pred_masks[:, :, :1], without.pred_masks[:, :, :1])
    assert_same(source, pictures, wanted, points, labels, masks, multimask)


def test_a_mask_alone_goes_with_a_click_that_is_none(source, pictures):
    side = 4 * source.sizes.grid
    masks = torch.randn(2, 1, side, side, generator=torch.Generator().manual_seed(1)) * 4
    with torch.no_grad():
        wanted = source.tracker(pixel_values=pictures, input_masks=masks)
    nothing = torch.full((2, 1, 1), -1)
    assert_same(source, pictures, wanted, torch.zeros(2, 1, 1, 2), nothing, masks)


def test_every_label_is_tried_and_padding_is_zeros(source):
    inputs = sample_inputs(
        abi(source.sizes)["prompt_encoder"], {"batch": 2, "clicks": 64}, source.vocabulary_size()
    )
    labels = inputs[1]
    assert set(labels.flatten().tolist()) == set(CLICK_LABELS)
    with source.patched(), torch.no_grad():
        sparse, _ = source.component("prompt_encoder")(*inputs)
    padding = sparse[:, :-1][labels == -10]
    assert padding.shape[0] > 0
    assert not padding.any()
    assert sparse[:, :-1][labels != -10].any(-1).all()


def test_the_stability_rule_takes_both_branches(source, pictures):
    """Masks of random weights are all unstable; by a lower threshold half of these are stable."""
    points = draw((2, 12, 1, 2), 9, source.sizes.image)
    labels = torch.ones(2, 12, 1, dtype=torch.int64)
    proposed, iou, *_ = ours(source, pictures[:1], points[0], labels[0])
    decoder = source.tracker.mask_decoder
    stability = decoder._get_stability_scores(proposed[:, :1])[:, 0]
    middle = float(stability.sort().values[5:7].mean())
    before = decoder.dynamic_multimask_stability_thresh
    try:
        decoder.dynamic_multimask_stability_thresh = middle
        with torch.no_grad():
            wanted = source.tracker(
                pixel_values=pictures[:1],
                input_points=points[:1],
                input_labels=labels[:1],
                multimask_output=False,
            )
    finally:
        decoder.dynamic_multimask_stability_thresh = before
    rules = type(source.clicks)(source.clicks.stability_delta, middle)
    chosen, scores = choose_masks(proposed.numpy(), iou.numpy(), False, rules)
    first = [np.array_equal(c[0], p[0]) for c, p in zip(chosen, proposed.numpy(), strict=True)]
    assert sum(first) == 6
    np.testing.assert_allclose(chosen, wanted.pred_masks[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scores, wanted.iou_scores[0], rtol=1e-4, atol=1e-5)


def test_running_a_component_leaves_the_model_as_it_was(source, pictures):
    before = dict(source.tracker.mask_decoder.__dict__)
    ours(source, pictures[:1], torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.int64))
    assert source.tracker.mask_decoder.__dict__ == before


def test_the_detectors_weights_are_those_it_had_alone(source):
    alone = Sam3Model(SAM3.random["tiny"].config()).eval()
    randomise(alone, seed=0)
    for key, value in alone.state_dict().items():
        assert torch.equal(value, source.model.state_dict()[key]), key


def test_the_trackers_weights_depend_on_the_seed_alone(source):
    again, other = open_source("random:tiny:0").tracker, open_source("random:tiny:1").tracker
    same = source.tracker.state_dict()
    for key, value in again.state_dict().items():
        assert torch.equal(value, same[key]), key
        assert value.isfinite().all(), key
    own = [k for k in same if not k.startswith("vision_encoder.backbone.")]
    assert sum(torch.equal(other.state_dict()[key], same[key]) for key in own) == 0


def test_both_halves_share_one_backbone(source):
    assert source.tracker.vision_encoder.backbone is source.model.vision_encoder.backbone


def test_a_checkpoint_of_both_halves_gives_both(source, both_halves, pictures):
    opened = open_source(str(both_halves))
    assert opened.sizes == source.sizes
    assert opened.clicks == source.clicks
    points, labels = draw((2, 1, 2), 4, source.sizes.image), torch.ones(2, 1, dtype=torch.int64)
    for a, b in zip(
        ours(opened, pictures[:1], points, labels),
        ours(source, pictures[:1], points, labels),
        strict=True,
    ):
        assert torch.equal(a, b)
    # And what transformers makes of the same folder.
    theirs = Sam3TrackerModel.from_pretrained(both_halves)
    with torch.no_grad():
        wanted = theirs(
            pixel_values=pictures[:1], input_points=points[None], input_labels=labels[None]
        )
    assert_same(opened, pictures[:1], wanted, points[None], labels[None])


def test_the_prefix_that_saving_again_doubles_is_known(source, both_halves, tmp_path):
    tensors = load_file(both_halves / "model.safetensors")
    doubled = {k.replace("tracker_model.", "tracker_model." * 2): v for k, v in tensors.items()}
    save_file(doubled, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text((both_halves / "config.json").read_text())
    clicks, video = read_tracker(tmp_path, source.model)
    for read, whole in (
        (clicks.mask_decoder, source.tracker.mask_decoder),
        (video, source.video_tracker),
    ):
        for key, value in whole.state_dict().items():
            assert torch.equal(value, read.state_dict()[key]), key


@pytest.mark.parametrize(
    "name",
    ["tracker_neck.fpn_layers.0.proj2.bias", "tracker_model.memory_encoder.projection.bias"],
)
def test_a_missing_weight_of_the_tracker_is_an_error(both_halves, without, tmp_path, name):
    _, _, own = name.partition(".")
    with pytest.raises(SourceError, match=rf"1 weights .*{re.escape(own)}") as caught:
        open_source(without(both_halves, tmp_path, name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("tracker_neck.fpn_layers.0.proj2.bias", "the tracker"),
        ("tracker_model.memory_encoder.projection.bias", "the tracker for video"),
    ],
)
def test_a_weight_of_another_shape_is_an_error(source, both_halves, tmp_path, name, of):
    tensors = load_file(both_halves / "model.safetensors")
    tensors[name] = tensors[name].repeat(2)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").symlink_to(both_halves / "config.json")
    with pytest.raises(SourceError, match=f"the weights of {of} don't fit it: .*size") as caught:
        read_tracker(tmp_path, source.model)
    assert "\n" not in str(caught.value)


def test_weights_that_cannot_be_read_are_an_error(source, both_halves, tmp_path):
    whole = (both_halves / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:1000])
    (tmp_path / "config.json").symlink_to(both_halves / "config.json")
    with pytest.raises(SourceError, match="its weights can't be read") as caught:
        read_tracker(tmp_path, source.model)
    assert "\n" not in str(caught.value)


def refused_configuration(source, both_halves, folder, described) -> str:
    (folder / "config.json").write_text(json.dumps(described))
    (folder / "model.safetensors").symlink_to(both_halves / "model.safetensors")
    with pytest.raises(SourceError) as caught:
        read_tracker(folder, source.model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("tracker", [[3], {"prompt_encoder_config": 3}], ids=str)
def test_a_configuration_of_something_else_is_an_error(source, both_halves, tmp_path, tracker):
    described = json.loads((both_halves / "config.json").read_text())
    described["tracker_config"] = tracker
    refused = refused_configuration(source, both_halves, tmp_path, described)
    assert "tracker_config is no tracker of SAM 3" in refused


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("mask_decoder_config", "num_attention_heads", 0),
        ("prompt_encoder_config", "patch_size", 0),
        ("prompt_encoder_config", "hidden_size", -1),
        (None, "mask_downsampler_total_stride", 0),
        (None, "num_maskmem", -1),
    ],
)
def test_a_configuration_that_no_tracker_can_be_made_of_is_an_error(
    source, both_halves, tmp_path, part, name, value
):
    described = json.loads((both_halves / "config.json").read_text())
    tracker = described["tracker_config"]
    (tracker if part is None else tracker[part])[name] = value
    refused = refused_configuration(source, both_halves, tmp_path, described)
    assert "no model can be made of its tracker_config" in refused


def test_a_tracker_may_be_of_another_width_than_its_detector():
    """That of the demonstration is narrower."""
    opened = open_source(str(SHAPES))
    assert (opened.sizes.hidden, opened.sizes.clicks.hidden) == (96, 64)
    widths = {
        spec.shape[1]
        for part in abi(opened.sizes).values()
        for spec in (*part.inputs, *part.outputs)
        if spec.name in ("tracker_2", "conditioned", "dense")
    }
    assert widths == {64}
    stored = load_file(SHAPES / "model.safetensors")
    shapes = tracker_shapes(read_tracker_config(SHAPES, read_config(SHAPES)), SHAPES)
    assert shapes == {n: t.shape for n, t in stored.items() if n.startswith("tracker_")}
