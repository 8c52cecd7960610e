"""The search for tile sizes, on kernels whose best sizes are known."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

pytest.importorskip("tvm")

from sam3_tvm.cli import app
from sam3_tvm.compiler.kernels.emit import (
    accumulators,
    as_index,
    kernel,
    load,
    loop,
    size_var,
    splat,
    store,
    tensor,
)
from sam3_tvm.compiler.targets import tuning
from sam3_tvm.compiler.targets.cpu import CpuTarget
from sam3_tvm.compiler.targets.tiles import Tiles
from sam3_tvm.errors import Sam3Error
from sam3_tvm.host import cpu_model
from sam3_tvm.tune import FAMILIES, search, tune
from sam3_tvm.tune.families import Family, Subject


def halving(target: CpuTarget, steps: int, offset: float = 0.0):
    """y = 2 x + offset, as the limit of a -> a / 2 + x: the same from some 30 steps on."""
    lanes = target.lanes
    with kernel("halving") as made:
        n = size_var("n")
        x, y = tensor("x", (n, lanes)), tensor("y", (n, lanes))
        with loop(n) as row:
            ((total,),) = (accumulators(1, 1, lanes),)
            store(total, splat(offset, lanes), 0)
            with loop(steps):
                value = total[as_index(0)] * splat(0.5, lanes) + load(x, row, 0, lanes=lanes)
                store(total, value, 0)
            store(y, total[as_index(0)] + splat(offset, lanes), row, 0, lanes=lanes)
    return made.func


# By rows: 48 is 256 times as fast as the others, 144 is wrong, 72 isn't compiled.
def build(target: CpuTarget):
    rows = target.tiles.gemm_rows
    if rows == 72:
        raise ValueError("too large\nfor this test")
    return halving(target, 1 << (8 if rows in (48, 144) else 16), 1.0 if rows == 144 else 0.0)


FAMILY = Family("linear", {"gemm_rows": (48, 72, 144)}, (Subject("halving", build, {"n": 8}),))


@pytest.fixture(autouse=True)
def families(monkeypatch):
    monkeypatch.setattr(search, "FAMILIES", {"linear": FAMILY})


def test_the_fastest_right_candidate_is_found():
    steps = []
    report = tune(600.0, threads=1, progress=lambda *step: steps.append(step))
    assert report.tiles == Tiles(gemm_rows=48)
    trials = {t.value: t for t in report.trials}
    assert set(trials) == {48, 72, 144}
    assert trials[48].kept
    assert trials[48].speedup > 4
    assert "wrong results" in trials[144].failed
    assert trials[72].failed == "for this test"
    (found,) = report.families
    assert found.gain > 4
    assert set(found.kernels) == {"halving"}
    assert steps[-1] == ("done", 600, 600)
    assert all(done < total for _, done, total in steps[:-1])
    assert json.loads(json.dumps(report.to_json()))["tiles"]["gemm_rows"] == 48


def test_without_time_the_defaults_stand():
    report = tune(1e-3, threads=1)
    assert report.trials == []
    assert report.tiles == Tiles()
    assert report.families[0].gain == 1.0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"families": ["softmax"]}, "no kernels named 'softmax'; accepted are linear"),
        ({"families": []}, "at least one family"),
        ({"budget": 0.0}, "a budget above 0"),
        ({"threads": 0}, "threads must be an integer from 1"),
    ],
)
def test_what_cannot_be_tuned_is_said(arguments, told):
    with pytest.raises(Sam3Error, match=told):
        tune(**arguments)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda f: f.name)
def test_candidates_are_sizes_of_the_tiles_and_every_subject_can_be_built(family):
    defaults = Tiles().to_json()
    for name, values in family.candidates.items():
        assert defaults[name] not in values
        assert len(set(values)) == len(values)
    for subject in family.subjects:
        func = subject.build(CpuTarget.native())
        assert {n.name for p in func.params for n in p.ty.shape if hasattr(n, "name")} == set(
            subject.sizes
        )


def test_the_command_writes_what_compile_reads(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked = ["tune", "--budget", "600", "--threads", "1"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert f"wrote {tuning.user_file()}" in result.stdout
    assert CpuTarget.parse("native").tiles == Tiles(gemm_rows=48)
    path = tmp_path / "mine.json"
    again = CliRunner().invoke(app, [*asked, "--json", "-o", str(path)])
    data = json.loads(again.stdout)
    assert data["database"] == f"{path}"
    assert data["cpu"] == cpu_model()
    assert CpuTarget.parse("native", path).tiles == Tiles(gemm_rows=48)


def test_a_database_that_cannot_be_added_to_is_refused_before_the_search(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text("{")
    result = CliRunner().invoke(app, ["tune", "-o", str(path)])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "is no JSON" in result.stderr
