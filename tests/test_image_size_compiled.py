"""An artifact for pictures of another size, beside the reference at that size."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("torch")

from sam3_tvm import artifact
from sam3_tvm.verify import verify

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(compiled_once):
    """Of 9 patches a side, whose windows of 4 are padded."""
    return compiled_once("tiny-126", "random:tiny", "--image-size", "126", "--dump", "phases")


def test_concepts_clicks_and_films_equal_the_reference_of_that_size(made):
    report = verify(made / "tiny-126")
    assert [row for row in report.rows if not row.ok] == []
    assert report.functions
    assert report.end_to_end
    assert report.clicks
    assert report.frames


def test_the_manifest_records_the_size(made):
    manifest = artifact.open(made / "tiny-126").manifest
    assert (manifest.sizes.image, manifest.sizes.grid) == (126, 9)
    assert manifest.preprocessing.image_size == 126
    shapes = {s.name: s.shape for s in manifest.components["mask_decoder"].outputs}
    assert shapes["masks"][2:] == (36, 36)


def test_products_are_of_patches_and_attention_of_whole_windows(made):
    dump = (made / "phases" / "2_dispatch.py").read_text()
    encoder = re.search(r"def vision_encoder\(.*?\n    @", dump, re.DOTALL)[0]
    rows = re.findall(r"call_tir\(cls\.linear_96x(?:288|96)\w*, .*?Tensor\(\((.*?), \d+\)", encoder)
    assert rows == ["batch * 9 * 9"] * 8
    assert encoder.count("call_tir(cls.attention_3x32_packed_windows_4x4_rotary") == 2
