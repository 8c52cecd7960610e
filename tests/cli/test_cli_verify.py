"""``verify``: what it prints of a report, and when it fails."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest

verify = pytest.importorskip("sam3_tvm.verify")

# What a report has of each part.
PARTS = {
    "functions": ("functions",),
    "pictures": ("end_to_end", "clicks"),
    "films": ("frames", "phrase_frames"),
}


@pytest.fixture
def reported(monkeypatch):
    """Makes ``sam3_tvm.verify.verify`` give this report, and keeps what it was asked."""
    asked = {}

    def give(
        *,
        relative: float = 1e-6,
        same_kept: bool = True,
        same_objects: bool = True,
        same_phrases: bool = True,
        frames: int = 1,
    ) -> dict:
        bounds = verify.Bounds()
        report = verify.VerifyReport("a", "random:toy", bounds)
        report.functions = [
            verify.FunctionRow(
                "scoring", "logits", "batch=2", 2e-6, 1e-7, relative, 1e-4, relative <= 1e-4
            )
        ]
        report.end_to_end = [
            verify.EndToEndRow("x.jpg", "'dog'", 0.4, 3, same_kept, 1.0, 1.0, 0.01, 1e-6, same_kept)
        ]

        report.frames = [
            verify.FrameRow(
                "a pan", 7 + n, [1, 2], same_objects, [0.25, 0.5], 1.0, 1.0, 1e-6, same_objects
            )
            for n in range(frames)
        ]

        report.phrase_frames = [
            verify.PhraseRow(
                "drawn",
                3,
                [0, 4],
                same_phrases,
                [0.125, 0.5],
                1.0,
                1.0,
                0.0,
                same_phrases,
                ["dog", "cat"],
            )
        ]
        report.left_out = ["the weather"]

        def fake(paths, **options):
            asked.update(options, paths=paths)
            options["progress"]("scoring batch=2", 0, 1)
            rows = {
                name: rows if part in options["parts"] else []
                for part, names in PARTS.items()
                for name, rows in ((name, getattr(report, name)) for name in names)
            }
            return [replace(report, artifact=f"{path}", **rows) for path in paths]

        monkeypatch.setattr(verify, "verify", fake)
        return asked

    return give


def test_a_report_within_its_bounds(cli, folder, reported):
    asked = reported()
    result = cli("verify", "a", "--function", "scoring")
    assert result.exit_code == 0, result.output
    assert asked["functions"] == ["scoring"]
    assert asked["images"] == []
    assert result.stderr == "[1/1] scoring batch=2\n"
    assert "scoring.logits" in result.stdout
    assert "1.00e-06" in result.stdout
    assert "a pan" in result.stdout
    assert "25% 50%" in result.stdout
    assert "0 dog, 4 cat" in result.stdout
    assert "not compared: the weather" in result.stdout
    assert json.loads((folder / "verify.json").read_text())["ok"] is True


def test_of_a_long_film_only_frames_that_break_a_bound_are_listed(cli, folder, reported):
    asked = reported(frames=60)
    result = cli("verify", "a", "--frames", "60")
    assert asked["frames"] == 60
    assert "25% 50%" not in result.stdout
    said = " ".join(result.stdout.split())
    assert "a pan, 60 frames: the same objects on 60; IoU 1.00000 in the mean" in said
    assert len(json.loads((folder / "verify.json").read_text())["frames"]) == 60
    reported(frames=60, same_objects=False)
    result = cli("verify", "a", "--frames", "60")
    assert "25% 50%" in result.stdout
    assert "the same objects on 0" in " ".join(result.stdout.split())


def test_parts_are_compared_alone(cli, folder, reported):
    asked = reported()
    result = cli("verify", "a", "--only", "films", "--frames", "8")
    assert result.exit_code == 0
    assert asked["parts"] == ["films"]
    assert "a pan" in result.stdout
    assert "0 dog, 4 cat" in result.stdout
    assert "scoring" not in result.stdout
    assert "a: functions" not in result.stdout
    result = cli("verify", "a", "--only", "functions, pictures")
    assert result.exit_code == 0
    assert asked["parts"] == ["functions", "pictures"]
    assert "scoring.logits" in result.stdout
    assert "x.jpg" in result.stdout
    assert "a pan" not in result.stdout
    assert cli("verify", "a").exit_code == 0
    assert set(asked["parts"]) == {"functions", "pictures", "films"}


@pytest.mark.parametrize(
    "options",
    [
        ("--only", ","),
        ("--only", "films", "--function", "scoring"),
        ("--only", "pictures", "--frames", "8"),
        ("--only", "films", "--integrity"),
        ("--only", "films", "--sensitivity"),
    ],
)
def test_parts_that_go_with_nothing_else_are_refused(cli, folder, reported, options):
    asked = reported()
    result = cli("verify", "a", *options)
    assert result.exit_code == 2
    assert "--only" in result.stderr
    assert not asked


def test_a_film_of_too_few_frames_is_refused(cli, folder, reported):
    asked = reported()
    assert cli("verify", "a", "--frames", "2").exit_code == 2
    assert not asked


@pytest.mark.parametrize(
    "broken",
    [
        {"relative": 2e-4},
        {"same_kept": False},
        {"same_objects": False},
        {"same_phrases": False},
    ],
)
def test_a_broken_bound_exits_with_1_and_still_writes_the_report(cli, folder, reported, broken):
    reported(**broken)
    result = cli("verify", "a", "-o", "r.json")
    assert result.exit_code == 1
    assert "BROKEN" in result.stdout
    assert "bounds broken: 1" in result.stderr
    assert json.loads((folder / "r.json").read_text())["ok"] is False


def test_not_a_number_is_broken_and_the_report_stays_json(cli, folder, reported):
    reported(relative=float("nan"))
    assert cli("verify", "a").exit_code == 1
    assert json.loads((folder / "verify.json").read_text())["functions"][0]["relative"] is None


def test_a_report_that_could_not_be_written_is_refused_before_the_work(cli, folder, reported):
    asked = reported()
    result = cli("verify", "a", "-o", "nowhere/r.json")
    assert result.exit_code == 2
    assert "its folder does not exist" in result.stderr
    assert not asked


def test_several_artifacts_are_one_document_and_one_verdict(cli, folder, reported):
    asked = reported(relative=2e-4)
    result = cli("verify", "a", "b", "-o", "r.json")
    assert result.exit_code == 1
    assert asked["paths"] == [Path("a"), Path("b")]
    assert "a: functions" in result.stdout
    assert "b: functions" in result.stdout
    assert "a: bounds broken: 1" in result.stderr
    data = json.loads((folder / "r.json").read_text())
    assert data["ok"] is False
    assert [one["artifact"] for one in data["artifacts"]] == ["a", "b"]


def test_json_is_all_that_goes_to_stdout(cli, folder, reported):
    reported()
    result = cli("verify", "a", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["functions"][0]["name"] == "scoring"
    assert list(folder.iterdir()) == []
    both = cli("verify", "a", "b", "--json", "-o", "r.json")
    assert both.stdout == (folder / "r.json").read_text()


def test_an_older_report_is_whole_after_a_write_that_fails(cli, folder, reported, monkeypatch):
    reported()
    (folder / "r.json").write_text("older")

    def fill_the_disk(path, text, **_):
        with path.open("w") as file:
            file.write(text[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fill_the_disk)
    result = cli("verify", "a", "-o", "r.json")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "error: r.json: cannot be written (No space left on device)"
    )
    assert [(p.name, p.read_text()) for p in folder.iterdir()] == [("r.json", "older")]
