"""Checkpoint folders as people have them: what is followed, and what is refused, not lost."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from sam3_tvm.sources import SourceError, open_source
from sam3_tvm.sources.convert import convert
from sam3_tvm.sources.huggingface.processing import read_preprocessing

SHAPES = Path(__file__).parents[3] / "checkpoints" / "shapes"
HALVES = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def folder(tmp_path) -> Path:
    """The demonstration checkpoint's detector as a checkpoint of its own, to be changed."""
    made = Path(shutil.copytree(SHAPES, tmp_path / "shapes"))
    tensors = load_file(made / "model.safetensors")
    prefix = "detector_model."
    own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    save_file(own, made / "model.safetensors", {"format": "pt"})
    described = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(described["detector_config"]))
    return made


def refused(folder: Path) -> str:
    with pytest.raises(SourceError) as caught:
        open_source(str(folder), ("concepts",))
    message = str(caught.value)
    assert "\n" not in message
    return message


def reweigh(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def edit(path: Path, change) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def shard(folder: Path) -> dict[str, str]:
    """Part the weights in two, and write the index; gives its map."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    parts = dict(zip(HALVES, (names[::2], names[1::2]), strict=True))
    for name, part in parts.items():
        save_file({key: tensors[key] for key in part}, folder / name, {"format": "pt"})
    (folder / "model.safetensors").unlink()
    places = {key: name for name, part in parts.items() for key in part}
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return places


def test_transformers_draws_no_bar_over_what_is_printed_and_keeps_its_setting(capfd):
    logging.enable_progress_bar()
    open_source(str(SHAPES), ("concepts",))
    assert capfd.readouterr().err == ""
    assert logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        open_source(str(SHAPES), ("concepts",))
        assert not logging.is_progress_bar_enabled()
    finally:
        logging.enable_progress_bar()


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_beside_the_weights_is_not_left_out(folder, name, tmp_path):
    (folder / name).write_text('{"peft_type": "LORA"}')
    assert "merge the adapter first" in refused(folder)
    with pytest.raises(SourceError, match="merge the adapter first"):
        convert(str(folder), tmp_path / "meta")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("text_projection.lora_A.default.weight", "are an adapter's .*merge the adapter first"),
        ("base_model.model.text_projection.weight", "are an adapter's"),
        ("text_projection.base_layer.weight", "are an adapter's"),
        ("tracker_model.mask_decoder.iou_head.lora_B.weight", "are an adapter's"),
        ("text_projection.extra", "1 tensors that SAM 3 hasn't: text_projection.extra;"),
        ("text_projection.qweight", "are quantised .*it has text_projection.qweight"),
    ],
)
def test_an_unknown_tensor_is_named(folder, name, says):
    reweigh(folder, lambda tensors: tensors.update({name: torch.zeros(2, 3)}))
    assert re.search(says, refused(folder))


def test_what_a_model_computes_and_the_tracker_are_passed_over(folder):
    def add(tensors):
        tensors["text_encoder.text_model.embeddings.position_ids"] = torch.arange(16)
        tensors["vision_encoder.backbone.layers.0.rotary_emb.rope_embeddings_cos"] = torch.zeros(3)
        tensors["tracker_neck.something"] = torch.zeros(3)

    plain = open_source(str(SHAPES), ("concepts",)).model.state_dict()
    reweigh(folder, add)
    opened = open_source(str(folder), ("concepts",)).model.state_dict()
    assert all(torch.equal(value, opened[name]) for name, value in plain.items())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.update({"text_projection.bias": torch.zeros(3)}), "bias is [3], and [96] by"),
        (lambda t: t["text_projection.bias"].fill_(float("nan")), "bias holds NaN or infinities"),
        (lambda t: t["text_projection.bias"][0].fill_(float("inf")), "holds NaN or infinities"),
        (lambda t: t.update({"text_projection.bias": torch.zeros(96, dtype=torch.int8)}), "is I8"),
        (
            lambda t: t.update({"text_projection.bias": torch.zeros(96).to(torch.float8_e4m3fn)}),
            "its weights are quantised (text_projection.bias is F8_E4M3)",
        ),
        (lambda t: t.pop("text_projection.bias"), "1 tensors are missing: text_projection.bias"),
    ],
)  # fmt: skip
def test_weights_that_are_not_the_model_s_are_one_line(folder, change, says):
    reweigh(folder, change)
    assert says in refused(folder)


def test_shards_are_read_by_their_index(folder):
    shard(folder)
    opened = open_source(str(folder), ("concepts",)).model.state_dict()
    for name, value in open_source(str(SHAPES), ("concepts",)).model.state_dict().items():
        assert torch.equal(value, opened[name])


def test_where_there_is_one_file_an_index_beside_it_is_not_read(folder, tmp_path):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "nowhere"}}')
    assert open_source(str(folder), ("concepts",)).kind == "transformers"
    assert convert(str(folder), tmp_path / "meta").format == "meta"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda places: places.clear(), "has no weight_map"),
        (lambda places: places.update({"text_projection.bias": 3}), "names 3, which is no file"),
        (lambda places: places.update({"text_projection.bias": "../x"}), "'../x', which is no fi"),
        (lambda places: places.update({"x": "y.safetensors"}), "y.safetensors, which isn't there"),
        (lambda places: places.update({"x": HALVES[0]}), f"says that x is in {HALVES[0]}, which"),
        (lambda places: places.pop("text_projection.bias"), "doesn't say that text_projection.bi"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_one_line(folder, change, says):
    places = shard(folder)
    change(places)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert says in refused(folder)


def test_pickled_weights_are_not_taken(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "has its weights in pytorch_model.bin and no model.safetensors" in refused(folder)


def test_a_file_of_the_folder_is_not_looked_for_on_the_hub(folder, tmp_path):
    for name in ("model.safetensors", "config.json"):
        assert "is a file, and a checkpoint is the folder that holds it" in refused(folder / name)
    with pytest.raises(SourceError, match=f"give {folder}"):
        convert(str(folder / "model.safetensors"), tmp_path / "out")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, "config.json is no SAM 3 checkpoint: it has no model_type"),
        ([], "holds no JSON object"),
        ({"model_type": "sam2"}, "it is of model_type 'sam2'"),
        ({"model_type": "sam3_tracker"}, "it is of model_type 'sam3_tracker'"),
        ({"model_type": "sam3_video"}, "it has no model_type"),
        ({"model_type": "sam3_video", "detector_config": {"model_type": "detr"}}, "'detr'"),
        ({"model_type": ["sam3"]}, "it is of model_type ['sam3']"),
    ],
)
def test_a_configuration_of_another_model_is_one_line(folder, config, says):
    (folder / "config.json").write_text(json.dumps(config))
    assert says in refused(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["vision_config"].update(backbone_config="x"), "is no SAM 3 checkpoint"),
        (lambda c: c["text_config"].update(num_hidden_layers=10**9), "num_hidden_layers is 1000"),
        (lambda c: c["text_config"].update(hidden_size=-3), "no model can be made of its config"),
        (lambda c: c["text_config"].update(hidden_size=100), "is no SAM 3 checkpoint"),
        (lambda c: c["text_config"].update(hidden_size="96"), "is no SAM 3 checkpoint"),
        (lambda c: c.update(quantization_config={"quant_method": "gptq"}), "quantised (its config"),
    ],
)
def test_a_configuration_of_no_model_is_one_line(folder, change, says):
    edit(folder / "config.json", change)
    assert says in refused(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_pipe_is_not_waited_for(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert f"has no {name}" in refused(folder)


def test_json_with_a_byte_order_mark_is_read(folder):
    for path in folder.glob("*.json"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert open_source(str(folder), ("concepts",)).pad_id == 595


# Pictures


def prepared(folder: Path, name: str = "preprocessor_config.json", **entries):
    (folder / name).write_text(json.dumps(entries))
    return read_preprocessing(folder, 112)


def test_a_mean_of_one_number_counts_for_each_channel(folder):
    rules = prepared(folder, image_mean=0.25, image_std=[0.5], rescale_factor=1 / 128)
    assert (rules.mean, rules.std) == ((0.25,) * 3, (0.5,) * 3)
    assert rules.rescale == 1 / 128


def test_what_is_not_done_has_the_numbers_that_change_nothing(folder):
    rules = prepared(folder, do_normalize=False, image_mean=[0.1, 0.2, 0.3])
    assert (rules.mean, rules.std, rules.rescale) == ((0, 0, 0), (1, 1, 1), 1 / 255)
    rules = prepared(folder, do_rescale=False, image_mean=[1, 2, 3], image_std=[4, 5, 6])
    assert (rules.mean, rules.std, rules.rescale) == ((1, 2, 3), (4, 5, 6), 1)


def test_null_is_the_default(folder):
    entries = ("image_mean", "image_std", "do_rescale", "do_normalize", "resample", "size")
    assert prepared(folder, **dict.fromkeys(entries)) == prepared(folder)


def test_a_processor_without_an_image_processor_hides_nothing(folder):
    told = prepared(folder, image_mean=[0.1, 0.2, 0.3])
    for entries in ({}, {"image_processor": None}, {"processor_class": "Sam3Processor"}):
        assert prepared(folder, "processor_config.json", **entries) == told
    nested = {"image_processor": {"image_mean": 0.75}, "image_mean": 0.1}
    assert prepared(folder, "processor_config.json", **nested).mean == (0.75,) * 3


@pytest.mark.parametrize(
    "entries",
    [
        {"size": 112},
        {"size": [112, 112]},
        {"size": {"height": 112, "width": 112, "longest_edge": None}},
        {"do_center_crop": True, "crop_size": {"height": 112, "width": 112}},
        {"do_center_crop": False, "crop_size": 7},
        {"do_pad": True},
        {"resample": 2, "image_processor_type": "Sam3ImageProcessorFast", "do_convert_rgb": True},
    ],
)
def test_what_comes_to_the_same_is_accepted(folder, entries):
    assert prepared(folder, **entries) == prepared(folder)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"image_mean": [0.5, 0.5]}, "image_mean is [0.5, 0.5], and must be a number or three"),
        ({"image_mean": "0.5"}, "image_mean is '0.5'"),
        ({"image_std": [True, 1, 1]}, "image_std is [True, 1, 1]"),
        ({"image_std": 0}, "image_std is 0, and must not be 0"),
        ({"image_std": float("nan")}, "image_std is nan"),
        ({"rescale_factor": 0}, "rescale_factor is 0"),
        ({"rescale_factor": 10**400}, "rescale_factor is 1000"),
        ({"do_normalize": "false"}, "do_normalize is 'false', and must be true or false"),
        ({"do_resize": False}, "do_resize is false"),
        ({"resample": 3}, "resample is 3; 2 (bilinear) is served"),
        ({"resample": "bicubic"}, "resample is 'bicubic'"),
        ({"size": {"height": 224, "width": 224}}, "the model takes 112 x 112 pixels"),
        ({"size": {"longest_edge": 112}}, "the model takes 112 x 112 pixels"),
        ({"size": {"shortest_edge": 112, "height": 112, "width": 112}}, "takes 112 x 112"),
        ({"do_center_crop": True, "crop_size": 64}, "crop_size is 64"),
        ({"do_pad": True, "pad_size": {"height": 128, "width": 128}}, "pad_size is"),
        ({"image_processor_type": "CLIPImageProcessor"}, "image_processor_type is 'CLIPImage"),
    ],
)
def test_what_is_not_done_here_is_refused(folder, entries, says):
    with pytest.raises(SourceError) as caught:
        prepared(folder, **entries)
    assert says in str(caught.value)
    assert "preprocessor_config.json: " in str(caught.value)
