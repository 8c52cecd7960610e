import inspect
import json
from pathlib import Path

import pytest
import torch
import transformers.models.sam3.modeling_sam3 as modeling_sam3

from sam3_tvm.abi import abi
from sam3_tvm.components import Dim, bind
from sam3_tvm.sources import SourceError, open_source
from sam3_tvm.sources.sampling import sample_inputs

SHAPES = Path(__file__).parents[3] / "checkpoints" / "shapes"
DIMS = {
    "batch": 2,
    "boxes": 3,
    "clicks": 6,
    "tokens": 7,
    "prompt": 5,
    "queries": 4,
    "memories": 2,
    "pointers": 8,
    "masks": 3,
    "height": 30,
    "width": 20,
}


def names(source):
    return abi(source.sizes)


@pytest.mark.parametrize(
    "dims",
    [
        DIMS,
        {**DIMS, "batch": 1, "boxes": 0, "prompt": 1, "masks": 1, "memories": 1, "pointers": 0},
    ],
)
def test_every_component_takes_and_gives_what_the_abi_says(source, dims):
    for name, component in abi(source.sizes).items():
        inputs = sample_inputs(component, dims, source.vocabulary_size())
        bind(component, [x if isinstance(x, tuple) else x.shape for x in inputs])
        with source.patched(), torch.no_grad():
            outputs = source.component(name)(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        assert len(outputs) == len(component.outputs)
        values = {**dims, "boxes + 1": dims["boxes"] + 1, "clicks + 1": dims["clicks"] + 1}
        for spec, out in zip(component.outputs, outputs, strict=True):
            want = tuple(values[d.name] if isinstance(d, Dim) else d for d in spec.shape)
            assert tuple(out.shape) == want, f"{name}.{spec.name}"
            assert str(out.dtype) == f"torch.{spec.dtype}", f"{name}.{spec.name}"


def test_components_chained_equal_the_whole_model(source):
    """The cut loses nothing: logits, boxes, presence and masks are Sam3Model.forward's own."""
    torch.manual_seed(3)
    picture = torch.randn(1, 3, source.sizes.image, source.sizes.image)
    ids = torch.randint(0, 500, (1, 32))
    attention = (torch.arange(32)[None] < 7).long()
    boxes = torch.tensor([[[0.4, 0.5, 0.2, 0.3], [0.6, 0.3, 0.1, 0.2]]])
    labels = torch.tensor([[1, 0]])
    c = source.component
    with source.patched(), torch.no_grad():
        whole = source.model(
            pixel_values=picture,
            input_ids=ids,
            attention_mask=attention,
            input_boxes=boxes,
            input_boxes_labels=labels,
        )
        fpn = c("vision_encoder")(picture)[:3]
        text = c("text_encoder")(ids, attention)
        present = torch.ones(1, 2, dtype=torch.bool)
        geometry, mask = c("geometry_encoder")(boxes, labels, present, fpn[2])
        prompt = torch.cat([text, geometry], dim=1)
        prompt_mask = torch.cat([attention.bool(), mask], dim=1)
        memory = c("detr_encoder")(fpn[2], prompt, prompt_mask)
        queries, cxcywh, presence = c("detr_decoder")(memory, prompt, prompt_mask)
        logits = c("scoring")(queries, prompt, prompt_mask)
        masks, semantic = c("mask_decoder")(queries, *fpn, memory, prompt, prompt_mask)
    torch.testing.assert_close(logits, whole.pred_logits)
    torch.testing.assert_close(modeling_sam3.box_cxcywh_to_xyxy(cxcywh), whole.pred_boxes)
    torch.testing.assert_close(presence, whole.presence_logits)
    torch.testing.assert_close(masks, whole.pred_masks)
    torch.testing.assert_close(semantic, whole.semantic_seg)


def test_random_weights_depend_on_the_seed_alone(source):
    again = open_source("random:tiny:0").model.state_dict()
    other = open_source("random:tiny:1").model.state_dict()
    for key, value in source.model.state_dict().items():
        assert torch.equal(value, again[key])
    assert not torch.equal(other["text_projection.weight"], again["text_projection.weight"])


def test_a_folder_in_hugging_faces_layout_gives_the_same_model(source, tmp_path):
    source.model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(source.tokenizer_json())
    (tmp_path / "LICENSE").write_text("SAM License\n\nTerms.")
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.4]})
    )
    opened = open_source(str(tmp_path))
    # The model that was saved is the detector alone.
    assert opened.sizes == open_source("random:tiny", ("concepts",)).sizes
    assert opened.licence.name == "SAM License"
    assert opened.preprocessing.mean == (0.1, 0.2, 0.3)
    for key, value in source.model.state_dict().items():
        assert torch.equal(value, opened.model.state_dict()[key])


def test_a_missing_weight_is_an_error_and_never_a_random_one(source, tmp_path):
    state = source.model.state_dict()
    del state["text_projection.bias"]
    source.model.save_pretrained(tmp_path, state_dict=state)
    (tmp_path / "tokenizer.json").write_text(source.tokenizer_json())
    with pytest.raises(SourceError, match=r"text_projection\.bias"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("checkpoint", "says"),
    [
        ("random:huge", "random:tiny"),
        ("random:tiny:x", "random:tiny:7"),
        ("no-such-folder", "neither a folder here nor a hub id"),
    ],
)
def test_a_wrong_checkpoint_says_what_is_accepted(checkpoint, says):
    with pytest.raises(SourceError, match=says) as caught:
        open_source(checkpoint)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_model_says_what_is_missing(tmp_path):
    with pytest.raises(SourceError, match=r"config\.json"):
        open_source(str(tmp_path))


def test_the_models_code_is_not_copied(source):
    """Components call the package's modules; they don't carry layers of their own."""
    for name in abi(source.sizes):
        own = [
            key
            for key, module in source.component(name).named_modules()
            if key
            and not inspect.getmodule(type(module)).__name__.startswith(("torch", "transformers"))
        ]
        assert own == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", b"{", "tokenizer.json: is no tokenizer"),
        ("tokenizer.json", b"{}", "tokenizer.json: is no tokenizer"),
        ("preprocessor_config.json", b"{", "preprocessor_config.json: can't be read"),
        ("preprocessor_config.json", b"[]", "preprocessor_config.json: holds no JSON object"),
        ("tokenizer_config.json", b"\xff", "tokenizer_config.json: can't be read"),
        ("config.json", b"{", "is no SAM 3 checkpoint"),
        ("model.safetensors", b"cut", "is no SAM 3 checkpoint"),
    ],
)
def test_a_broken_file_of_a_folder_is_one_line(tmp_path, name, content, message):
    for path in SHAPES.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message) as error:
        open_source(str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_tracker_that_nobody_wants_is_not_read(both_halves, without, tmp_path):
    name = "tracker_neck.fpn_layers.0.proj2.bias"
    faulty = without(both_halves, tmp_path, name)
    assert open_source(faulty, ("concepts",)).tracker is None
    assert open_source("random:tiny", ("concepts",)).tracker is None
    with pytest.raises(SourceError, match="missing"):
        open_source(faulty, ("concepts", "clicks"))
