"""``verify --sensitivity``: what it asks for, prints and writes."""

from __future__ import annotations

import json
import os

import pytest

pytest.importorskip("torch")
from sam3_tvm.errors import UsageError
from sam3_tvm.sensitivity.report import ALL, SensitivityReport, SensitivityRow
from sam3_tvm.verify import sensitivity as module


@pytest.fixture
def measured(monkeypatch):
    """Makes a report without measuring, and keeps what was asked."""
    asked = {}

    def fake(path, **options):
        asked.update(options, path=path)
        if options["layers"] == "none":
            raise UsageError("no layer")
        options["progress"]("a picture", 0, 2)
        report = SensitivityReport("random:toy", ["a.jpg"], ["'dog'"])
        report.rows = [
            SensitivityRow(
                "vision_encoder", "layers.3.fc1", ("w",), 64, 128, 0.01, 0.0025, 1e-3, 0.99
            )
        ]
        report.totals = [SensitivityRow("vision_encoder", ALL, (), 0, 0, 0.01, 0.02, 2e-3, 0.98)]
        return report

    monkeypatch.setattr(module, "sensitivity", fake)
    return asked


def test_a_table_a_report_and_a_plot(cli, folder, measured):
    pytest.importorskip("matplotlib")
    result = cli(
        *("verify", "a", "--sensitivity", "--function", "vision_encoder"),
        *("--layers", "*fc1", "--text", "dog", "-o", "r.json"),
    )
    assert result.exit_code == 0, result.output
    assert measured["functions"] == ["vision_encoder"]
    assert measured["layers"] == "*fc1"
    assert measured["phrases"] == ["dog"]
    assert "layers.3.fc1" in result.stdout
    assert "64 x 128" in result.stdout
    assert "2.50e-03" in result.stdout
    assert ALL in result.stdout
    assert json.loads((folder / "r.json").read_text())["rows"][0]["own"] == 0.01
    assert (folder / "r.png").read_bytes()[1:4] == b"PNG"
    assert "wrote r.png" in result.stdout


def test_json_alone_writes_nothing(cli, folder, measured):
    result = cli("verify", "a", "--sensitivity", "--json")
    assert json.loads(result.stdout)["totals"][0]["function_error"] == 0.02
    assert [*folder.iterdir()] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b", "--sensitivity"], "--sensitivity takes the folder of one artifact"),
        (["a", "--sensitivity", "--integrity"], "no --frames, --only or --integrity"),
        (["a", "--sensitivity", "--frames", "9"], "no --frames"),
        (["a", "--layers", "x"], "--layers and --text go with --sensitivity"),
        (["a", "--text", "x"], "--layers and --text go with --sensitivity"),
        (["a", "--sensitivity", "-o", "nowhere/r.json"], "its folder does not exist"),
        (["a", "--sensitivity", "--layers", "none"], "no layer"),
        (["a", "--sensitivity", "-o", "r.png"], "-o names the report"),
        (["a", "--sensitivity", "-o", "r.PNG"], "-o names the report"),
        (["a", "--sensitivity", "--text", " "], "a phrase of --text is empty"),
        (["a", "--frames", "9", "--function", "text_encoder"], "--frames is for films"),
        (["a", "--frames", "9", "--integrity"], "--frames is for films"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(
    cli, folder, measured, arguments, message
):
    result = cli("verify", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") <= 2
    assert [*folder.iterdir()] == []


def test_an_interruption_leaves_nothing(cli, folder, monkeypatch):
    def stopped(path, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "sensitivity", stopped)
    assert cli("verify", "a", "--sensitivity").exit_code != 0
    assert [*folder.iterdir()] == []


def test_a_plot_replaces_no_picture_that_is_asked_about(cli, folder, measured):
    (folder / "a.png").write_bytes(b"a picture")
    result = cli("verify", "a", "--sensitivity", "--image", "a.png", "-o", "a.json")
    assert result.exit_code == 2
    assert "its plot would replace the picture a.png" in result.stderr
    assert [path.name for path in folder.iterdir()] == ["a.png"]
    assert (folder / "a.png").read_bytes() == b"a picture"


def test_a_report_into_a_pipe_has_no_plot(cli, folder, measured):
    os.mkfifo(folder / "pipe")
    reader = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert cli("verify", "a", "--sensitivity", "-o", "pipe").exit_code == 0
        assert json.loads(os.read(reader, 1 << 16))["checkpoint"] == "random:toy"
    finally:
        os.close(reader)
    assert [path.name for path in folder.iterdir()] == ["pipe"]
