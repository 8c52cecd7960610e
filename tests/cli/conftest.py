"""The command line in this process, with a model that NumPy computes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import sam3_tvm
from sam3_tvm import artifact
from sam3_tvm.cli import app
from tests import video_scenes
from tests.cli.fake_tracker import FakeModel
from tests.cli.track_helpers import COUNT

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))
import toy

Cli = Callable[..., Result]


@pytest.fixture
def cli() -> Cli:
    """Runs ``sam3-tvm`` with the given arguments."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(a) for a in arguments])

    return run


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty working directory."""
    path = tmp_path / "work"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


@pytest.fixture(scope="session")
def toy_artifact(tmp_path_factory) -> artifact.Artifact:
    return toy.write_artifact(tmp_path_factory.mktemp("cli") / "toy")


@pytest.fixture
def model(toy_artifact, monkeypatch):
    """What ``sam3_tvm.load`` gives: a toy model whose calls are counted."""
    functions = toy.ToyFunctions()
    made = toy.make_model(toy_artifact, functions)
    made.functions = functions
    made.loaded_with = []

    def load(path, threads=None):
        made.loaded_with.append((Path(path), threads))
        return made

    # The attribute is made on first use, which monkeypatch then takes back to.
    monkeypatch.setattr(sam3_tvm, "load", load, raising=False)
    return made


@pytest.fixture
def picture() -> Callable[..., Path]:
    """Writes a picture of noise."""

    def write(path: Path, size: tuple[int, int] = (24, 16), seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(noise).save(path)
        return path

    return write


@pytest.fixture(scope="session")
def film(tmp_path_factory) -> Path:
    """A made film for ``track``."""
    return video_scenes.write_video(tmp_path_factory.mktemp("film") / "film.mp4", COUNT)


@pytest.fixture
def tracker(toy_artifact, monkeypatch) -> FakeModel:
    """What ``sam3_tvm.load`` gives: a model that follows colours."""
    made = FakeModel(toy_artifact)
    monkeypatch.setattr(sam3_tvm, "load", lambda path, threads=None: made, raising=False)
    return made
