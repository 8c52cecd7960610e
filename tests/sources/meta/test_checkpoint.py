import pickle

import pytest
import torch
from meta_tiny import checkpoint_of, needs_meta

from sam3_tvm.sources import SourceError, open_source
from sam3_tvm.sources.meta.checkpoint import checkpoint_file, read_checkpoint
from sam3_tvm.sources.meta.keys import POINTS
from sam3_tvm.sources.random_weights import byte_tokenizer


def test_the_file_is_known_by_its_name_or_by_its_folder(tmp_path):
    assert checkpoint_file("somewhere/sam3.pt").name == "sam3.pt"
    assert checkpoint_file(str(tmp_path)) is None
    (tmp_path / "sam3.pt").touch()
    assert checkpoint_file(str(tmp_path)) == tmp_path / "sam3.pt"
    (tmp_path / "config.json").touch()
    assert checkpoint_file(str(tmp_path)) is None
    assert checkpoint_file("facebook/sam3") is None


@needs_meta
def test_a_checkpoint_gives_the_model_it_was_saved_from(meta_file):
    opened, saved = open_source(str(meta_file)), open_source("random:meta-tiny")
    assert opened.sizes == saved.sizes
    assert (opened.clicks, opened.video) == (saved.clicks, saved.video)
    again = checkpoint_of(opened)
    for name, value in checkpoint_of(saved).items():
        assert torch.equal(again[name], value), name
    assert opened.tokenizer_json() == saved.tokenizer_json()
    assert opened.licence.name == "SAM License"


@needs_meta
def test_half_precision_and_wrappers_are_read(meta_weights, tmp_path, meta_file):
    halved = {f"module.{n}": v.bfloat16() for n, v in meta_weights.items() if "freqs" not in n}
    torch.save({"model": halved, "step": 3}, tmp_path / "sam3.pt")
    (tmp_path / "tokenizer.json").write_bytes((meta_file.parent / "tokenizer.json").read_bytes())
    model = open_source(str(tmp_path)).model
    assert all(p.dtype == torch.float32 for p in model.parameters())
    name = "transformer.decoder.query_embed.weight"
    want = meta_weights[f"detector.{name}"].bfloat16().float()
    assert torch.equal(model.state_dict()[name], want)


def changed(weights, how):
    name = "detector.geometry_encoder.norm.weight"
    if how == "missing":
        return {n: v for n, v in weights.items() if n != name}
    if how == "unknown":
        return {**weights, "detector.extra.weight": torch.zeros(2)}
    if how == "shape":
        return {**weights, name: torch.zeros(3)}
    if how == "tracker missing":
        return {n: v for n, v in weights.items() if n != "tracker.no_obj_ptr"}
    if how == "tracker unknown":
        return {**weights, "tracker.extra": torch.zeros(2)}
    if how == "tracker shape":
        return {**weights, "tracker.no_obj_ptr": torch.zeros(1, 3)}
    if how == "tracker infinite":
        return {**weights, "tracker.no_obj_ptr": torch.full((1, 64), float("inf"))}
    some = {n: v for n, v in weights.items() if n != f"detector.{POINTS[0]}"}
    assert how == "some of the points'"
    return some


@needs_meta
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "1 tensors are missing .geometry_encoder.norm.weight.*nothing is filled in"),
        ("unknown", "1 tensors that SAM 3 hasn't: detector.extra.weight"),
        ("shape", r"geometry_encoder.norm.weight is \[3\], and \[64\] in SAM 3"),
        ("tracker missing", "1 tensors are missing .tracker.no_obj_ptr.*nothing is filled in"),
        ("tracker unknown", "1 tensors that SAM 3 hasn't: tracker.extra"),
        ("tracker shape", r"tracker.no_obj_ptr is \[1, 3\], and \[1, 64\] in SAM 3"),
        ("tracker infinite", "tracker.no_obj_ptr holds NaN or infinities"),
        ("some of the points'", "1 tensors are missing .geometry_encoder.points_direct"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(meta_weights, meta_file, tmp_path, how, message):
    torch.save(changed(meta_weights, how), tmp_path / "sam3.pt")
    (tmp_path / "tokenizer.json").write_bytes((meta_file.parent / "tokenizer.json").read_bytes())
    with pytest.raises(SourceError, match=message) as error:
        open_source(str(tmp_path))
    assert "\n" not in str(error.value)


@needs_meta
def test_a_checkpoint_of_the_detector_alone_serves_concepts(meta_weights, meta_file, tmp_path):
    neck = "detector.backbone.vision_backbone.sam2_convs."
    alone = {n: v for n, v in meta_weights.items() if not n.startswith(("tracker.", neck))}
    torch.save(alone, tmp_path / "sam3.pt")
    (tmp_path / "tokenizer.json").write_bytes((meta_file.parent / "tokenizer.json").read_bytes())
    opened = open_source(str(tmp_path))
    assert opened.sizes.tasks == ("concepts",)
    assert (opened.tracker, opened.clicks, opened.video) == (None, None, None)
    assert opened.reference_clicker() is None
    assert opened.reference_tracker() is None
    with pytest.raises(SourceError, match="has no weights for clicks; it serves concepts"):
        open_source(str(tmp_path), ("concepts", "clicks"))


@needs_meta
def test_a_part_of_a_tracker_is_no_matter_to_concepts(meta_weights, meta_file, tmp_path):
    torch.save(changed(meta_weights, "tracker missing"), tmp_path / "sam3.pt")
    (tmp_path / "tokenizer.json").write_bytes((meta_file.parent / "tokenizer.json").read_bytes())
    assert open_source(str(tmp_path), ("concepts",)).sizes.tasks == ("concepts",)


@needs_meta
def test_a_tokenizer_of_another_model_is_refused(meta_file, tmp_path):
    (tmp_path / "sam3.pt").write_bytes(meta_file.read_bytes())
    (tmp_path / "tokenizer.json").write_text(byte_tokenizer(700).to_str())
    with pytest.raises(SourceError, match="ids up to 699, and its text encoder has 600"):
        open_source(str(tmp_path))


class Harmful:
    def __reduce__(self):
        return (print, ("run",))


def write(path, kind):
    if kind == "code":
        torch.save({"a": Harmful()}, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Harmful()))
    elif kind == "text":
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    elif kind == "list":
        torch.save([torch.zeros(1)], path)
    elif kind == "numbers":
        torch.save({"detector.a": 3}, path)
    elif kind == "cut":
        torch.save({"detector.a": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("code", "could run code"),
        ("pickle", "could run code"),
        ("text", "no checkpoint|could run code"),
        ("list", "holds no tensors by name, but list"),
        ("numbers", "no tensors but something else: a"),
        ("cut", "is no checkpoint of torch's"),
        ("none", "no such file"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_one_line(tmp_path, kind, message, capsys):
    path = tmp_path / "sam3.pt"
    write(path, kind)
    with pytest.raises(SourceError, match=message) as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)
    assert "run" not in capsys.readouterr().out
