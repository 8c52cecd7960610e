"""A small model with both trackers, and a checkpoint folder of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers.models.sam3_video.configuration_sam3_video import Sam3VideoConfig
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoModel

from sam3_tvm.sources import Source, open_source


@pytest.fixture(scope="session")
def source() -> Source:
    """``random:tiny``, with both trackers."""
    return open_source("random:tiny")


@pytest.fixture(scope="session")
def both_halves(source, tmp_path_factory) -> Path:
    """A folder laid out as facebook/sam3 is: the weights of ``Sam3VideoModel``, which has both."""
    folder = tmp_path_factory.mktemp("video")
    config = Sam3VideoConfig(
        detector_config=source.model.config.to_dict(),
        tracker_config=source.video_tracker.config.to_dict(),
    )
    model = Sam3VideoModel(config)
    model.detector_model.load_state_dict(source.model.state_dict())
    model.tracker_neck.load_state_dict(source.tracker.vision_encoder.neck.state_dict())
    tracker = {
        key: value
        for key, value in source.video_tracker.state_dict().items()
        if not key.startswith("vision_encoder.")
    }
    model.tracker_model.load_state_dict(tracker)
    config.save_pretrained(folder)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "tokenizer.json").write_text(source.tokenizer_json())
    return folder


def checkpoint_without(folder: Path, path: Path, prefixes: str | tuple[str, ...]) -> str:
    """A copy of a checkpoint without the weights whose names begin so."""
    tensors = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in tensors.items() if not key.startswith(prefixes)}
    assert len(kept) < len(tensors)
    save_file(kept, path / "model.safetensors", {"format": "pt"})
    for name in ("config.json", "tokenizer.json"):
        (path / name).write_text((folder / name).read_text())
    return str(path)


@pytest.fixture(scope="session")
def without() -> Callable[..., str]:
    """A checkpoint folder, a place and prefixes to the name of a copy that lacks these weights."""
    return checkpoint_without
