"""The whole measurement, on the tiny model."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from sam3_tvm.bench.parts import PROMPT_ROWS
from sam3_tvm.cli import app


def run(*arguments: object):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


@pytest.mark.slow
def test_ours_and_pytorch_are_compared_and_timed_in_every_part(tiny_artifact, tmp_path):
    output = tmp_path / "result.json"
    options = ("--against", "torch", "--rounds", 1, "--threads", 1, "-o", output)
    result = run(tiny_artifact, *options)
    assert result.exit_code == 0, result.output
    data = json.loads(output.read_text())
    parts = {p["name"]: p for p in data["parts"]}
    assert set(parts) == {"encode_image", "text", "one_prompt", "click"}
    assert all(p["flops"] > 1e6 for p in parts.values())
    found = {(t["engine"], t["part"]): t for t in data["timings"]}
    assert set(found) == {(e, p) for e in ("sam3-tvm", "torch") for p in parts}
    for (engine, _), timing in found.items():
        assert timing["failed"] is None
        assert timing["error"] <= (1e-4 if engine == "sam3-tvm" else 1e-6)
        assert len(timing["seconds"]) >= 2
        assert min(timing["seconds"]) > 0
    # Before the first turn, and after each of two engines in two turns.
    assert len(data["peak_flops"]) == 5
    prompts = {t["part"]: t for t in data["prompts"]}
    assert list(prompts) == list(PROMPT_ROWS)
    for timing in prompts.values():
        assert timing["failed"] is None
        assert timing["error"] <= 1e-4
        assert len(timing["seconds"]) >= 2
    assert set(data["eight_of_one_by_one"]) == {"encoded", "fresh"}
    ours, torch = data["engines"]
    assert ours["name"] == "sam3-tvm"
    assert "torch" in torch["versions"]
    # Ours is measured as an installation without torch.
    assert 0 < ours["peak_bytes"] < torch["peak_bytes"]
    assert all(e["load_seconds"][0] > 0 for e in data["engines"])
    assert output.with_suffix(".md").read_text().startswith("# Benchmark: random:tiny")
    assert "One prompt, after the encoders" in result.stdout


def test_what_cannot_be_exported_is_said_and_the_rest_goes_on(tiny_artifact, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    output = tmp_path / "result.json"
    options = ("--rounds", 1, "--threads", 1, "-o", output)
    names = ("--against", "onnxruntime", "--functions", "geometry_encoder,scoring")
    result = run(tiny_artifact, *names, *options)
    assert result.exit_code == 0, result.output
    data = json.loads(output.read_text())
    found = {(t["engine"], t["part"]): t for t in data["timings"]}
    refused = found["onnxruntime", "geometry_encoder"]
    assert "not exportable to ONNX" in refused["failed"]
    assert refused["seconds"] == []
    assert "\n" not in refused["failed"]
    for engine, part in found.keys() - {("onnxruntime", "geometry_encoder")}:
        assert found[engine, part]["error"] <= 1e-4
        assert found[engine, part]["seconds"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "name an artifact's folder to measure, or --quick"),
        (("out", "--quick"), "name an artifact's folder to measure, or --quick"),
        (("no-such-folder", "--against", "torch"), "does not exist"),
        (("out", "--against", "tensorrt"), "no engine named 'tensorrt'"),
        (("--quick", "--functions", "everything"), "nothing to measure named 'everything'"),
        (("--profile",), "--profile takes the folder of an artifact"),
        (("out", "-o", "nowhere/bench.json"), "its folder does not exist"),
    ],
)
def test_what_cannot_be_measured_is_one_line_before_any_work(
    arguments, told, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_part_is_refused_before_any_work(tiny_artifact):
    result = run(tiny_artifact, "--functions", "everything")
    assert result.exit_code == 2
    assert "nothing to measure named 'everything'" in result.stderr


def test_the_profile_shows_kernels_with_their_rates(tiny_artifact, tmp_path):
    output = tmp_path / "profile.json"
    asked = ("--profile", "--functions", "scoring", "--threads", 1)
    result = run(tiny_artifact, *asked, "-o", output)
    assert result.exit_code == 0, result.output
    assert "measured FMA peak" in result.stdout
    assert "linear_64x64" in result.stdout
    assert "between them" in result.stdout
    data = json.loads(output.read_text())
    (found,) = data["functions"]
    assert found["function"] == "scoring"
    assert 0 < found["share_of_peak"] < 1
    assert [p.name for p in tmp_path.iterdir()] == ["profile.json"]
    again = run(tiny_artifact, *asked, "--json")
    assert json.loads(again.stdout).keys() == data.keys()
