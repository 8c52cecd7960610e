import numpy as np
import pytest
import torch
from meta_tiny import checkpoint_of, needs_meta

from sam3_tvm.abi import abi
from sam3_tvm.components import Dim, bind
from sam3_tvm.sources import SourceError, open_source
from sam3_tvm.sources.base import PromptSpec, pixel_values
from sam3_tvm.sources.sampling import sample_inputs

pytestmark = needs_meta

DIMS = {
    "batch": 2,
    "boxes": 3,
    "points": 2,
    "prompt": 5,
    "queries": 4,
    "masks": 3,
    "height": 30,
    "width": 20,
    "clicks": 9,
    "tokens": 10,
    "memories": 3,
    "pointers": 5,
}
SMALLEST = {
    **DIMS,
    **{"batch": 1, "boxes": 0, "points": 0, "prompt": 1, "masks": 1},
    **{"clicks": 1, "tokens": 2, "memories": 1, "pointers": 0},
}


@pytest.fixture(scope="module")
def source():
    return open_source("random:meta-tiny")


@pytest.mark.parametrize("dims", [DIMS, SMALLEST])
def test_every_component_takes_and_gives_what_the_abi_says(source, dims):
    for name, component in abi(source.sizes).items():
        inputs = sample_inputs(component, dims, source.vocabulary_size())
        bind(component, [x if isinstance(x, tuple) else x.shape for x in inputs])
        with source.patched(), torch.no_grad():
            outputs = source.component(name)(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        assert len(outputs) == len(component.outputs)
        values = {**dims, "boxes + points + 1": dims["boxes"] + dims["points"] + 1}
        values["clicks + 1"] = dims["clicks"] + 1
        for spec, out in zip(component.outputs, outputs, strict=True):
            want = tuple(values[d.name] if isinstance(d, Dim) else d for d in spec.shape)
            assert tuple(out.shape) == want, f"{name}.{spec.name}"
            assert str(out.dtype) == f"torch.{spec.dtype}", f"{name}.{spec.name}"


PROMPTS = [
    PromptSpec("dog"),
    PromptSpec("cat", ((10, 10, 50, 60), (70, 20, 120, 90)), (1, 0)),
    PromptSpec(None, ((10, 10, 50, 60),), (0,)),
    PromptSpec("cat", ((10, 10, 50, 60),), (1,), ((30, 20), (149, 99)), (1, 0)),
    PromptSpec(None, (), (), ((75, 50),), (1,)),
]


@pytest.mark.parametrize("prompt", PROMPTS, ids=str)
def test_components_chained_equal_the_whole_model(source, prompt):
    """The cut loses nothing: scores, boxes and masks are those of Sam3Image.forward_grounding."""
    height, width = 100, 150
    rgb = np.random.default_rng(5).integers(0, 255, (height, width, 3), dtype=np.uint8)
    reference = source.reference_segmenter()
    (whole,) = reference.segment(rgb, [prompt])
    corners = torch.tensor(prompt.boxes).reshape(1, -1, 4) / torch.tensor([width, height] * 2)
    low, high = corners[..., :2], corners[..., 2:]
    boxes = torch.cat([(low + high) / 2, high - low], -1)
    labels = torch.tensor(prompt.labels, dtype=torch.long)[None]
    points = torch.tensor(prompt.points).reshape(1, -1, 2) / torch.tensor([width, height])
    point_labels = torch.tensor(prompt.point_labels, dtype=torch.long)[None]
    ids = source.model.backbone.language_backbone.tokenizer([prompt.text or "visual"], 32)
    attention = (ids != 0).long()
    c = source.component
    with source.patched(), torch.no_grad():
        *fpn, _ = c("vision_encoder")(pixel_values(rgb, reference.preprocessing))
        text = c("text_encoder")(ids, attention)
        geometry, mask = c("geometry_encoder")(
            *(boxes, labels, torch.ones_like(labels, dtype=torch.bool)),
            *(points, point_labels, torch.ones_like(point_labels, dtype=torch.bool)),
            fpn[2],
        )
        tokens = torch.cat([text, geometry], dim=1)
        tokens_mask = torch.cat([attention.bool(), mask], dim=1)
        memory = c("detr_encoder")(fpn[2], tokens, tokens_mask)
        queries, cxcywh, presence = c("detr_decoder")(memory, tokens, tokens_mask)
        logits = c("scoring")(queries, tokens, tokens_mask)
        masks, _ = c("mask_decoder")(queries, *fpn, memory, tokens, tokens_mask)
        resized = c("resize_masks")(masks[0], (height, width))
    scores = logits.sigmoid() * presence.sigmoid()
    np.testing.assert_allclose(scores[0], whole.scores, rtol=1e-5)
    sides = cxcywh[0, :, 2:] * torch.tensor([width, height])
    np.testing.assert_allclose(sides, whole.boxes[:, 2:] - whole.boxes[:, :2], rtol=1e-3, atol=1e-3)
    agree = resized.numpy() == whole.masks(np.arange(source.sizes.queries))
    assert agree.mean() > 0.9999


def test_a_picture_of_another_size(source):
    """Of 9 patches a side, whose windows of 4 are padded."""
    resized = open_source("random:meta-tiny", image_size=126)
    assert (resized.sizes.image, resized.sizes.grid) == (126, 9)
    assert (resized.vision.grid, resized.vision.own) == (9, source.sizes.image)
    weights = checkpoint_of(source)
    for name, tensor in checkpoint_of(resized).items():
        assert torch.equal(tensor, weights[name]) or name.endswith("freqs_cis")
    test_components_chained_equal_the_whole_model(resized, PROMPTS[0])


def test_a_seed_decides_the_weights_and_every_parameter_counts(source):
    again, other = open_source("random:meta-tiny"), open_source("random:meta-tiny:7")
    weights = [checkpoint_of(one) for one in (source, again, other)]
    for name, a in weights[0].items():
        if name.endswith("freqs_cis"):
            continue
        b, c = (one[name] for one in weights[1:])
        assert torch.equal(a, b), name
        assert not torch.equal(a, c), name
        assert a.isfinite().all(), name
        assert a.numel() == 1 or a.std() > 0, name


def test_the_detector_s_weights_are_the_same_without_a_tracker(source):
    alone = open_source("random:meta-tiny", ("concepts",))
    assert (alone.tracker, alone.sizes.tasks) == (None, ("concepts",))
    whole = source.model.state_dict()
    for name, value in alone.model.state_dict().items():
        assert torch.equal(value, whole[name]), name


def test_building_the_tracker_leaves_the_process_as_it_was(source):
    # Its constructor enters autocast to bfloat16 on CUDA, for good.
    assert source.tracker.bf16_context.prev is torch.is_autocast_enabled("cuda")
    assert torch.get_autocast_dtype("cuda") == torch.float16


def test_the_rules_are_meta_s(source):
    rules = source.reference
    assert rules.geometry_without_boxes
    assert (rules.mask_resize, rules.default_threshold) == ("logits", 0.5)


@pytest.mark.parametrize("checkpoint", ["random:meta-huge", "random:meta:x", "random:meta:1:2"])
def test_an_unknown_name_is_one_line_with_what_is_accepted(checkpoint):
    with pytest.raises(SourceError, match=r"accepted are random:meta, random:meta-tiny") as error:
        open_source(checkpoint)
    assert "\n" not in str(error.value)
