"""What the tests of layers in eight bits share; all of it is in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")


@pytest.fixture(scope="session")
def tiny_source():
    """``random:tiny``, for every task."""
    from sam3_tvm.sources import open_source

    return open_source("random:tiny")


@pytest.fixture(scope="session")
def noise(tmp_path_factory):
    """A picture of noise, in a file."""
    path = tmp_path_factory.mktemp("noise") / "noise.png"
    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(rgb).save(path)
    return path
