"""The memory that a long film takes: figures, plot and command line."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sam3_tvm.bench.film import FilmMemory, draw, made_film, main, measure, measure_phrases
from sam3_tvm.errors import Sam3Error


def memory(step: int) -> FilmMemory:
    """One that grows by this many bytes a frame once it is warm."""
    resident = [*range(0, 50000, 1000), *(50000 + step * i for i in range(100))]
    return FilmMemory("random:toy", 150, 2, 5.0, resident, 50)


@pytest.mark.parametrize("step", [0, 7, -3])
def test_growth_is_that_of_warm_frames(step):
    found = memory(step).to_json()
    assert found["slope"] == pytest.approx(step, abs=1e-6)
    assert found["growth"] == 99 * step


def test_a_slope_is_given_where_there_are_frames_enough_for_one():
    assert str(memory(7)) == "+6.8 KiB per 1000 frames"
    grown = [2**20 * n for n in (5, *[9] * 15, 10, *[12] * 13)]
    assert str(FilmMemory("random:toy", 30, 1, 60.0, grown, 16)) == "+2.0 MiB after frame 16"


def test_a_film_of_any_length_is_made_as_it_is_watched():
    film = made_film(10**9)
    first, second = next(film), next(film)
    assert first.shape == (180, 240, 3)
    assert first.dtype == np.uint8
    assert (first != second).any()


def test_the_plot_is_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    draw(memory(3), tmp_path / "x.png")
    assert Image.open(tmp_path / "x.png").size == (1440, 720)


def test_a_film_is_measured(tiny_artifact):
    found = measure(tiny_artifact, 20, 1).to_json()
    assert (found["frames"], found["objects"]) == (20, 1)
    assert len(found["resident"]) == 20
    assert min(found["resident"]) > 2**20


def test_a_film_is_measured_by_phrase(tiny_artifact):
    found = measure_phrases(tiny_artifact, 20, ["circle", "green star"]).to_json()
    assert found["phrases"] == ["circle", "green star"]
    assert len(found["followed"]) == len(found["resident"]) == 20
    assert found["objects"] == max(found["followed"])


def test_memory_by_phrase_is_drawn_beside_the_objects(tmp_path):
    pytest.importorskip("matplotlib")
    found = replace(memory(0), objects=3, phrases=["dog"], followed=[2] * 149 + [3])
    assert found.what == "up to 3 objects of one phrase"
    assert found.marks == "0.0 MiB after 100 frames"
    draw(memory(0), tmp_path / "shown.png")
    draw(found, tmp_path / "x.png")
    pictures = [np.asarray(Image.open(tmp_path / name)) for name in ("shown.png", "x.png")]
    assert (pictures[0] != pictures[1]).any()


def test_phrases_of_the_command_line_are_followed(monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    asked = []

    def measured(artifact, frames, phrases, threads):
        asked.append((frames, phrases))
        return replace(memory(7), phrases=phrases, followed=[2] * 150)

    monkeypatch.setattr("sam3_tvm.bench.film.measure_phrases", measured)
    texts = ["--text", "dog", "--text", "cat"]
    assert main(["artifact", *texts, "--frames", "150", "-o", f"{tmp_path}/m"]) == 0
    assert asked == [(150, ["dog", "cat"])]
    out = capsys.readouterr().out
    assert "150 frames, up to 2 objects of 2 phrases: " in out
    assert "MiB after 100 frames" in out
    with pytest.raises(SystemExit):
        main(["artifact", *texts, "--objects", "2"])


def test_figures_and_plot_are_written(monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("sam3_tvm.bench.film.measure", lambda *given: memory(7))
    assert main(["artifact", "-o", f"{tmp_path}/m1.5"]) == 0
    assert json.loads((tmp_path / "m1.5.json").read_text())["growth"] == 693
    assert (tmp_path / "m1.5.png").exists()
    assert "30.0 frames a second" in capsys.readouterr().out
    slow = replace(memory(7), seconds=600.0)
    monkeypatch.setattr("sam3_tvm.bench.film.measure", lambda *given: slow)
    assert main(["artifact", "-o", f"{tmp_path}/m1.5"]) == 0
    assert "4.0 seconds a frame" in capsys.readouterr().out


def test_without_matplotlib_nothing_is_measured(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit):
        main(["no-artifact"])
    assert "pip install matplotlib" in capsys.readouterr().err


def test_no_more_objects_are_followed_than_there_are(tmp_path):
    with pytest.raises(Sam3Error, match="3 discs to follow, not 4"):
        measure(tmp_path, 20, 4)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["x", "--frames", "3"], "--frames takes 20 or more"),
        (["x", "-o", "no/where"], "its folder does not exist"),
        (["x", "-o", "."], "names a folder, not files"),
        (["x", "-o", ".."], "names a folder, not files"),
        (["x", "--objects", "4"], "--objects"),
    ],
)
def test_what_cannot_be_measured_is_one_line(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_artifact_is_one_line(capsys, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["no-artifact"])
    assert "no-artifact" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
