"""What bfloat16 and int8 change on the trained model: nothing that a user would see."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from kernel_testing import MULTIPLIES_BFLOAT16, PLAIN_PAIRS

import sam3_tvm
from sam3_tvm.compiler import compile
from sam3_tvm.compiler.kernels.product import dot
from sam3_tvm.evaluate import ModelDetector, agreement, evaluate, read_dataset
from training.dataset import write_dataset

CHECKPOINT = Path(__file__).parents[1] / "checkpoints" / "shapes"


class Worth(NamedTuple):
    """What arithmetic is held to: objects are the same in this share of prompts, their masks
    overlap by so much and their scores differ by so little in the mean; figures of the whole
    (F1, IoU, what is absent and rejected) differ by so little."""

    same: float
    iou: float
    score: float
    figures: float


HELD_TO = {
    "bfloat16": Worth(same=0.99, iou=0.995, score=0.004, figures=0.004),
    "int8": Worth(same=0.98, iou=0.98, score=0.01, figures=0.005),
}


@pytest.mark.slow  # compiles the model
@pytest.mark.parametrize("compute", HELD_TO)
def test_narrow_arithmetic_finds_the_same_objects(shapes_artifact, tmp_path, monkeypatch, compute):
    # A CPU that doesn't multiply bfloat16 rounds the same by plain arithmetic; int8 any can.
    if not MULTIPLIES_BFLOAT16:
        monkeypatch.setitem(dot.DOTS, "bfloat16", (PLAIN_PAIRS,))
    compile(str(CHECKPOINT), tmp_path / "narrow", compute=compute, tasks=["concepts"])
    write_dataset(tmp_path / "scenes", 80, 4321, 192)
    dataset = read_dataset(tmp_path / "scenes" / "annotations.json", tmp_path / "scenes")
    artifacts = {"wide": shapes_artifact, "narrow": tmp_path / "narrow"}
    detectors = {name: ModelDetector(sam3_tvm.load(path)) for name, path in artifacts.items()}
    found = evaluate(detectors, dataset)
    both = agreement(found["narrow"].outcomes, found["wide"].outcomes)
    held = HELD_TO[compute]
    assert both.prompts > 300
    assert both.same >= held.same * both.prompts
    assert both.iou_mean > held.iou
    assert both.score_mean < held.score
    assert both.score_mean > 0, "nothing was rounded"
    wide, narrow = (found[name].figures()["all"] for name in ("wide", "narrow"))
    assert narrow.f1 == pytest.approx(wide.f1, abs=held.figures)
    assert narrow.matched_iou == pytest.approx(wide.matched_iou, abs=held.figures)
    assert narrow.rejected == pytest.approx(wide.rejected, abs=held.figures)
