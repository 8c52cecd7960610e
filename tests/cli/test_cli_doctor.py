"""``doctor``: what it says of the machine, the versions and the lessons."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, field

import pytest

from sam3_tvm import host
from sam3_tvm.cli import doctor


def test_quick_doctor_as_json(cli):
    result = cli("doctor", "--quick", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["run"]["works"] is True
    assert report["machine"]["cores"] >= 1
    assert report["machine"]["memory_bytes"] > 1 << 28
    assert {p["name"] for p in report["packages"]} >= {"numpy", "torch", "apache-tvm"}
    assert report["lessons"] is None


@pytest.mark.parametrize(
    ("features", "bfloat16", "int8"),
    [
        ({"AVX2"}, False, False),
        ({"AVX2", "AVXVNNI"}, False, True),
        ({"AVX512BF16", "AVX512VNNI"}, True, True),
        ({"BF16"}, True, False),
        ({"DOTPROD"}, False, True),
    ],
)
def test_doctor_says_what_the_cpu_multiplies(cli, monkeypatch, features, bfloat16, int8):
    monkeypatch.setattr(host, "features", lambda: frozenset(features))
    said = " ".join(cli("doctor", "--quick").stdout.split())
    assert ("--compute bfloat16 uses it" in said) is bfloat16
    assert ("--compute int8 uses it" in said) is int8
    machine = json.loads(cli("doctor", "--quick", "--json").stdout)["machine"]
    assert (machine["bfloat16"], machine["int8"]) == (bfloat16, int8)


def test_doctor_says_what_tiles_bring(cli, monkeypatch):
    monkeypatch.setattr(host, "refused_features", frozenset)
    for features, there in (({"AVX512BF16", "AMXBF16"}, True), ({"AVX512BF16"}, False)):
        monkeypatch.setattr(host, "features", lambda features=features: frozenset(features))
        said = " ".join(cli("doctor", "--quick").stdout.split())
        assert ("in tiles (AMX)" in said) is there
        assert "grants no tile registers" not in said
        machine = json.loads(cli("doctor", "--quick", "--json").stdout)["machine"]
        assert (machine["tiles"], machine["refused"]) == (there, [])


def test_doctor_says_that_the_system_refuses_tiles(cli, monkeypatch):
    monkeypatch.setattr(host, "refused_features", lambda: frozenset({"AMXINT8", "AMXBF16"}))
    said = " ".join(cli("doctor", "--quick").stdout.split())
    assert "AMXBF16, AMXINT8: this CPU has it, but the system grants no tile registers" in said
    machine = json.loads(cli("doctor", "--quick", "--json").stdout)["machine"]
    assert machine["refused"] == ["AMXBF16", "AMXINT8"]


@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")
def test_doctor_shows_the_compiler_with_its_options(cli, monkeypatch):
    monkeypatch.setenv("CXX", "gcc -O2")
    assert "gcc -O2 (CXX)" in cli("doctor", "--quick").stdout
    assert json.loads(cli("doctor", "--quick", "--json").stdout)["linker"] == "gcc -O2 (CXX)"


def test_doctor_says_why_nothing_links(cli, monkeypatch):
    monkeypatch.setenv("CXX", "false -O2")
    result = cli("doctor", "--quick")
    assert result.exit_code == 0, result.output  # artifacts can be run all the same
    assert "none that links" in result.stdout
    assert "false -O2 (CXX): ended with 1; correct CXX" in " ".join(result.stdout.split())
    report = json.loads(cli("doctor", "--quick", "--json").stdout)
    assert report["linker"] is None
    assert report["compile"]["works"] is False


def test_a_package_that_cannot_load_is_named(cli, monkeypatch):
    monkeypatch.setattr(doctor, "_TO_RUN", ("numpy", "sam3_tvm_of_nowhere"))
    result = cli("doctor", "--quick")
    assert result.exit_code == 1
    assert "run artifacts: no" in result.stdout
    assert "not installed: sam3_tvm_of_nowhere; pip install 'sam3-tvm'" in result.stdout


def test_without_pyav_the_extra_is_named_and_nothing_else_fails(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    result = cli("doctor", "--quick")
    assert result.exit_code == 0, result.output
    assert "read and write video files: no" in result.stdout
    assert "not installed: av; pip install 'sam3-tvm[video]'" in result.stdout


def test_without_scipy_phrases_in_videos_alone_are_out_of_reach(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    result = cli("doctor", "--quick")
    assert result.exit_code == 0, result.output
    assert "follow phrases through videos: no" in result.stdout
    assert "not installed: scipy; pip install 'sam3-tvm[video]'" in result.stdout
    assert "read and write video files: yes" in result.stdout
    report = json.loads(cli("doctor", "--quick", "--json").stdout)
    assert report["video_by_phrase"]["works"] is False
    assert report["video"]["works"] is True


@dataclass
class Outcome:
    kind: str
    detail: str = ""
    max_error: float | None = None

    @property
    def right(self) -> bool:
        return self.kind == "right"


@dataclass
class Named:
    name: str = ""
    id: int = 1
    title: str = "floor division"


@dataclass
class CaseReport:
    case: Named
    stock: Outcome
    ours: Outcome


@dataclass
class LessonReport:
    lesson: Named
    cases: list[CaseReport]
    fault_remains: bool = True
    holds: bool = field(init=False)

    def __post_init__(self) -> None:
        self.holds = all(c.ours.right for c in self.cases)


def reports(ours: str) -> list[LessonReport]:
    error = Outcome("error", "TypeError: Binary operators must have the same datatype " + "x" * 99)
    return [
        LessonReport(
            Named(),
            [
                CaseReport(Named("float // int"), error, Outcome("right", max_error=0.0)),
                CaseReport(Named("int // int"), Outcome("right"), Outcome(ours)),
            ],
        )
    ]


@pytest.mark.parametrize(("ours", "code"), [("right", 0), ("wrong numbers", 1)])
def test_lessons_are_tabled_and_judged(cli, monkeypatch, ours, code):
    monkeypatch.setattr(doctor, "_run_lessons", lambda: reports(ours))
    result = cli("doctor")
    assert result.exit_code == code, result.output
    (row,) = [line for line in result.stdout.splitlines() if "floor division" in line]
    assert "1 error, 1 right" in row
    assert "float // int: error: TypeError" in row
    assert (ours in row.rsplit("...")[-1]) is True
    assert ("ours fails in lesson 1" in result.stderr) is (code == 1)


def test_every_case_is_listed_on_demand(cli, monkeypatch):
    monkeypatch.setattr(doctor, "_run_lessons", lambda: reports("right"))
    result = cli("doctor", "--cases")
    assert "float // int" in result.stdout
    assert "int // int" in result.stdout


def test_lessons_as_json_say_all(cli, monkeypatch):
    monkeypatch.setattr(doctor, "_run_lessons", lambda: reports("right"))
    (lesson,) = json.loads(cli("doctor", "--json").stdout)["lessons"]
    assert lesson["holds"] is True
    assert lesson["cases"][0]["stock"]["detail"].endswith("xxx")
