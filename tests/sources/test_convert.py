import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from meta_tiny import checkpoint_of, needs_meta
from safetensors.torch import load_file, save_file
from transformers import Sam3Config
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoModel

from sam3_tvm.abi import abi
from sam3_tvm.sources import SourceError, open_source
from sam3_tvm.sources.convert import convert
from sam3_tvm.sources.sampling import sample_inputs

DIMS = {
    **{"batch": 2, "boxes": 3, "prompt": 5, "queries": 20, "masks": 3, "height": 30, "width": 20},
    **{"clicks": 9, "tokens": 10, "memories": 3, "pointers": 5},
}
WITHOUT_BOXES = {**DIMS, "batch": 1, "boxes": 0, "memories": 1, "pointers": 0}


@needs_meta
def test_to_transformers_and_back_gives_every_tensor_again(meta_weights, meta_folder):
    back = torch.load(meta_folder / "sam3.pt", weights_only=True)
    lost = {n for n in meta_weights if n not in back}
    assert all("freqs_cis" in n or "points_" in n for n in lost)
    assert len(lost) == 4 + 6
    for name, value in back.items():
        if name.endswith("pos_embed"):
            assert torch.equal(value[:, 1:], meta_weights[name][:, 1:])
            assert not value[:, 0].any()
        else:
            assert torch.equal(value, meta_weights[name]), name


def differences(ours, meta, dims):
    """What the components of two sources give for the same inputs: for each output its name, the
    largest and the mean difference and the largest value."""
    for name, component in abi(ours.sizes).items():
        # The rule in which they differ, and masks of different sizes.
        if name in ("resize_masks", "shown_mask", "enlarge_masks", "memory_encoder"):
            continue
        inputs = sample_inputs(component, dims, ours.vocabulary_size(), seed=3)
        with torch.no_grad(), ours.patched():
            one = ours.component(name)(*inputs)
        with torch.no_grad(), meta.patched():
            other = meta.component(name)(*inputs)
        one, other = (x if isinstance(x, tuple) else (x,) for x in (one, other))
        for spec, a, b in zip(component.outputs, one, other, strict=True):
            if name == "text_encoder":  # what padding holds is nobody's
                a, b = (x[inputs[1].bool()] for x in (a, b))
            difference = (a.float() - b.float()).abs()
            yield (
                f"{name}.{spec.name}",
                *(float(x) for x in (difference.max(), difference.mean(), a.float().abs().max())),
            )


@needs_meta
@pytest.mark.parametrize("dims", [DIMS, WITHOUT_BOXES], ids=["boxes", "no boxes"])
def test_both_references_are_the_same_network(transformers_folder, meta_folder, dims):
    """With the same weights and the same inputs, each component gives the same in both."""
    ours, meta = open_source(str(transformers_folder)), open_source(str(meta_folder))
    told = replace(
        ours.sizes,
        clicks=replace(ours.sizes.clicks, without_memory=True),
        video=replace(ours.sizes.video, shown=16 * ours.sizes.grid),
    )
    assert (told, ours.licence) == (meta.sizes, meta.licence)
    for name, error, _, scale in differences(ours, meta, dims):
        assert error <= 2e-6 * scale, f"{name}: {error:.1e} of {scale:.1e}"


def remembered(source, logits, features, *others):
    """What is remembered of masks as the decoder gives them, [B, 1, 4S, 4S]."""
    with torch.no_grad(), source.patched():
        enlarged = source.component("enlarge_masks")(logits)
        return source.component("memory_encoder")(features, enlarged, *others)


@needs_meta
def test_memories_differ_where_a_mask_s_values_do(transformers_folder, meta_folder):
    """transformers resizes logits, Meta what it makes of them."""
    ours, meta = open_source(str(transformers_folder)), open_source(str(meta_folder))
    side = 4 * ours.sizes.grid
    noise = 4 * torch.randn(2, 1, side, side, generator=torch.Generator().manual_seed(3))
    features, _, *others = sample_inputs(abi(ours.sizes)["memory_encoder"], DIMS, 600, seed=3)
    one, other = (remembered(source, noise, features, *others) for source in (ours, meta))
    difference = (one - other).abs()
    print(f"{difference.max():.2g} {difference.mean():.2g} of {one.abs().max():.2g}")
    assert difference.max() > 0.01 * one.abs().max()
    plain = torch.tensor([-0.5, 2.0])[:, None, None, None].expand(2, 1, side, side).contiguous()
    one, other = (remembered(source, plain, features, *others) for source in (ours, meta))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@needs_meta
def test_a_shown_mask_of_one_value_is_the_same(transformers_folder, meta_folder):
    found = []
    for folder in (transformers_folder, meta_folder):
        source = open_source(str(folder))
        (shown,) = abi(source.sizes)["shown_mask"].inputs
        plain = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, *shown.shape[1:])
        with torch.no_grad(), source.patched():
            found.append(source.component("shown_mask")(plain.contiguous()))
    # Only transformers' is enlarged by the function itself.
    for ours, theirs in zip(*(one[:2] for one in found), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@needs_meta
@pytest.mark.full
def test_both_references_are_the_same_network_at_the_real_size(tmp_path):
    """Prints the table of docs/reference-implementations.md (pytest -s)."""
    source = open_source("random:meta")
    state = checkpoint_of(source)
    torch.save(state, tmp_path / "sam3.pt")
    (tmp_path / "tokenizer.json").write_text(source.tokenizer_json(), encoding="utf-8")
    del source, state
    convert(str(tmp_path / "sam3.pt"), tmp_path / "transformers")
    convert(str(tmp_path / "transformers"), tmp_path / "meta")
    ours, meta = (open_source(str(tmp_path / name)) for name in ("transformers", "meta"))
    dims = {**DIMS, "batch": 1, "prompt": 36, "queries": 200}
    for name, error, mean, scale in differences(ours, meta, dims):
        print(f"{name:30}{error:10.1e}{mean:10.1e}{scale:10.1f}")
        assert error <= 5e-6 * scale, name


@needs_meta
def test_the_epsilon_of_meta_s_vision_encoder_is_carried_over(transformers_folder):
    """In transformers' own configuration it is another."""

    def epsilon(config):
        return config["vision_config"]["backbone_config"]["layer_norm_eps"]

    written = json.loads((transformers_folder / "config.json").read_text())
    theirs = open_source("random:meta-tiny").model.backbone.vision_backbone.trunk.ln_pre.eps
    assert epsilon(written["detector_config"]) == epsilon(written["tracker_config"]) == theirs
    assert epsilon(Sam3Config().to_dict()) < theirs


@needs_meta
def test_what_is_left_out_is_said(meta_file, config_file, tmp_path):
    done = convert(str(meta_file), tmp_path / "out", config=config_file)
    assert (done.format, done.tensors) == ("transformers", 707)
    assert not done.tracker
    assert len(done.left_out) == 6
    assert len(done.computed) == 4
    (tmp_path / ".meta.01234567.part").mkdir()  # as a killed one leaves it
    again = convert(str(tmp_path / "out"), tmp_path / "meta")
    assert again.format == "meta"
    assert any("points" in line for line in again.filled)
    assert not list(tmp_path.glob(".*"))


def broken(folder, to, how):
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    weights = load_file(to / "model.safetensors")
    if how == "missing":
        del weights["detector_model.text_projection.bias"]
    elif how == "unknown":
        weights["detector_model.text_projection.extra"] = torch.zeros(2)
    elif how == "shape":
        weights["detector_model.detr_decoder.query_embed.weight"] = torch.zeros(3, 64)
    elif how == "third":
        del weights["detector_model.detr_encoder.layers.0.self_attn.k_proj.weight"]
    elif how == "tracker unknown":
        weights["tracker_model.extra"] = torch.zeros(2)
    elif how == "tracker shape":
        weights["tracker_model.no_object_pointer"] = torch.zeros(1, 3)
    elif how == "tracker third":
        del weights["tracker_model.memory_attention.layers.0.self_attn.k_proj.weight"]
    elif how == "two of one":
        weights["tracker_model.shared_image_embedding.positional_embedding"] += 1
    save_file(weights, to / "model.safetensors")
    if how == "cut":
        (to / "model.safetensors").write_bytes((to / "model.safetensors").read_bytes()[:500])
    if how == "none":
        (to / "model.safetensors").unlink()
    return to


@needs_meta
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "1 tensors are missing: text_projection.bias"),
        ("unknown", "1 tensors that SAM 3 hasn't: detector_model.text_projection.extra"),
        ("tracker unknown", "1 tensors that SAM 3 hasn't: tracker_model.extra"),
        ("tracker shape", r"no_object_pointer is \[1, 3\], and \[1, 64\] by config.json"),
        ("two of one", "positional_embedding differ, and are one tensor in Meta's format"),
        ("third", "1 tensors are missing: detr_encoder.layers.0.self_attn.k_proj.weight"),
        ("shape", r"query_embed.weight is \[3, 64\], and \[20, 64\] by config.json"),
        ("cut", "its weights can't be read"),
        ("none", "has no model.safetensors"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(transformers_folder, tmp_path, how, message):
    folder = broken(transformers_folder, tmp_path / "in", how)
    with pytest.raises(SourceError, match=message) as error:
        convert(str(folder), tmp_path / "a" / "out")
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@needs_meta
def test_transformers_own_model_loads_both_halves(transformers_folder):
    model, said = Sam3VideoModel.from_pretrained(transformers_folder, output_loading_info=True)
    assert not any(said.values()), said
    assert model.config.tracker_config.image_size == 168


@needs_meta
def test_a_tracker_that_is_not_whole_is_left_out_and_said(
    meta_weights, meta_file, transformers_folder, config_file, tmp_path
):
    there = tmp_path / "there"
    there.mkdir()
    cut = {n: v for n, v in meta_weights.items() if n != "tracker.no_obj_ptr"}
    torch.save(cut, there / "sam3.pt")
    (there / "tokenizer.json").write_bytes((meta_file.parent / "tokenizer.json").read_bytes())
    done = convert(str(there / "sam3.pt"), tmp_path / "out", config=config_file)
    assert len(done.tracker) == sum("tracker." in n or "sam2_convs" in n for n in cut)
    assert done.filled == ("no tracker: 1 of its tensors are missing: tracker.no_obj_ptr",)
    assert open_source(str(tmp_path / "out")).sizes.tasks == ("concepts",)
    folder = broken(transformers_folder, tmp_path / "in", "tracker third")
    back = convert(str(folder), tmp_path / "back")
    assert any("no tracker: 1 of its tensors" in line for line in back.filled)
    assert open_source(str(tmp_path / "back")).sizes.tasks == ("concepts",)


@needs_meta
def test_another_epsilon_is_said(transformers_folder, tmp_path):
    folder = broken(transformers_folder, tmp_path / "in", "nothing")
    config = json.loads((folder / "config.json").read_text())
    config["detector_config"]["vision_config"]["backbone_config"]["layer_norm_eps"] = 1e-6
    (folder / "config.json").write_text(json.dumps(config))
    done = convert(str(folder), tmp_path / "out")
    assert any("add 1e-05 to variances in Meta's code, and 1e-06" in line for line in done.filled)
    assert not any(
        "variances" in line for line in convert(str(transformers_folder), tmp_path / "same").filled
    )


@needs_meta
def test_other_sizes_than_sam_3_s_need_a_config(meta_file, tmp_path):
    with pytest.raises(SourceError, match=r"tensors are missing: .*name its config.json"):
        convert(str(meta_file), tmp_path / "out")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SourceError, match="is no SAM 3 checkpoint"):
        convert(str(meta_file), tmp_path / "out", config=tmp_path / "config.json")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SourceError, match="is not an empty folder"):
        convert("sam3.pt", tmp_path)
    with pytest.raises(SourceError, match="has no file to convert; give"):
        convert("random:tiny", tmp_path / "out")
    with pytest.raises(SourceError, match=r"sam3\.pt: no such file"):
        convert(str(tmp_path / "sam3.pt"), tmp_path / "out")
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(SourceError, match="round: cannot be written"):
        convert("sam3.pt", tmp_path / "round")
    (tmp_path / "gone").symlink_to("none")
    with pytest.raises(SourceError, match="gone: is a link that leads nowhere"):
        convert("sam3.pt", tmp_path / "gone")
    with pytest.raises(SourceError, match=r"cannot be written \(File name too long"):
        convert("sam3.pt", tmp_path / ("x" * 300))
    assert {p.name for p in tmp_path.iterdir()} == {"mine.txt", "round", "gone"}


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, before[1]))
        with pytest.raises(SourceError, match=r"cannot be written \(File too large\)") as caught:
            convert(str(Path(__file__).parents[2] / "checkpoints" / "shapes"), tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
