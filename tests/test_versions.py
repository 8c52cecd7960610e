"""``tools/versions.py``: which combinations there are, and what becomes of them in the table."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
TOOL = Path(__file__).parents[1] / "tools" / "versions.py"


@pytest.fixture(scope="module")
def versions():
    spec = importlib.util.spec_from_file_location("versions", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["versions"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["versions"]


def test_each_python_comes_with_every_change_and_without(versions):
    made = list(versions.combinations(["3.11", "3.12"], False, None))
    assert [one.python for one in made] == ["3.11"] * 3 + ["3.12"] * 3
    assert made[0].changed == ""
    for one in [*made, *versions.combinations(["3.11"], True, None)]:
        assert all(Requirement(word) for word in one.changed.split(", ") if word)
    only = list(versions.combinations(["3.11"], True, ["transformers"]))
    assert [one.changed for one in only] == ["transformers==5.23.0"]


def test_a_command_is_yes_or_its_last_word(versions, tmp_path):
    python = sys.executable
    assert versions.attempt([python, "-c", ""], tmp_path) == "yes"
    failing = "import sys; print('all well'); sys.exit('error: no such thing')"
    assert versions.attempt([python, "-c", failing], tmp_path) == "error: no such thing"
    assert versions.attempt([python, "-c", KILLED], tmp_path) == "ended by signal 15"


def test_of_tests_the_count_is_kept_and_of_any_step_all_that_it_said(versions, tmp_path):
    log = tmp_path / "log.txt"
    code = "print('FAILED a'); print('== 1 failed, 6 passed =='); import sys; sys.exit({})"
    for status in (0, 1):
        command = [sys.executable, "-c", code.format(status)]
        assert versions.attempt(command, tmp_path, "passed", log) == "1 failed, 6 passed"
        assert log.read_text().startswith("FAILED a\n")
    died = [sys.executable, "-c", f"print('6 passed', flush=True); {KILLED}"]
    assert versions.attempt(died, tmp_path, "passed") == "ended by signal 15"


def test_a_python_that_is_not_here_is_said_to_be_missing(versions, tmp_path, capsys):
    report = tmp_path / "report.json"
    work = ["--work", str(tmp_path / "work"), "--json", str(report)]
    assert versions.main(["--python", "3.0", "--steps", "doctor", *work]) == 0
    head, line, *rows = capsys.readouterr().out.splitlines()
    assert head == "| Python | versions | install | doctor |"
    assert line.count("|") == head.count("|")
    assert rows[0] == "| 3.0 | as pyproject.toml has it | python3.0 isn't here |  |"
    assert all(row.count("|") == head.count("|") for row in rows)
    assert {row["python"] for row in json.loads(report.read_text())} == {"3.0"}


def test_steps_that_there_are_not_are_refused(versions, capsys):
    for arguments in (["--steps", "nonsense"], ["--steps", "run"]):
        with pytest.raises(SystemExit):
            versions.main(arguments)
    assert "no step is named 'nonsense'" in capsys.readouterr().err
