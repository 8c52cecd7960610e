"""The machinery of ``make test-aarch64``: what it takes for a difference, and for a refusal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from sam3_tvm.errors import Sam3Error
from sam3_tvm.verify.report import Bounds
from tests.emulated import command, system, trials
from tests.emulated.comparing import Difference, compare
from tests.emulated.machines import Machine, Run, here
from tests.emulated.table import markdown
from tests.emulated.trials import ARM, TASKS, X86, Built, Outcome, Refusal, Trial, refuse, run

MASK = np.zeros((8, 9), np.uint8, order="F")
MASK[2:6, 3:8] = 1


def written(folder: Path, *, score=0.75, box=(3.0, 2.0, 5.0, 4.0), mask=MASK, picture=b"png", n=1):
    """What a run writes: a line of JSON with objects, and a picture."""
    folder.mkdir(parents=True)
    counts = coco.encode(mask)
    lengths = {"size": list(counts["size"]), "counts": counts["counts"].decode()}
    one = {"id": 1, "score": score, "bbox": list(box), "area": 20, "segmentation": lengths}
    (folder / "found.jsonl").write_text(json.dumps({"objects": [one] * n, "text": "dog"}) + "\n")
    (folder / "found.png").write_bytes(picture)
    return folder


def flipped(pixels: int) -> np.ndarray:
    mask = MASK.copy(order="F")
    mask[2, 3 : 3 + pixels] = 0
    return mask


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({}, Difference(1, pictures=1, same_pictures=1)),
        ({"score": 0.5}, Difference(1, score=0.25, pictures=1, same_pictures=1)),
        ({"box": (3, 2, 5, 6.5)}, Difference(1, box_px=2.5, pictures=1, same_pictures=1)),
        ({"mask": flipped(2)}, Difference(1, pixels=2, iou=0.9, pictures=1, same_pictures=1)),
        ({"picture": b"other"}, Difference(1, pictures=1)),
    ],
)
def test_a_difference_is_measured(tmp_path, change, difference):
    assert compare(written(tmp_path / "a"), written(tmp_path / "b", **change)) == difference


def test_what_has_no_measure_is_a_fault(tmp_path):
    one = written(tmp_path / "a")
    assert "1 and 2 of them" in compare(one, written(tmp_path / "b", n=2)).fault
    larger = np.zeros((8, 10), np.uint8, order="F")
    assert "masks of (8, 9)" in compare(one, written(tmp_path / "c", mask=larger)).fault
    (written(tmp_path / "d") / "found.jsonl").write_text('{"objects": "dog", "text": "dog"}\n')
    assert "objects" in compare(one, tmp_path / "d").fault
    (written(tmp_path / "e") / "found.png").unlink()
    assert compare(one, tmp_path / "e").fault == "only one wrote found.png"


@pytest.mark.parametrize(
    ("difference", "right"),
    [
        (Difference(3), True),
        (Difference(0), False),  # what finds nothing shows nothing
        (Difference(3, fault="x"), False),
        (Difference(3, pixels=1, iou=0.5), True),
        (Difference(3, pixels=2, iou=0.5), False),
        (Difference(3, pixels=2, iou=0.9995), True),
        (Difference(3, score=2e-4), False),
        (Difference(3, box_px=0.2), False),
        (Difference(3, pictures=2), True),
    ],
)
def test_bounds_are_those_of_verify(difference, right):
    assert difference.within(Bounds()) is right


class Stand:
    """Stands for a machine: writes what it is told to, or prints and fails."""

    def __init__(self, code=0, printed="", **change):
        self.code, self.printed, self.change, self.words = code, printed, change, []

    def run(self, *words, limit=0):
        self.words.append(words)
        if self.code == 0:
            out = Path(words[words.index("-o") + 1]).parent
            written(out / "new", **self.change)
            for path in (out / "new").iterdir():
                path.rename(out / path.name)
            (out / "new").rmdir()
        return Run(self.code, self.printed, 2.0)


@pytest.fixture
def built(monkeypatch):
    monkeypatch.setattr(Built, "folder", lambda self, parent: parent / self.name)
    monkeypatch.setattr(trials, "here", Stand)


def test_a_trial_runs_every_task_with_two_threads_beside_this_machine(tmp_path, built):
    machine, said = Stand(), []
    outcome = run(Trial(Built("aarch64"), "max"), machine, tmp_path, said.append)
    assert outcome.right, outcome.said
    assert outcome.difference == Difference(len(TASKS), pictures=4, same_pictures=4)
    assert outcome.seconds == 2.0 * len(TASKS)
    assert [words[0] for words in machine.words] == ["segment", "segment", "click", "track"]
    assert all(words[-2:] == ("--threads", "2") for words in machine.words)
    assert len(said) == len(TASKS)


@pytest.mark.parametrize(
    ("machine", "says"),
    [
        (Stand(score=0.5), "phrase: beyond the bounds; box: beyond"),
        (Stand(code=-11, printed="qemu: uncaught target signal 11"), "exit code -11: qemu: unc"),
    ],
)
def test_a_trial_that_differs_or_fails_is_wrong(tmp_path, built, machine, says):
    outcome = run(Trial(Built("aarch64"), "max"), machine, tmp_path, lambda _: None)
    assert not outcome.right
    assert says in outcome.said
    assert f"wrong: {outcome.said}" in markdown([outcome])


def test_a_reference_that_does_not_run_is_no_reference(tmp_path, built, monkeypatch):
    monkeypatch.setattr(trials, "here", lambda: Stand(code=2, printed="error: no"))
    with pytest.raises(system.SetupError, match="x86-64-v3-float32 doesn't run on this machine"):
        run(Trial(Built("aarch64"), "max"), Stand(), tmp_path, lambda _: None)


@pytest.mark.parametrize(
    ("code", "printed", "right"),
    [
        (2, "error: a: built for v4, and this CPU lacks AVX512F\n", True),
        (2, "error: a: built for v4, and this CPU lacks SSE\n", False),
        (1, "error: a: built for v4, and this CPU lacks AVX512F\n", False),
        (-4, "qemu: uncaught target signal 4 (Illegal instruction)\n", False),
        (2, "Traceback\nerror: this CPU lacks AVX512F\n", False),
        (0, "", False),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_2(tmp_path, built, code, printed, right):
    trial = Refusal(Built("x86-64-v4"), "Haswell", "this CPU lacks AVX512F")
    outcome = refuse(trial, Stand(code, printed), tmp_path, lambda _: None)
    assert outcome.right is right


def test_the_table_has_runs_and_refusals():
    runs = Outcome(
        "aarch64", "int8", "max", Difference(9, 2, 0.99, 2e-7, 0.1, 4, 3), True, "", 61.0
    )
    refusal = Outcome("x86-64-v4", "float32", "Haswell", Difference(), True, "lacks AVX512F")
    text = markdown([runs, refusal])
    assert "| aarch64 | int8 | max | 9 | 2 | 0.9900 | 2.0e-7 | 1.0e-1 px | 3 of 4 | 61 |" in text
    assert "| x86-64-v4 | float32 | Haswell | lacks AVX512F |" in text


def test_every_arithmetic_runs_on_arm_and_what_it_lacks_is_refused():
    runs = {t.built.arithmetic for t in ARM if isinstance(t, Trial)}
    assert runs == {"float32", "float16-weights", "bfloat16", "int8"}
    assert {t.says for t in X86 if isinstance(t, Refusal)} > {"this CPU lacks AVX512F"}
    names = [f"{t.built.name} on {t.cpu}" for t in (*ARM, *X86)]
    assert len(names) == len(set(names))


def test_what_is_missing_is_compiled_once_and_references_with_it(tmp_path, monkeypatch):
    made = []

    def folder(self, parent):
        made.append(self.name)
        return parent / self.name

    monkeypatch.setattr(Built, "folder", folder)
    (tmp_path / "aarch64-float32").mkdir()
    (tmp_path / "aarch64-float32" / "manifest.json").touch()
    several = [Trial(Built("aarch64"), "max"), Trial(Built("aarch64", "int8"), "max")]
    refused = Refusal(Built("x86-64-v4", small=True), "Haswell", "lacks")
    command._compile([*several, refused, refused], tmp_path)
    assert sorted(made) == [
        "aarch64-int8",
        "x86-64-v3-float32",
        "x86-64-v3-int8",
        "x86-64-v4-float32-small",
    ]


def test_a_command_runs_on_this_machine_as_it_will_there(tmp_path):
    done = here().run("info", tmp_path)
    assert done.code == 2
    assert "not an artifact" in done.printed
    there = Machine("other", here().python, (str(tmp_path),)).run("--help")
    assert there.code == 0


def test_packages_are_those_that_running_needs():
    names = {line.split("=")[0].split("<")[0].split(">")[0] for line in system.requirements()}
    assert {"numpy", "apache-tvm-ffi", "tokenizers", "av", "scipy"} <= names
    assert not names & {"torch", "apache-tvm", "pytest", "fastapi"}


def test_what_an_installation_has_not_is_not_found_on_a_machine(tmp_path):
    python = here().python
    assert Machine("as it is", python).run("--help").code == 0
    lean = Machine("lean", python, hidden=("typer", "rich")).run("--help")
    assert lean.code != 0
    assert "typer" in lean.printed


def test_the_newest_python_of_a_root_is_taken(tmp_path):
    with pytest.raises(system.SetupError, match=r"has no Python of 3\.10"):
        system.python_of(tmp_path)
    for name in ("usr/bin/python3.9", "usr/local/bin/python3.12", "usr/bin/python3.11-config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert system.python_of(tmp_path) == (tmp_path / "usr/local/bin/python3.12", "3.12")
    assert system.root(tmp_path) == tmp_path


def test_what_is_missing_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(system.shutil, "which", lambda name: None)
    monkeypatch.setattr(command.sys, "argv", ["x", "--folder", str(tmp_path / "out"), "aarch64"])
    with pytest.raises(SystemExit) as caught:
        command.main()
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert issubclass(system.SetupError, Sam3Error)
