"""The whole measurement, on the tiny model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from sam3_tvm.bench import engines, exactness, measuring
from sam3_tvm.bench.engines import EngineInfo
from sam3_tvm.bench.parts import PROMPT_ROWS, BenchError
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
        assert timing["error"]["rms"] <= (1e-5 if engine == "sam3-tvm" else 1e-6)
        assert timing["error"]["largest"] <= (1e-4 if engine == "sam3-tvm" else 1e-6)
        assert not timing["off"]
        assert timing["arithmetic"] == "float32"
        assert len(timing["seconds"]) >= 2
        assert min(timing["seconds"]) > 0
    # Before the first turn, and after each of two engines in two turns.
    assert {"float32", "bfloat16", "int8"} == {p["arithmetic"] for p in data["peaks"]}
    assert len(data["peaks"][0]["rates"]) == 5
    for peak in data["peaks"]:
        assert len(peak["rates"]) == (5 if peak["instruction"] else 0)
    prompts = {t["part"]: t for t in data["prompts"]}
    assert list(prompts) == list(PROMPT_ROWS)
    for timing in prompts.values():
        assert timing["failed"] is None
        assert timing["error"]["largest"] <= 1e-4
        assert len(timing["seconds"]) >= 2
    assert set(data["eight_of_one_by_one"]["sam3-tvm"]) == {"encoded", "fresh"}
    assert len(data["summary"]) == 4
    assert {row["best_at_least_as_exact"] for row in data["summary"]} == {"torch"}
    ours, torch = data["engines"]
    assert ours["name"] == "sam3-tvm"
    assert "torch" in torch["versions"]
    # Ours is measured as an installation without torch.
    assert 0 < ours["peak_bytes"] < torch["peak_bytes"]
    assert all(e["load_seconds"][0] > 0 for e in data["engines"])
    assert output.with_suffix(".md").read_text().startswith("# Benchmark: random:tiny")
    assert "One prompt, after the encoders" in result.stdout
    assert "ours: " in result.stdout


def test_several_artifacts_are_measured_in_one_run_and_told_apart(tiny_artifact, tmp_path):
    second = tmp_path / "copy"
    shutil.copytree(tiny_artifact, second)
    output = tmp_path / "result.json"
    names = ("--against", "none", "--functions", "scoring")
    result = run(tiny_artifact, second, *names, "--rounds", 1, "--threads", 1, "-o", output)
    assert result.exit_code == 0, result.output
    data = json.loads(output.read_text())
    assert data["artifacts"] == [f"{tiny_artifact}", f"{second}"]
    assert [e["title"] for e in data["engines"]] == ["tiny", "copy"]
    assert all(e["ours"] for e in data["engines"])
    assert [t["engine"] for t in data["timings"]] == ["sam3-tvm:tiny", "sam3-tvm:copy"]
    for timing in data["timings"]:
        assert timing["error"]["rms"] <= 1e-5
        assert timing["seconds"]
    assert "x tiny" in result.stdout


def test_what_is_off_is_timed_shown_and_marked(tiny_artifact, tmp_path, monkeypatch):
    # Every result is, of which more is asked than arithmetic gives.
    monkeypatch.setattr(exactness, "OFF", -1.0)
    output = tmp_path / "result.json"
    names = ("--against", "none", "--functions", "scoring")
    result = run(tiny_artifact, *names, "--rounds", 1, "--threads", 1, "-o", output)
    assert output.exists(), result.output
    (timing,) = json.loads(output.read_text())["timings"]
    assert timing["off"]
    assert timing["seconds"]
    assert timing["failed"] is None
    assert " off" in result.stdout
    # It is ours.
    assert result.exit_code == 1
    assert "wrong results: scoring: the rms error is" in result.stderr


@pytest.mark.slow
def test_narrow_engines_say_what_they_compute_in_and_are_compared(tiny_artifact, tmp_path):
    pytest.importorskip("nncf")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    output = tmp_path / "result.json"
    engines = ("torch-bf16", "onnxruntime-int8", "openvino-f32", "openvino-int8")
    names = ("--against", ",".join(engines), "--functions", "detr_encoder")
    result = run(tiny_artifact, *names, "--rounds", 1, "--threads", 1, "-o", output)
    assert result.exit_code == 0, result.output
    data = json.loads(output.read_text())
    assert [e["failed"] for e in data["engines"]] == [None] * 5
    found = {t["engine"]: t for t in data["timings"]}
    kinds = {name: timing["arithmetic"] for name, timing in found.items()}
    assert kinds == {
        "sam3-tvm": "float32",
        "torch-bf16": "bfloat16",
        "onnxruntime-int8": "int8",
        "openvino-f32": "float32",
        "openvino-int8": "int8",
    }
    assert found["openvino-f32"]["error"]["rms"] < 1e-5
    for narrow in ("torch-bf16", "onnxruntime-int8", "openvino-int8"):
        assert found[narrow]["error"]["rms"] > 1e-4
        assert not found[narrow]["off"]
        assert found[narrow]["seconds"]
    (row,) = data["summary"]
    assert row["best_at_least_as_exact"] == "openvino-f32"
    told = {e["name"]: e["precision"] for e in data["engines"]}
    assert told["openvino-f32"].startswith("hint f32; products: ")
    assert "in int8" in told["openvino-int8"]


@pytest.mark.slow
def test_a_frame_of_a_film_gives_what_pytorch_gives(tiny_artifact, tmp_path):
    output = tmp_path / "result.json"
    names = ("--against", "torch", "--functions", "film,memory_attention")
    result = run(tiny_artifact, *names, "--rounds", 1, "--threads", 1, "-o", output)
    assert result.exit_code == 0, result.output
    data = json.loads(output.read_text())
    found = {(t["engine"], t["part"]): t for t in data["timings"]}
    assert found["sam3-tvm", "film"]["error"]["rms"] < 1e-4
    flops = {p["name"]: p["flops"] for p in data["parts"]}
    assert flops["film"] > 3 * flops["memory_attention"]


def test_engines_that_are_not_installed_are_listed_with_what_installs_them(
    tiny_artifact, tmp_path, monkeypatch
):
    missing = EngineInfo("other", "Other", ("no_such_package",))
    monkeypatch.setattr(engines, "ENGINES", {"other": missing})
    monkeypatch.chdir(tmp_path)
    names = ("--functions", "scoring", "--rounds", 1, "--threads", 1)
    result = run(tiny_artifact, *names, "-o", tmp_path / "result.json")
    assert result.exit_code == 0, result.output
    data = json.loads((tmp_path / "result.json").read_text())
    assert data["engines"][1]["failed"] == (
        "not installed (no_such_package): pip install 'sam3-tvm[bench]'"
    )
    assert [t["engine"] for t in data["timings"]] == ["sam3-tvm"]
    assert "not installed (no_such_package)" in (tmp_path / "result.md").read_text()


def test_artifacts_that_have_nothing_in_common_are_refused(tiny_artifact, tmp_path):
    twice = run(tiny_artifact, tiny_artifact, "--against", "none")
    assert twice.exit_code == 2
    assert "is named twice" in twice.stderr
    other = tmp_path / "other"
    shutil.copytree(tiny_artifact, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["source"]["checkpoint"] = "random:tiny:7"
    (other / "manifest.json").write_text(json.dumps(manifest))
    refused = run(tiny_artifact, other, "--against", "none")
    assert refused.exit_code == 2
    assert "is of random:tiny:7" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_artifacts_for_pictures_of_two_sizes_are_refused(monkeypatch):
    def opened(folder):
        source, sizes = SimpleNamespace(checkpoint="a"), SimpleNamespace(image=int(folder.name))
        manifest = SimpleNamespace(source=source, sizes=sizes, components={})
        return SimpleNamespace(manifest=manifest, check_host=lambda: None)

    monkeypatch.setattr(measuring.artifacts, "open", opened)
    both = measuring.Options([Path("168"), Path("126")], against=())
    with pytest.raises(BenchError, match=r"^126 is for pictures of 126 pixels, 168 of 168: "):
        measuring.bench(both)


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
        assert found[engine, part]["error"]["largest"] <= 1e-4
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
        (("out", "other", "--profile"), "--profile takes the folder of an artifact"),
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
    assert "measured peaks in GFLOP/s: FMA " in result.stdout
    assert "linear_64x64" in result.stdout
    assert "between them" in result.stdout
    data = json.loads(output.read_text())
    (found,) = data["functions"]
    assert data["held_to"]["float32"] == "FMA"
    assert data["peaks"] == {k: data["instructions"][name] for k, name in data["held_to"].items()}
    if len(data["instructions"]) > len(data["held_to"]):
        assert "'of peak' holds float32 to that of FMA, " in result.stdout
    assert found["function"] == "scoring"
    assert 0 < found["share_of_peak"] < 1
    assert [p.name for p in tmp_path.iterdir()] == ["profile.json"]
    again = run(tiny_artifact, *asked, "--json")
    assert json.loads(again.stdout).keys() == data.keys()
