"""SAM 3 LiteText as a source: the same cut, another text encoder, phrases as the processor pads."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers.models.sam3_lite_text.modeling_sam3_lite_text import (
    Sam3LiteTextModel,
    Sam3LiteTextTextModel,
)

from sam3_tvm.abi import abi
from sam3_tvm.sources import SourceError, open_source
from sam3_tvm.sources.convert import convert
from sam3_tvm.sources.huggingface.architectures import SAM3_LITE_TEXT


@pytest.fixture(scope="module")
def lite():
    return open_source("random:tiny-litetext")


@pytest.fixture(scope="module")
def folder(lite, tmp_path_factory):
    path = tmp_path_factory.mktemp("lite")
    lite.model.save_pretrained(path)
    (path / "tokenizer.json").write_text(lite.tokenizer_json())
    return path


def test_it_serves_concepts_and_has_no_tracker(lite):
    assert isinstance(lite.model, Sam3LiteTextModel)
    assert lite.sizes.tasks == ("concepts",)
    with pytest.raises(SourceError, match="no weights for clicks"):
        open_source("random:tiny-litetext", ("concepts", "clicks"))


def test_phrases_are_as_long_as_the_processor_pads_them_though_positions_are_77(lite):
    assert lite.model.config.text_config.max_position_embeddings == 77
    assert lite.sizes.text_tokens == 32
    (ids, _) = abi(lite.sizes)["text_encoder"].inputs
    assert ids.shape[1] == 32
    # Written into transformers' processor, which needs torchvision to be imported.
    spec = importlib.util.find_spec("transformers.models.sam3.processing_sam3")
    assert 'padding="max_length", max_length=32)' in Path(spec.origin).read_text()


def test_components_chained_equal_the_whole_model(lite):
    torch.manual_seed(3)
    picture = torch.randn(1, 3, lite.sizes.image, lite.sizes.image)
    ids = torch.randint(0, 500, (1, 32))
    attention = (torch.arange(32)[None] < 7).long()
    boxes, labels = torch.tensor([[[0.4, 0.5, 0.2, 0.3]]]), torch.tensor([[1]])
    c = lite.component
    with lite.patched(), torch.no_grad():
        whole = lite.model(
            pixel_values=picture,
            input_ids=ids,
            attention_mask=attention,
            input_boxes=boxes,
            input_boxes_labels=labels,
        )
        fpn = c("vision_encoder")(picture)
        text = c("text_encoder")(ids, attention)
        present = torch.ones(1, 1, dtype=torch.bool)
        geometry, mask = c("geometry_encoder")(boxes, labels, present, fpn[2])
        prompt = torch.cat([text, geometry], dim=1)
        prompt_mask = torch.cat([attention.bool(), mask], dim=1)
        memory = c("detr_encoder")(fpn[2], prompt, prompt_mask)
        queries, _, presence = c("detr_decoder")(memory, prompt, prompt_mask)
        logits = c("scoring")(queries, prompt, prompt_mask)
        masks, semantic = c("mask_decoder")(queries, *fpn, memory, prompt, prompt_mask)
    torch.testing.assert_close(logits, whole.pred_logits)
    torch.testing.assert_close(presence, whole.presence_logits)
    torch.testing.assert_close(masks, whole.pred_masks)
    torch.testing.assert_close(semantic, whole.semantic_seg)


def test_every_weight_of_its_text_encoder_counts(lite):
    """Batch norms' statistics, too: none is as it was made."""
    state = lite.model.text_encoder.state_dict()
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            assert tensor.std() > 0.01, name


def test_a_folder_gives_the_same_model(lite, folder):
    stored = load_file(folder / "model.safetensors")
    assert any(tensor.dtype == torch.int64 for tensor in stored.values())
    opened = open_source(str(folder), image_size=112)
    assert (opened.sizes.image, opened.sizes.text_tokens) == (112, 32)
    for name, tensor in lite.model.state_dict().items():
        assert torch.equal(tensor, opened.model.state_dict()[name])


def test_its_own_size_is_that_of_the_published_checkpoint():
    """As the model card of ``sam3-litetext-s0`` says: 42 million parameters instead of 354."""
    config = SAM3_LITE_TEXT.random["sam3-litetext"].config()
    with torch.device("meta"):
        text = Sam3LiteTextTextModel(config.text_config)
    assert sum(p.numel() for p in text.parameters()) == pytest.approx(42.4e6, rel=0.01)
    assert config.text_config.repmixer_kernel_size == 11


def test_it_isnt_converted_to_metas_format(folder, tmp_path):
    with pytest.raises(SourceError, match=r"sam3_lite_text.*sam3 alone is converted"):
        convert(str(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_beside_sam_3s_tracker_it_serves_clicks_and_films(lite, source, folder, tmp_path):
    """As the detector of a Sam3VideoModel, whose tracker takes the features of its backbone."""
    from safetensors.torch import save_file
    from transformers.models.sam3_video.configuration_sam3_video import Sam3VideoConfig

    tracker = source.video_tracker
    parts = {
        "detector_model": lite.model.state_dict(),
        "tracker_neck": tracker.vision_encoder.neck.state_dict(),
        "tracker_model": {
            name: tensor
            for name, tensor in tracker.state_dict().items()
            if not name.startswith("vision_encoder.")
        },
    }
    named = {f"{p}.{name}": t.clone() for p, all_ in parts.items() for name, t in all_.items()}
    Sam3VideoConfig(
        detector_config=lite.model.config.to_dict(), tracker_config=tracker.config.to_dict()
    ).save_pretrained(tmp_path)
    save_file(named, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "tokenizer.json").write_text(lite.tokenizer_json())
    described = json.loads((tmp_path / "config.json").read_text())
    assert described["detector_config"]["model_type"] == "sam3_lite_text"
    opened = open_source(str(tmp_path))
    assert opened.sizes.tasks == ("concepts", "clicks", "video")
    assert isinstance(opened.model, Sam3LiteTextModel)
    backbone = opened.tracker.vision_encoder.backbone
    assert backbone is opened.model.vision_encoder.backbone
