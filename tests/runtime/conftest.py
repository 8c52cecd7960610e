from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import toy

from sam3_tvm import artifact
from sam3_tvm.runtime.functions import FunctionTable
from sam3_tvm.runtime.segmenter import Model
from sam3_tvm.runtime.tokenizer import Tokenizer

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def compiled(tmp_path_factory) -> artifact.Artifact:
    """The toy compiled by TVM, in a process of its own: this one stays without TVM."""
    folder = tmp_path_factory.mktemp("compiled") / "toy"
    run_python(str(HERE / "toy_relax.py"), str(folder))
    return artifact.open(folder, "full")


@pytest.fixture(scope="session")
def toy_artifact(tmp_path_factory) -> artifact.Artifact:
    """A toy artifact without code, for its manifest, weights and tokenizer."""
    return toy.write_artifact(tmp_path_factory.mktemp("plain") / "toy")


@pytest.fixture
def functions() -> toy.ToyFunctions:
    return toy.ToyFunctions()


@pytest.fixture
def model(toy_artifact, functions) -> Model:
    """A model whose functions are NumPy's, and counted."""
    return make_model(toy_artifact, functions)


def make_model(opened: artifact.Artifact, functions: toy.ToyFunctions, manifest=None) -> Model:
    manifest = manifest or opened.manifest
    tokenizer = Tokenizer(opened.path / "tokenizer.json", toy.SIZES.text_tokens, toy.PAD)
    table = FunctionTable(manifest.components, functions)
    return Model(table, tokenizer, manifest, opened.fingerprint)


def run_python(*arguments: str, env: dict[str, str] | None = None) -> str:
    """What a fresh interpreter prints; its errors are this test's."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
