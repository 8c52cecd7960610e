import pytest
import torch
from meta_tiny import matching_config, needs_meta
from transformers.models.sam3.modeling_sam3 import Sam3Model

from sam3_tvm.sources import SourceError, open_source
from sam3_tvm.sources.meta.keys import (
    POINTS,
    Change,
    meta_entry,
    split_meta_keys,
    transformers_entry,
)
from sam3_tvm.sources.tensors import examples, split_transformers_keys


@needs_meta
def test_the_table_pairs_every_tensor_of_both_models_but_those_for_points():
    meta = split_meta_keys(open_source("random:meta-tiny").model.state_dict())
    with torch.device("meta"):
        ours = set(Sam3Model(matching_config()).state_dict())
    entries = {name: meta_entry(name) for name in meta.model}
    assert {name for name, entry in entries.items() if entry is None} == set(POINTS)
    paired = [name for entry in entries.values() if entry for name in entry.transformers]
    assert len(paired) == len(set(paired))
    assert set(paired) == ours
    for entry in entries.values():
        for name in entry.transformers if entry else ():
            assert transformers_entry(name) == entry
    assert all(name.endswith(".freqs_cis") for name in meta.computed)


def test_layers_keep_their_numbers_and_products_come_apart():
    entry = meta_entry("backbone.vision_backbone.trunk.blocks.31.attn.qkv.bias")
    assert entry is not None
    assert entry.change is Change.THREE
    layer = "vision_encoder.backbone.layers.31.attention"
    assert entry.transformers == tuple(f"{layer}.{x}_proj.bias" for x in "qkv")
    norm = transformers_entry("detr_decoder.layers.5.self_attn_layer_norm.weight")
    assert norm is not None
    assert norm.meta == "transformer.decoder.layers.5.norm2.weight"


@pytest.mark.parametrize(
    "name",
    [
        "x.weight",
        "backbone.vision_backbone.convs.1.dconv_2x2_0.weight",
        "transformer.decoder.bbox_embed.layers.3.weight",
        "transformer.decoder.layers.0.norm4.weight",
        "backbone.vision_backbone.trunk.pos_embed.weight",
    ],
)
def test_a_name_like_those_of_the_table_is_not_one_of_them(name):
    assert meta_entry(name) is None


def test_spellings_in_the_wild_are_one_name():
    wild = [
        "detector.geometry_encoder.norm.weight",
        "module.sam3_model.geometry_encoder.norm.bias",
        "detector.segmentation_head.mask_embed.layers.0.weight",
        "detector.backbone.vision_backbone.trunk.blocks.0.attn.freqs_cis",
        "tracker.memory_encoder.weight",
        "detector.backbone.vision_backbone.sam2_convs.0.conv_1x1.weight",
    ]
    split = split_meta_keys(wild)
    assert split.model == {
        "geometry_encoder.norm.weight": wild[0],
        "geometry_encoder.norm.bias": wild[1],
        "segmentation_head.mask_predictor.mask_embed.layers.0.weight": wild[2],
    }
    assert (split.computed, split.tracker) == ([wild[3]], wild[4:])


def test_the_video_model_s_names_in_transformers_are_told_apart():
    names = ["detector_model.text_projection.bias", "tracker_neck.x.weight", "tracker_model.y"]
    split = split_transformers_keys(names)
    assert split.model == {"text_projection.bias": names[0]}
    assert split.tracker == names[1:]


def test_two_names_for_one_tensor_are_refused():
    with pytest.raises(SourceError, match="the same tensor's names"):
        split_meta_keys(["geometry_encoder.norm.bias", "detector.geometry_encoder.norm.bias"])


def test_long_lists_are_cut():
    assert examples("dbca") == "a, b, c and 1 more"
    assert examples("ba") == "a, b"
