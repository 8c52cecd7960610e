"""The command on a collection, with the demonstration model: killed, gone on with, read."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.annotate import whole_collection


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools
def test_killed_thrice_it_is_the_same_and_every_reader_reads_it(shapes_artifact, tmp_path, capsys):
    pytest.importorskip("scipy", reason="scipy, of the extra [train], isn't installed")
    pytest.importorskip("pyarrow", reason="pyarrow isn't installed")
    draw = [sys.executable, "-m", "training", "draw", "--count", "24", "--size", "128"]
    subprocess.run([*draw, "-o", tmp_path / "drawn"], check=True, capture_output=True)
    whole_collection.check(shapes_artifact, tmp_path / "drawn", tmp_path)
    said = capsys.readouterr().out
    assert [f"killed with {n} of 24" in said for n in (6, 12, 18)] == [True] * 3
    assert "diff -r finds no difference" in said
    assert "are as they were found" in said
