"""``info`` and ``verify --integrity``: what is in an artifact, and whether it is intact."""

from __future__ import annotations

import json
import shutil

import pytest
import toy

from sam3_tvm import artifact
from sam3_tvm.arithmetic import FLOAT32, PRECISIONS, storing


def test_info_tells_what_is_in_an_artifact(cli, toy_artifact):
    result = cli("info", toy_artifact.path)
    assert result.exit_code == 0, result.output
    for said in (
        "random:toy",
        "keeps scores above 0.3",
        "probabilities are resized",
        "boxes in 0..64",
        "pixel_values: float32[batch, 3, 16, 16]",
        "weights.bin",
        "apache-tvm 0.27.0.post1",
        "none stated by the source",
        toy_artifact.fingerprint,
    ):
        assert said in result.stdout
    assert all(name in result.stdout for name in toy.COMPONENTS)


def test_info_tells_the_hashes_of_the_checkpoint_as_sha256sum_does(cli, tmp_path):
    rules = artifact.ReferenceRules(False, "probabilities", "visual", 0.3)
    source = artifact.Source("transformers", "here", rules, {"model.safetensors": "0f" * 32})
    result = cli("info", toy.write_artifact(tmp_path / "named", source=source).path)
    assert result.exit_code == 0, result.output
    assert f"{'0f' * 32}  model.safetensors" in result.stdout
    assert "created" not in result.stdout


def test_info_lists_the_halves_of_functions(cli, tmp_path):
    made = toy.write_artifact(tmp_path / "staged", stages=toy.STAGES)
    result = cli("info", made.path)
    assert result.exit_code == 0, result.output
    for said in (
        "detr_encoder_image",
        "mask_decoder_prompt",
        "its half per picture",
        "kept_0: float32[batch, 4, 64]",
    ):
        assert said in result.stdout
    assert artifact.open(made.path).manifest.stages == toy.STAGES


def test_info_as_json_holds_the_whole_manifest(cli, toy_artifact):
    result = cli("info", toy_artifact.path, "--json")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    added = ("path", "fingerprint", "runs_here", "bytes", "tasks")
    extra = {key: data.pop(key) for key in added}
    assert artifact.Manifest.from_json(data) == toy_artifact.manifest
    assert extra["runs_here"] is True
    assert extra["tasks"] == list(toy_artifact.manifest.sizes.tasks)
    sizes = [p.stat().st_size for p in toy_artifact.path.iterdir() if p.name != artifact.MANIFEST]
    assert extra["bytes"] == sum(sizes)


def test_info_describes_an_artifact_of_another_machine(cli, tmp_path):
    other = artifact.Target("llvm", "riscv", "generic", "riscv64-unknown-linux-gnu", ())
    made = toy.write_artifact(tmp_path / "other", target=other)
    result = cli("info", made.path)
    assert result.exit_code == 0, result.output
    assert "built for riscv64 processors" in result.stdout
    assert json.loads(cli("info", made.path, "--json").stdout)["runs_here"] is False


@pytest.mark.parametrize("precision", PRECISIONS)
def test_info_says_how_weights_are_stored(cli, tmp_path, precision):
    arithmetic = dict.fromkeys(toy.COMPONENTS, storing(precision).name)
    made = toy.write_artifact(tmp_path / precision, arithmetic=arithmetic)
    result = cli("info", made.path)
    assert result.exit_code == 0, result.output
    (row,) = [line for line in result.stdout.splitlines() if line.split()[:1] == ["weights"]]
    assert f"{precision}, arithmetic in float32" in row


def test_info_says_which_functions_compute_otherwise(cli, tmp_path):
    arithmetic = dict.fromkeys(toy.COMPONENTS, FLOAT32.name)
    arithmetic["scoring"] = storing("int8").name
    made = toy.write_artifact(tmp_path / "mixed", arithmetic=arithmetic)
    result = cli("info", made.path)
    assert result.exit_code == 0, result.output
    assert "int8, arithmetic in float32 (int8-weights): scoring" in " ".join(result.stdout.split())
    # A line for each.
    (first,) = [line for line in result.stdout.splitlines() if line.split()[:1] == ["weights"]]
    assert "int8" not in first
    assert "\\n" not in result.stdout
    assert artifact.open(made.path).manifest.schemes == [FLOAT32, storing("int8")]


def test_integrity_counts_what_it_read(cli, toy_artifact):
    result = cli("verify", toy_artifact.path, "--integrity")
    assert result.exit_code == 0, result.output
    assert "4 files" in result.stdout


@pytest.mark.parametrize("name", ["weights.bin", "model.so", "tokenizer.json"])
def test_integrity_finds_a_changed_byte(cli, toy_artifact, tmp_path, name):
    copy = shutil.copytree(toy_artifact.path, tmp_path / "copy")
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    assert cli("info", copy).exit_code == 0
    result = cli("verify", copy, "--integrity")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {copy / name}: is not the file that was written")


def test_integrity_is_a_document_as_json(cli, toy_artifact):
    result = cli("verify", toy_artifact.path, toy_artifact.path, "--integrity", "--json")
    assert result.exit_code == 0, result.output
    files = toy_artifact.manifest.files
    one = {
        "artifact": str(toy_artifact.path),
        "files": len(files),
        "bytes": sum(file.bytes for file in files.values()),
    }
    assert json.loads(result.stdout) == {"ok": True, "artifacts": [one, one]}


@pytest.mark.parametrize(
    "option",
    [["--image", "."], ["--function", "scoring"], ["--only", "films"], ["-o", "x.json"]],
)
def test_integrity_goes_with_nothing_that_it_would_pass_over(cli, toy_artifact, option):
    result = cli("verify", toy_artifact.path, "--integrity", *option)
    assert result.exit_code == 2
    assert result.stderr == (
        "error: --integrity compares files alone: it goes with no --image, --function, --only "
        "or -o\n"
    )


@pytest.mark.parametrize(("name", "value"), [("pictures", -1), ("prompts", 0), ("bound", -0.5)])
def test_a_calibration_that_cannot_be_is_refused(cli, toy_artifact, tmp_path, name, value):
    made = shutil.copytree(toy_artifact.path, tmp_path / "made")
    manifest = json.loads((made / artifact.MANIFEST).read_text())
    said = {"pictures": 1, "prompts": 2, "bound": 0.01, "smoothed": {}, "excepted": {}}
    manifest["calibration"] = {**said, name: value}
    (made / artifact.MANIFEST).write_text(json.dumps(manifest))
    result = cli("info", made)
    assert result.exit_code == 2
    assert "calibration says that it was on" in result.stderr
    assert result.stderr.count("\n") == 1


def test_info_says_what_was_calibrated(cli, toy_artifact, tmp_path):
    made = shutil.copytree(toy_artifact.path, tmp_path / "made")
    manifest = json.loads((made / artifact.MANIFEST).read_text())
    assert "calibration" not in manifest
    manifest["calibration"] = {
        "pictures": 1,
        "prompts": 2,
        "bound": 0.01,
        "smoothed": {"vision_encoder": ["norm.weight"]},
        "excepted": {},
    }
    (made / artifact.MANIFEST).write_text(json.dumps(manifest))
    result = cli("info", made)
    assert result.exit_code == 0, result.output
    assert "calibrated" in result.stdout
    assert "on 1 picture: 1 norms smoothed" in " ".join(result.stdout.split())
    assert json.loads(cli("info", made, "--json").stdout)["calibration"] == manifest["calibration"]
