"""From a run to a checkpoint folder in Hugging Face's layout, with a model card."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers.models.sam3.modeling_sam3 import Sam3Model

from sam3_tvm.errors import Sam3Error
from sam3_tvm.sources.huggingface.files import write_processing
from training.model import IMAGE, MASK_GRID, shapes_config
from training.train import Run

__all__ = ["FILES", "export"]

FILES = (
    "LICENSE",
    "README.md",
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
"""What a checkpoint folder holds."""

_ROOT = Path(__file__).parent.parent


def _write_weights(folder: Path, run: Run) -> int:
    """The averaged weights in float16, and the configuration; returns their number."""
    model = Sam3Model(shapes_config(Tokenizer.from_str(run.tokenizer).get_vocab_size()))
    model.load_state_dict(run.average.module.state_dict())
    if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
        raise Sam3Error("the run's weights are not finite: training has diverged")
    model.half().save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


def _figures(report: dict[str, Any]) -> str:
    """The table of the model card, from what ``sam3-tvm evaluate -o`` wrote."""
    figures = report["figures"]

    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    columns = ("f1", "precision", "recall", "matched_iou", "rejected")
    rows = [
        f"| {name} | {one['prompts']} | " + " | ".join(cell(one[c]) for c in columns) + " |"
        for name, one in figures.items()
    ]
    head = (
        "| prompts | number | F1 | precision | recall | IoU of matched masks | absent rejected |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    return (
        f"On {report['pictures']} scenes that were drawn from another seed, with a tenth of the "
        "things of kinds (colour and shape) that no training scene has, through the compiled "
        f"model, at a threshold of {report['threshold']}:\n\n"
        + head
        + "\n".join(rows)
        + "\n\n`sam3-tvm evaluate` measured it; docs/evaluation.md says what each figure means.\n"
    )


def _card(run: Run, parameters: int, report: dict[str, Any] | None) -> str:
    measured = _figures(report) if report else "Not measured yet.\n"
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: mask-generation
---

# Shapes: a small SAM 3 for demonstrations and tests

The architecture of SAM 3 (transformers' `Sam3Model`, unmodified) with {parameters / 1e6:.1f}
million parameters, trained on drawn pictures of coloured shapes. It shows what a compiled SAM 3
does, in seconds and without gated weights. It is no model for photographs.

```sh
sam3-tvm compile checkpoints/shapes -o out/shapes
sam3-tvm segment out/shapes picture.png --text "red circle"
```

## What it knows

Circle, square, triangle, star, ring, cross, diamond, heart, hexagon and crescent; red, orange,
yellow, green, cyan, blue, purple, pink, brown, black, white and grey; small, medium and large,
filled and outlined. Phrases such as "circle", "the red circles", "small blue star", "everything
green", "outlined square"; a box around a thing finds the others of its colour and shape, a negative
box leaves a kind out.

## Data

Scenes of one to seven shapes on plain, graded and textured backgrounds, drawn by `training/` in the
repository. The batches mix phrases, phrases for what is not there, boxes as examples with and
without a phrase, and negative boxes. A tenth of the combinations of colour and shape are left out
of training, to be tested on.

## Training

`python -m training`, {run.step:,} steps in {run.seconds / 60:.0f} minutes on two CPU cores, in
bfloat16 where torch deems it safe. Seed {run.seed}. The weights are an exponential average over the
steps. `training/README.md` describes stages and losses.

## Figures

{measured}
## Limits

- Pictures are seen at {IMAGE} x {IMAGE} pixels and masks are drawn on {MASK_GRID} x {MASK_GRID}
  cells: fine detail is lost.
- It knows the words of its grammar. Other words give anything or nothing.
- "Small" and "large" are relative to the picture's side, not to other things.
- An example stands for all things of its colour and shape, whatever their size and whether filled.
"""


def export(run: Run, folder: Path, report: dict[str, Any] | None = None) -> None:
    """Write the run's averaged weights as a checkpoint folder.

    It is made beside ``folder`` and renamed when complete.

    Args:
        run: the run.
        folder: absent, or a checkpoint that was exported before, which is replaced.
        report: what ``sam3-tvm evaluate -o FILE`` wrote of it, for the model card.

    Raises:
        Sam3Error: the folder holds something else, or the weights are not finite.
    """
    if folder.exists():
        foreign = sorted(p.name for p in folder.iterdir() if p.name not in FILES)
        if foreign:
            raise Sam3Error(f"{folder} holds {foreign[0]}, which is no part of a checkpoint")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        parameters = _write_weights(made, run)
        tokens = run.model.config.text_config.max_position_embeddings
        write_processing(made, run.tokenizer, tokens, IMAGE)
        shutil.copyfile(_ROOT / "LICENSE", made / "LICENSE")
        (made / "README.md").write_text(_card(run, parameters, report), encoding="utf-8")
        if folder.exists():
            folder.rename(Path(temporary) / "before")
        made.rename(folder)
        folder.chmod(0o755)
        (folder / "model.safetensors").chmod(0o644)
