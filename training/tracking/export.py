"""From a run to a tracker in the detector's checkpoint folder, of type ``sam3_video``; and back."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.models.sam3_video.configuration_sam3_video import Sam3VideoConfig

from sam3_tvm.errors import Sam3Error
from training.tracking.losses import ABSENT
from training.tracking.report import section
from training.tracking.train import TrackerRun

__all__ = ["add_tracker", "read_tracker"]

_WEIGHTS, _CONFIG, _CARD = "model.safetensors", "config.json", "README.md"
_DETECTOR = "detector_model."
_TRACKERS = ("tracker_model.", "tracker_neck.")
_HEADING = "## Films"
_THERE = "mask_decoder.pred_obj_score_head.proj_out.bias"

# Rules for films that SAM 3's own numbers don't suit, as they are meant for masks of 288 x 288
# cells and a detector of real pictures. What comes out from behind something scores lower than
# 0.8 at first: begun anew there, it keeps no id that the tracker would give it back a little later.
_RULES = {"fill_hole_area": 2, "new_det_thresh": 0.8, "recondition_every_nth_frame": 4}


def _detector_tensors(folder: Path) -> dict[str, Tensor]:
    """The detector's, by their names in it; bit for bit what the file holds."""
    return {
        name.removeprefix(_DETECTOR): tensor
        for name, tensor in load_file(folder / _WEIGHTS).items()
        if not name.startswith(_TRACKERS)
    }


def _tracker_tensors(run: TrackerRun) -> dict[str, Tensor]:
    """The averaged weights, by their names beside a detector, in float16."""
    found = {}
    for name, tensor in run.average.module.state_dict().items():
        if name.startswith("vision_encoder.backbone."):
            continue
        if not bool(torch.isfinite(tensor).all()):
            raise Sam3Error("the run's weights are not finite: training has diverged")
        if name == _THERE:
            tensor = tensor + math.log(ABSENT)
        neck = name.removeprefix("vision_encoder.neck.")
        key = f"tracker_model.{name}" if neck == name else f"tracker_neck.{neck}"
        found[key] = tensor.half().contiguous()
    return found


def read_tracker(folder: Path) -> dict[str, Tensor]:
    """The weights of the tracker that :func:`add_tracker` wrote, by their names in it, in float32.

    Raises:
        Sam3Error: no checkpoint there, or one without a tracker.
    """
    try:
        stored = load_file(folder / _WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise Sam3Error(f"{folder}: no weights can be read: {error}") from error
    model, neck = _TRACKERS
    found = {}
    for name, tensor in stored.items():
        if name.startswith(model):
            found[name.removeprefix(model)] = tensor.float()
        elif name.startswith(neck):
            found[f"vision_encoder.neck.{name.removeprefix(neck)}"] = tensor.float()
    if _THERE not in found:
        raise Sam3Error(f"{folder} has no tracker to begin with")
    found[_THERE] = found[_THERE] - math.log(ABSENT)
    return found


def _config(folder: Path, run: TrackerRun) -> dict[str, Any]:
    described = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    detector = described.get("detector_config", described)
    config = Sam3VideoConfig(
        detector_config=detector,
        tracker_config=run.tracker.config.to_dict(),
        low_res_mask_size=run.tracker.prompt_encoder.mask_input_size[0],
        architectures=["Sam3VideoModel"],
        dtype="float16",
        **_RULES,
    )
    made: dict[str, Any] = json.loads(config.to_json_string())
    return made | {"detector_config": detector}


def add_tracker(run: TrackerRun, folder: Path, report: Mapping[str, Any] | None = None) -> None:
    """Write the run's averaged weights beside the detector's in a checkpoint folder.

    The detector's weights and configuration, and all that isn't the tracker's, stay as they are.
    A tracker that was there is replaced. The folder is made beside itself, and renamed when it is
    complete.

    Args:
        run: the run.
        folder: the detector's checkpoint.
        report: what was measured of it, for the model card; see
            :mod:`training.tracking.evaluate`.

    Raises:
        Sam3Error: no checkpoint there, or weights that are not finite.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        made = Path(temporary) / "made"
        try:
            shutil.copytree(folder, made)
            config = _config(folder, run)
            tensors = {f"{_DETECTOR}{n}": t for n, t in _detector_tensors(folder).items()}
            card = (folder / _CARD).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise Sam3Error(f"{folder} is no checkpoint of the detector: {error}") from error
        own = _tracker_tensors(run)
        save_file({**tensors, **own}, made / _WEIGHTS, metadata={"format": "pt"})
        (made / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        count = sum(p.numel() for p in run.optimizers.parameters)
        text = (
            f"{card.partition(_HEADING)[0].rstrip()}\n\n{_HEADING}\n\n{section(run, count, report)}"
        )
        (made / _CARD).write_text(text, encoding="utf-8")
        folder.rename(Path(temporary) / "before")
        made.rename(folder)
        (folder / _WEIGHTS).chmod(0o644)
