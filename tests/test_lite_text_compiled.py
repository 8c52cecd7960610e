"""An artifact of SAM 3 LiteText beside transformers' own model."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from sam3_tvm import artifact
from sam3_tvm.verify import verify

pytestmark = pytest.mark.slow


def test_every_function_and_photograph_equals_the_reference(compiled_once):
    path = compiled_once("tiny-litetext", "random:tiny-litetext") / "tiny-litetext"
    assert artifact.open(path).manifest.sizes.tasks == ("concepts",)
    report = verify(path)
    assert [row for row in report.rows if not row.ok] == []
    assert {row.name for row in report.functions} >= {"text_encoder", "vision_encoder"}
    assert report.end_to_end
