"""SAM 3 at its real size: minutes of work and gigabytes of memory, run by ``make test-full``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sam3_tvm

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def sam3_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``random:sam3``, compiled here, or the one that ``SAM3_TVM_ARTIFACT`` names."""
    if path := os.environ.get("SAM3_TVM_ARTIFACT"):
        return Path(path)
    from sam3_tvm.compiler import compile

    path = tmp_path_factory.mktemp("full") / "sam3"
    report = compile("random:sam3", path)
    print(f"compiled in {report.total_seconds:.0f} s, peak {report.peak_bytes / 1e9:.2f} GB")
    return path


def test_every_bound_is_kept(sam3_artifact):
    from sam3_tvm.verify import verify

    report = verify(sam3_artifact)
    broken = [row for row in (*report.functions, *report.end_to_end) if not row.ok]
    assert broken == []


def test_a_picture_of_96_megapixels_is_segmented_in_bounded_memory(sam3_artifact, tmp_path):
    """In a process of its own, so that the peak is its own."""
    script = """
import sys
import numpy as np, sam3_tvm
from sam3_tvm.host import peak_bytes
model = sam3_tvm.load(sys.argv[1])
rows = np.arange(8000, dtype=np.uint32)[:, None]
picture = np.broadcast_to(((rows * 7) % 256).astype(np.uint8)[..., None], (8000, 12000, 3))
result = model.segment(picture, text="stripe", threshold=0.0)[:2]
assert result.masks.shape == (2, 8000, 12000)
print(peak_bytes())
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(sam3_artifact)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout.split()[-1])
    print(f"peak {peak / 1e9:.2f} GB")
    # Weights, activations, the picture and two masks; 24 float masks alone would be 9 GB.
    assert peak < 9e9


def test_encoded_pictures_are_saved_and_loaded_bit_for_bit(sam3_artifact, tmp_path):
    model = sam3_tvm.load(sam3_artifact)
    image = model.encode_image(np.full((37, 53, 3), 90, np.uint8))
    image.save(tmp_path / "image.safetensors")
    again = model.load_image(tmp_path / "image.safetensors")
    assert list(again.features) == list(image.features)
    assert all(
        np.array_equal(again.features[name], image.features[name]) for name in image.features
    )
    first, second = (model.segment(i, text="wall", threshold=0.0) for i in (image, again))
    assert np.array_equal(first.scores, second.scores)
    assert np.array_equal(first.masks, second.masks)
