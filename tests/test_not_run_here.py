"""A test that can't run on this CPU is named at the end, or fails where it is asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TESTS = """
import pytest

@pytest.mark.cpu("NO_SUCH_FEATURE")
def test_that_needs_it(): ...

@pytest.mark.skip(reason="no moon")
def test_at_night(): ...

@pytest.mark.cpu()
def test_that_needs_nothing(): ...
"""


def run(folder: Path, require: str) -> tuple[int, str]:
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    (folder / "test_features.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = cpu(*features): needs these\n")
    environment = {**os.environ, "SAM3_TVM_REQUIRE": require}
    environment["PYTHONPATH"] = str(ROOT / "src")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "."],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout


def test_what_cannot_run_here_is_named_at_the_end(tmp_path):
    code, printed = run(tmp_path, "avx512bf16")
    assert code == 0
    assert "not run here: 1 test: this CPU has no NO_SUCH_FEATURE" in printed
    assert "not run here: 1 test: no moon" in printed
    assert "1 passed, 2 skipped" in printed


@pytest.mark.parametrize("require", ["no_such_feature", "avx512bf16, NO_SUCH_FEATURE"])
def test_what_is_asked_for_and_cannot_run_fails(tmp_path, require):
    code, printed = run(tmp_path, require)
    assert code == 1
    assert "SAM3_TVM_REQUIRE asks for NO_SUCH_FEATURE, which this CPU lacks" in printed
    assert "1 passed, 1 skipped, 1 error" in printed
