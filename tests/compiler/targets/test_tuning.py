"""Tile sizes and the database that keeps them."""

from __future__ import annotations

import json
import os
from dataclasses import fields

import pytest

from sam3_tvm.compiler.targets import tuning
from sam3_tvm.compiler.targets.cpu import CpuTarget, TargetError
from sam3_tvm.compiler.targets.tiles import Tiles
from sam3_tvm.compiler.targets.tuning import Entry, TuningError
from sam3_tvm.host import cpu_model, cpu_name

ENTRY = Entry("Some CPU, model 3", "x86-64-v3", Tiles(gemm_rows=48), {"linear": 1.04}, 2, "2026")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Nobody's own tiles."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_tiles_come_back_as_they_were():
    tiles = Tiles(gemm_depth=128, block_keys=96)
    assert Tiles.from_json(json.loads(json.dumps(tiles.to_json()))) == tiles
    assert Tiles.from_json({}) == Tiles()
    assert set(Tiles().to_json()) == {f.name for f in fields(Tiles)}


@pytest.mark.parametrize("data", [{"gemm_rows": 0}, {"gemm_rows": "96"}, {"rows": 96}])
def test_tiles_that_cannot_be_are_refused(data):
    with pytest.raises(ValueError, match="rows"):
        Tiles.from_json(data)


def test_an_entry_replaces_the_one_for_the_same_cpu_and_no_other(tmp_path):
    path = tmp_path / "new" / "tuned.json"
    other = Entry("Other CPU", "x86-64-v3", Tiles())
    for entry in (ENTRY, other, Entry(ENTRY.cpu, ENTRY.level, Tiles(gemm_rows=120))):
        tuning.write(path, entry)
    entries = {e.cpu: e for e in tuning.read(path)}
    assert set(entries) == {ENTRY.cpu, other.cpu}
    assert entries[ENTRY.cpu].tiles.gemm_rows == 120
    assert [p.name for p in path.parent.iterdir()] == ["tuned.json"]


def test_a_file_that_is_given_decides_then_the_users_then_the_defaults(tmp_path, cache):
    mine = tmp_path / "mine.json"
    tuning.write(mine, ENTRY)
    assert tuning.find(ENTRY.cpu, ENTRY.level) == (Tiles(), "defaults")
    tiles, origin = tuning.find(ENTRY.cpu, ENTRY.level, mine)
    assert tiles == ENTRY.tiles
    assert origin == "tuned, mine.json"
    tuning.write(tuning.user_file(), Entry(ENTRY.cpu, ENTRY.level, Tiles(gemm_rows=72)))
    assert tuning.user_file().is_relative_to(cache)
    assert tuning.find(ENTRY.cpu, ENTRY.level)[0].gemm_rows == 72
    assert tuning.find(ENTRY.cpu, "x86-64-v4") == (Tiles(), "defaults")
    with pytest.raises(TuningError, match="no entry for x86-64-v4 of Some CPU"):
        tuning.find(ENTRY.cpu, "x86-64-v4", mine)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"format": 1, "entries": [{"cpu": "x"}]}',
        '{"format": 1, "entries": [{"cpu": "x", "level": "y", "tiles": {"rows": 1}}]}',
        '{"format": 9, "entries": []}',
    ],
)
def test_a_damaged_file_is_one_line_that_names_it_and_is_left_alone(tmp_path, text):
    path = tmp_path / "tuned.json"
    path.write_text(text)
    for act in (lambda: tuning.read(path), lambda: tuning.write(path, ENTRY)):
        with pytest.raises(TuningError, match=r"tuned\.json") as caught:
            act()
        assert "\n" not in f"{caught.value}"
    assert path.read_text() == text
    with pytest.raises(TuningError, match="cannot be read"):
        tuning.read(tmp_path / "none.json")


def test_a_database_that_cannot_be_written_is_refused_before_the_search(tmp_path, monkeypatch):
    tuning.check_writable(tmp_path / "new" / "folder" / "tuned.json")
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").write_text("mine")
    for name in ("mine", "mine/tuned.json", "x" * 300):
        with pytest.raises(TuningError, match=r"is no JSON|cannot be"):
            tuning.check_writable(tmp_path / name)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(TuningError, match="its folder may not be written to"):
        tuning.check_writable(tmp_path / "new" / "tuned.json")


def test_native_takes_the_tiles_of_its_cpu_and_named_levels_the_defaults(tmp_path):
    native = CpuTarget.native()
    path = tmp_path / "tuned.json"
    tuning.write(path, Entry(cpu_model(), native.level, Tiles(block_keys=96)))
    found = CpuTarget.parse("native", path)
    assert found.tiles == Tiles(block_keys=96)
    assert found.tiles_origin == "tuned, tuned.json"
    assert native.tiles == Tiles()
    assert CpuTarget.parse(native.level).tiles == Tiles()
    with pytest.raises(TargetError, match="native, not 'x86-64-v3'"):
        CpuTarget.parse("x86-64-v3", path)


def test_every_database_of_the_package_can_be_read():
    for path in (tuning.Path(tuning.__file__).parent / "tuned").glob("*.json"):
        for entry in tuning.read(path):
            assert entry.cpu
            assert CpuTarget.parse(entry.level).level == entry.level
            assert all(gain >= 1 for gain in entry.gains.values())


def test_the_processors_model_begins_with_its_name():
    assert cpu_model().startswith(cpu_name())
    assert "\n" not in cpu_model()
