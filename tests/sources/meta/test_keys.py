from pathlib import Path

import pytest
import torch
from meta_tiny import checkpoint_of, matching_video_config, needs_meta
from transformers import Sam3Config
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoModel

from sam3_tvm.sources import SourceError, open_source
from sam3_tvm.sources.huggingface.files import read_tracker_config, tracker_shapes
from sam3_tvm.sources.meta.build import CONFIGS, build_tracker
from sam3_tvm.sources.meta.changes import transformers_tensors
from sam3_tvm.sources.meta.keys import (
    POINTS,
    Change,
    file_name,
    meta_entry,
    split_meta_keys,
    transformers_entry,
)
from sam3_tvm.sources.tensors import examples, split_transformers_keys


@needs_meta
def test_the_table_pairs_every_tensor_of_both_models_but_those_for_points():
    weights = checkpoint_of(open_source("random:meta-tiny"))
    meta = split_meta_keys(weights)
    with torch.device("meta"):
        video = split_transformers_keys(Sam3VideoModel(matching_video_config()).state_dict())
    for theirs, ours in ((meta.model, video.model), (meta.tracker, video.tracker)):
        entries = {name: meta_entry(name) for name in theirs}
        without = {name for name, entry in entries.items() if entry is None}
        assert without == (set(POINTS) if theirs is meta.model else set())
        known = {entry for entry in entries.values() if entry is not None}
        assert {name for entry in known for name in entry.meta} == theirs.keys() - without
        paired = [name for entry in known for name in entry.transformers]
        assert len(paired) == len(set(paired))
        assert set(paired) == ours.keys()
        assert all(transformers_entry(name) == e for e in known for name in e.transformers)
    split = (*meta.model, *meta.tracker)
    assert {file_name(name) for name in split} == weights.keys() - set(meta.computed)
    assert all(name.endswith(".freqs_cis") for name in meta.computed)


def test_layers_keep_their_numbers_and_products_come_apart():
    entry = meta_entry("backbone.vision_backbone.trunk.blocks.31.attn.qkv.bias")
    assert entry is not None
    assert entry.change is Change.THREE
    layer = "vision_encoder.backbone.layers.31.attention"
    assert entry.transformers == tuple(f"{layer}.{x}_proj.bias" for x in "qkv")
    norm = transformers_entry("detr_decoder.layers.5.self_attn_layer_norm.weight")
    assert norm is not None
    assert norm.meta == ("transformer.decoder.layers.5.norm2.weight",)


def test_a_table_of_labels_is_one_there_and_four_here():
    rows = transformers_entry("tracker_model.prompt_encoder.point_embed.weight")
    assert rows is not None
    assert rows.change is Change.ROWS
    assert [name.split(".")[-2] for name in rows.meta] == ["0", "1", "2", "3"]
    assert all(meta_entry(name) == rows for name in rows.meta)
    twice = meta_entry("tracker.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix")
    assert twice is not None
    assert (twice.change, len(twice.transformers)) == (Change.TWICE, 2)


@pytest.mark.parametrize(
    "name",
    [
        "x.weight",
        "backbone.vision_backbone.convs.1.dconv_2x2_0.weight",
        "transformer.decoder.bbox_embed.layers.3.weight",
        "transformer.decoder.layers.0.norm4.weight",
        "backbone.vision_backbone.trunk.pos_embed.weight",
        "tracker.sam_prompt_encoder.point_embeddings.4.weight",
        "tracker.maskmem_backbone.mask_downsampler.encoder.2.weight",
        "tracker.sam_mask_decoder.output_hypernetworks_mlps.0.layers.3.weight",
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
        "inst_interactive_predictor.model.no_mem_embed",
    ]
    split = split_meta_keys(wild)
    assert split.model == {
        "geometry_encoder.norm.weight": wild[0],
        "geometry_encoder.norm.bias": wild[1],
        "segmentation_head.mask_predictor.mask_embed.layers.0.weight": wild[2],
    }
    assert split.computed == [wild[3]]
    assert split.tracker == {
        "tracker.memory_encoder.weight": wild[4],
        "backbone.vision_backbone.sam2_convs.0.conv_1x1.weight": wild[5],
        "tracker.no_mem_embed": wild[6],
    }


def test_the_video_model_s_names_in_transformers_are_told_apart():
    names = [
        "detector_model.text_projection.bias",
        "tracker_neck.x.weight",
        "tracker_model.y",
        "tracker_model.tracker_model.z",
    ]
    split = split_transformers_keys(names)
    assert split.model == {"text_projection.bias": names[0]}
    assert split.tracker == {
        "tracker_neck.x.weight": names[1],
        "tracker_model.y": names[2],
        "tracker_model.z": names[3],
    }


def test_two_names_for_one_tensor_are_refused():
    with pytest.raises(SourceError, match="the same tensor's names"):
        split_meta_keys(["tracker.x", "inst_interactive_predictor.model.x"])
    with pytest.raises(SourceError, match="the same tensor's names"):
        split_meta_keys(["geometry_encoder.norm.bias", "detector.geometry_encoder.norm.bias"])


def test_long_lists_are_cut():
    assert examples("dbca") == "a, b, c and 1 more"
    assert examples("ba") == "a, b"


@needs_meta
def test_sam_3_s_own_tracker_has_the_shapes_of_transformers_default():
    """At the real size, with no config.json named; the neck is like the detector's."""
    tracker = build_tracker(CONFIGS["meta"]()).state_dict()
    tracker = {f"tracker.{name}": tensor for name, tensor in tracker.items()}
    shapes = tracker_shapes(read_tracker_config(None, Sam3Config()), Path("none"))
    shapes = {n: s for n, s in shapes.items() if n.startswith("tracker_model.")}
    made = {}
    for entry in {meta_entry(name) for name in tracker}:
        assert entry is not None
        made |= transformers_tensors(entry, [tracker[name] for name in entry.meta])
    assert {name: tensor.shape for name, tensor in made.items()} == shapes
