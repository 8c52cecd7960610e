"""``sam3-tvm track`` with an artifact of SAM 3's architecture, and the page about video."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from sam3_tvm.cli import app
from sam3_tvm.film.outputs.json_lines import JsonLines
from tests import video_scenes

PAGE = (Path(__file__).parents[3] / "docs" / "video.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return video_scenes.write_video(tmp_path_factory.mktemp("film") / "dance.mp4", 12)


def test_a_resumed_run_gives_what_one_run_gives(cli, folder, film, tiny_artifact, monkeypatch):
    options = ["--box", "10,20,32,44", "--box", "52,18,78,50@2", "--point", "20,34@5:1"]
    command = ["track", tiny_artifact, film, *options]
    assert cli(*command, "-o", "whole.jsonl").exit_code == 0
    write = JsonLines.write

    def interrupted(self, frame):
        if frame.index == 6:
            os.kill(os.getpid(), signal.SIGINT)
        write(self, frame)

    outputs = ["-o", "x.jsonl", "-o", "x.mp4"]
    with monkeypatch.context() as patched:
        patched.setattr(JsonLines, "write", interrupted)
        assert cli(*command, *outputs).exit_code == 130
    assert len(Path("x.jsonl").read_text().splitlines()) == 7
    result = cli(*command, *outputs, "--resume", "--json")
    assert result.exit_code == 0, result.output
    assert Path("x.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()
    document = json.loads(result.stdout)
    assert document["frames"] == 12
    assert [one["id"] for one in document["objects"]] == [1, 2]
    found = [json.loads(line) for line in Path("x.jsonl").read_text().splitlines()]
    assert [len(line["objects"]) for line in found] == [1, 1] + [2] * 10


def test_a_point_outside_is_refused_before_anything_is_written(cli, folder, film, tiny_artifact):
    result = cli("track", tiny_artifact, film, "--point", "500,3", "-o", "x.mp4")
    assert result.exit_code == 2
    assert "lies outside the frames of 128 x 96 px" in result.stderr
    assert not list(folder.iterdir())


def test_the_pages_code_runs(tiny_artifact, film, tmp_path):
    (tmp_path / "sam3-cpu").symlink_to(tiny_artifact, target_is_directory=True)
    (tmp_path / "dance.mp4").symlink_to(film)
    code = "\n\n".join(blocks("python"))
    assert code
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "before.png").is_file()


def test_the_pages_commands_exist():
    known = {
        name: {o for p in get_command(app).commands[name].params for o in p.opts}
        for name in ("track", "verify")
    }
    shown = [line.split() for block in blocks("sh") for line in block.splitlines()]
    assert len(shown) > 3
    for words in shown:
        assert words[0] == "sam3-tvm"
        assert {w for w in words if re.match(r"--?[a-z]", w)} <= known[words[1]]
    named = set(re.findall(r"`(--[a-z-]+)", PAGE))
    assert named <= known["track"] | known["verify"]
