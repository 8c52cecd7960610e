from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.cli import main


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    return int(stopped.value.code or 0)


def test_scenes_are_drawn_to_a_new_folder_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "held-out"
    assert run("draw", "-o", folder, "--count", 2, "--size", 64) == 0
    assert len(json.loads((folder / "annotations.json").read_text())["images"]) == 2
    capsys.readouterr()
    assert run("draw", "-o", folder, "--count", 2) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "held-out" in error


@pytest.mark.parametrize("arguments", [["--resume"], ["export"]])
def test_without_a_run_there_is_nothing_to_go_on_with(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, "--run", tmp_path / "none", "-o", tmp_path / "checkpoint") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no such run" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_training_stops_when_the_time_is_up_and_does_not_begin_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, checkpoint = tmp_path / "run", tmp_path / "checkpoint"
    assert run("--run", folder, "-o", checkpoint, "--minutes", 0) == 0
    assert (folder / "run.pt").is_file()
    assert not checkpoint.exists()
    assert "stopped at step 1" in capsys.readouterr().out
    assert run("--run", folder, "-o", checkpoint, "--minutes", 0) == 2
    assert "--resume" in capsys.readouterr().err


def test_a_report_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in (("no.json", "{}"), ("broken.json", "{"), ("list.json", "[]")):
        (tmp_path / name).write_text(text)
        code = run("export", "--run", tmp_path, "--report", tmp_path / name)
        assert code == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert name in error
