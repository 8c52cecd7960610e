"""What is compiled twice has the same bytes, wherever and whenever that is."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sam3_tvm import artifact

SHAPES = Path(__file__).parents[2] / "checkpoints" / "shapes"


def test_an_artifact_names_the_files_that_it_was_made_of(shapes_artifact):
    said = artifact.open(shapes_artifact).manifest.source.files
    names = ("config.json", "model.safetensors")
    assert said == {n: hashlib.sha256((SHAPES / n).read_bytes()).hexdigest() for n in names}


@pytest.mark.slow
def test_compiling_twice_gives_the_same_bytes_in_every_file(shapes_artifact, tmp_path):
    temporary, elsewhere = tmp_path / "temporary files", tmp_path / "another folder"
    temporary.mkdir()
    elsewhere.mkdir()
    # Whatever a process may have of its own: hashes, places, the time, the output's name.
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "TMPDIR": f"{temporary}"}
    environment["TZ"] = "Asia/Kathmandu"
    command = [Path(sys.executable).parent / "sam3-tvm", "compile", SHAPES, "-o", "once-more"]
    done = subprocess.run(
        command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first = {path.name: path.read_bytes() for path in shapes_artifact.iterdir()}
    again = {path.name: path.read_bytes() for path in (elsewhere / "once-more").iterdir()}
    assert first.keys() == again.keys()
    assert [name for name in first if first[name] != again[name]] == []
