from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models.sam3.modeling_sam3 import Sam3Model

from sam3_tvm.errors import Sam3Error
from sam3_tvm.sources.huggingface.source import TransformersSource
from training.batches import Batch, Drawing, Plan
from training.export import FILES, export
from training.model import IMAGE, MASK_GRID, TOKENS
from training.stages import Stage
from training.tokenizer import train_tokenizer
from training.train import Run
from training.validation import validate, validation_batches

MIX = {"text": 1.0, "absent": 1.0, "exemplar": 1.0}
STAGES = (
    Stage("features", 1, Plan(2, 2, 0, MIX), 1e-3, 1e-3, 1, 1),
    Stage("prompts", 3, Plan(2, 2, 3, MIX), 1e-3, 1e-4, 1, 1),
)


@pytest.fixture(scope="module")
def tokenizer() -> str:
    return str(train_tokenizer().to_str())


@pytest.fixture(scope="module")
def batches(tokenizer: str) -> list[Batch]:
    drawing = Drawing(tokenizer, IMAGE, MASK_GRID, TOKENS, seed=5)
    return [drawing.batch(0, STAGES[0].plan), drawing.batch(1, STAGES[1].plan)]


@pytest.fixture(scope="module")
def run(tokenizer: str, batches: list[Batch]) -> Run:
    """Two steps, one of each stage."""
    made = Run(tokenizer, STAGES)
    for batch in batches:
        made.learn(batch)
    return made


@pytest.mark.slow
def test_resuming_goes_on_as_if_nothing_had_happened(
    run: Run, batches: list[Batch], tmp_path: Path
) -> None:
    run.save(tmp_path / "run.pt")
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"]
    loaded = [Run.load(tmp_path / "run.pt", STAGES) for _ in range(2)]
    assert loaded[0].step == run.step == 2
    first, second = (one.learn(batches[1]) for one in loaded)
    assert first == second
    for name, value in loaded[0].average.state_dict().items():
        assert torch.equal(value, loaded[1].average.state_dict()[name]), name
    before = run.model.state_dict()
    after = loaded[0].model.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_every_weight_that_inference_uses_is_trained(
    tokenizer: str, run: Run, batches: list[Batch]
) -> None:
    start = Run(tokenizer, STAGES).model.state_dict()
    same = {n for n, v in run.model.named_parameters() if torch.equal(v, start[n])}
    # The neck's last level is used by nobody, and the pooled text by nobody here.
    used = {n for n in same if "fpn_layers.3" not in n and "text_encoder.text_projection" not in n}
    assert not used


def test_a_run_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Sam3Error, match="no such run"):
        Run.load(tmp_path / "run.pt", STAGES)
    torch.save({"step": 1}, tmp_path / "other.pt")
    with pytest.raises(Sam3Error, match="holds no run"):
        Run.load(tmp_path / "other.pt", STAGES)
    (tmp_path / "text.pt").write_text("no run at all")
    with pytest.raises(Sam3Error, match="holds no run"):
        Run.load(tmp_path / "text.pt", STAGES)
    (tmp_path / "empty.pt").touch()
    torch.save([1], tmp_path / "list.pt")
    for name in ("empty.pt", "list.pt"):
        with pytest.raises(Sam3Error, match="holds no run"):
            Run.load(tmp_path / name, STAGES)


def test_what_is_exported_loads_with_strict_keys(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    report = {
        "pictures": 3,
        "threshold": 0.5,
        "figures": {
            "text": {
                "prompts": 6,
                "f1": 0.75,
                "precision": 1.0,
                "recall": 0.6,
                "matched_iou": 0.875,
                "rejected": None,
            }
        },
    }
    export(run, folder)
    export(run, folder, report)  # replaces the first
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 12e6
    assert "| text | 6 | 0.750 | 1.000 | 0.600 | 0.875 |  |" in (folder / "README.md").read_text()
    weights = {n: v.half().float() for n, v in run.average.module.state_dict().items()}
    model, report = Sam3Model.from_pretrained(folder, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    source = TransformersSource.open(str(folder))
    assert source.preprocessing.image_size == IMAGE
    assert source.licence is not None
    assert source.licence.name.startswith("Apache License")
    for found in (model.state_dict(), source.model.state_dict()):
        assert all(torch.equal(value.float(), weights[name]) for name, value in found.items())


def test_other_peoples_folders_are_not_overwritten(run: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(Sam3Error, match=r"thesis\.tex"):
        export(run, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_validation_of_an_untrained_model_finds_nothing(run: Run, tokenizer: str) -> None:
    figures = validate(run.model, validation_batches(tokenizer, 2), threshold=0.999)
    assert figures["f1"] == 0.0
    assert figures["absent"] == 1.0
    assert {"f1_text", "iou"} <= set(figures)
    json.dumps(figures)
    assert np.isfinite(list(figures.values())).all()
