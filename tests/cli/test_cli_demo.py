"""``sam3-tvm demo``: which commands it runs, and what becomes of one that fails."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.main import get_command

import sam3_tvm.cli
from sam3_tvm.cli import app


@pytest.fixture
def ran(monkeypatch):
    """The command lines that are run within another; each ends with the code in ``ends``."""
    commands, ends = [], []
    outer = sam3_tvm.cli._Commands.main

    def main(self, args=None, *rest, standalone_mode=True, **named):
        if standalone_mode:
            return outer(self, args, *rest, standalone_mode=standalone_mode, **named)
        commands.append(args)
        return ends.pop(0) if ends else 0

    monkeypatch.setattr(sam3_tvm.cli._Commands, "main", main)
    return SimpleNamespace(commands=commands, ends=ends)


def test_it_compiles_segments_three_pictures_and_follows_a_film(cli, folder, ran):
    done = cli("demo")
    assert done.exit_code == 0, done.output
    assert [words[0] for words in ran.commands] == ["compile", *["segment"] * 3, "track"]
    group = get_command(app)
    for words in ran.commands:
        known = {o for p in group.commands[words[0]].params for o in p.opts}
        assert {w for w in words if w.startswith("-")} <= known
        given = words[1 if words[0] == "compile" else 2]
        assert Path(given).exists()
        assert f"$ sam3-tvm {words[0]} " in done.output
    assert str(Path("out") / "shapes") in ran.commands[0]
    assert f"The film: {Path('out') / 'demo' / 'film.mp4'}" in done.output


def test_a_command_that_fails_ends_it_with_its_code(cli, folder, ran):
    ran.ends[:] = [0, 2]
    done = cli("demo", "-o", "elsewhere")
    assert done.exit_code == 2
    assert [words[0] for words in ran.commands] == ["compile", "segment"]
    assert "The pictures" not in done.output


def test_without_the_extra_video_the_film_is_left_out_and_it_says_so(cli, folder, ran, monkeypatch):
    monkeypatch.setattr("sam3_tvm.cli.demo.missing", {"compile": [], "video": ["av"]}.get)
    done = cli("demo")
    assert done.exit_code == 0, done.output
    assert "track" not in {words[0] for words in ran.commands}
    assert "film is left out, since av is missing: pip install 'sam3-tvm[video]'" in done.output


def test_without_the_extra_compile_nothing_is_begun(cli, folder, ran, monkeypatch):
    monkeypatch.setattr("sam3_tvm.cli.demo.missing", lambda extra: ["torch"])
    done = cli("demo")
    assert done.exit_code == 2
    assert done.stderr.endswith(
        "torch, which that needs, is not installed: pip install 'sam3-tvm[demo]'\n"
    )
    assert not ran.commands
