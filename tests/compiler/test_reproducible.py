"""What is compiled twice has the same bytes, wherever and whenever that is."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sam3_tvm import artifact

ROOT = Path(__file__).parents[2]
SHAPES = ROOT / "checkpoints" / "shapes"
PICTURES = ROOT / "examples"


def test_an_artifact_names_the_files_that_it_was_made_of(shapes_artifact):
    said = artifact.open(shapes_artifact).manifest.source.files
    names = ("config.json", "model.safetensors")
    assert said == {n: hashlib.sha256((SHAPES / n).read_bytes()).hexdigest() for n in names}


def compile_elsewhere(folder: Path, source: str | Path, *options: str | Path) -> Path:
    """An artifact by a process that has hashes, places, a time and an output of its own."""
    temporary = folder / "temporary files"
    temporary.mkdir(parents=True)
    environment = {**os.environ, "PYTHONHASHSEED": "random", "TMPDIR": f"{temporary}"}
    environment["TZ"] = "Asia/Kathmandu"
    compiler = Path(sys.executable).parent / "sam3-tvm"
    command = [compiler, "compile", source, *options, "-o", "once-more"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "once-more"


def differing(first: Path, again: Path) -> list[str]:
    one, other = (
        {path.name: path.read_bytes() for path in made.iterdir()} for made in (first, again)
    )
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


@pytest.mark.slow
def test_compiling_twice_gives_the_same_bytes_in_every_file(shapes_artifact, tmp_path):
    assert differing(shapes_artifact, compile_elsewhere(tmp_path / "another folder", SHAPES)) == []


@pytest.mark.slow
def test_so_does_calibrating_for_another_machine(tmp_path):
    options = ("--target", "x86-64-v2", "--tasks", "concepts", "--compute", "int8")
    options += ("--calibrate", PICTURES, "--text", "dog")
    made = [
        compile_elsewhere(tmp_path / name, "random:tiny", *options) for name in ("here", "there")
    ]
    assert json.loads((made[0] / "manifest.json").read_text())["calibration"]["pictures"] > 0
    assert differing(*made) == []
