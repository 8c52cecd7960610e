from __future__ import annotations

import pytest
import toy

from sam3_tvm import artifact
from sam3_tvm.runtime.model import Model


@pytest.fixture(scope="session")
def compiled(tmp_path_factory) -> artifact.Artifact:
    """The toy compiled by TVM, in a process of its own: this one stays without TVM."""
    folder = tmp_path_factory.mktemp("compiled") / "toy"
    toy.run_python(str(toy.HERE / "toy_relax.py"), str(folder))
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
    return toy.make_model(toy_artifact, functions)
