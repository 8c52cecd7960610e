"""What bfloat16 changes on the trained model: nothing that a user would see."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernel_testing import MULTIPLIES_BFLOAT16, PLAIN_PAIRS

import sam3_tvm
from sam3_tvm.compiler import compile
from sam3_tvm.compiler.kernels.product import dot
from sam3_tvm.evaluate import ModelDetector, agreement, evaluate, read_dataset
from training.dataset import write_dataset

CHECKPOINT = Path(__file__).parents[1] / "checkpoints" / "shapes"


@pytest.mark.slow  # compiles the model
def test_bfloat16_finds_the_same_objects(shapes_artifact, tmp_path, monkeypatch):
    # A CPU that doesn't multiply bfloat16 rounds the same by plain arithmetic.
    if not MULTIPLIES_BFLOAT16:
        monkeypatch.setitem(dot.DOTS, "bfloat16", (PLAIN_PAIRS,))
    compile(str(CHECKPOINT), tmp_path / "narrow", compute="bfloat16", tasks=["concepts"])
    write_dataset(tmp_path / "scenes", 80, 4321, 192)
    dataset = read_dataset(tmp_path / "scenes" / "annotations.json", tmp_path / "scenes")
    artifacts = {"wide": shapes_artifact, "narrow": tmp_path / "narrow"}
    detectors = {name: ModelDetector(sam3_tvm.load(path)) for name, path in artifacts.items()}
    found = evaluate(detectors, dataset)
    both = agreement(found["narrow"].outcomes, found["wide"].outcomes)
    assert both.prompts > 300
    assert both.same >= 0.99 * both.prompts
    assert both.iou_mean > 0.995
    assert both.score_mean < 0.004
    assert both.score_mean > 0, "nothing was rounded"
    wide, narrow = (found[name].figures()["all"] for name in ("wide", "narrow"))
    assert narrow.f1 == pytest.approx(wide.f1, abs=0.004)
    assert narrow.matched_iou == pytest.approx(wide.matched_iou, abs=0.004)
    assert narrow.rejected == pytest.approx(wide.rejected, abs=0.004)
