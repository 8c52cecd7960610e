"""The weights and the configuration of the tracker for video."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from sam3_tvm.sources import SourceError, open_source
from sam3_tvm.sources.huggingface.video_reference import TrackerVideoReference
from sam3_tvm.verify.video import film_of, film_prompts


@pytest.mark.parametrize("seed", [0, 5])
def test_detector_tracker_and_video_are_drawn_apart(seed):
    """Of one generator, they would have the same draws, only scaled by what each multiplies."""
    opened = open_source(f"random:tiny:{seed}")
    own = (opened.model, opened.tracker.vision_encoder.neck, opened.video_tracker.memory_attention)
    # The first parameters that are filled, in the order of the modules that have them.
    first = [next(p for m in part.modules() for p in m.parameters(recurse=False)) for part in own]
    draws = torch.stack([p.detach().flatten()[:1000] for p in first])
    assert (torch.corrcoef(draws) - torch.eye(3)).abs().max() < 0.2


def test_a_checkpoint_without_memories_serves_clicks(source, both_halves, without, tmp_path):
    alone = source.tracker.state_dict().keys()
    own = [key for key in source.video_tracker.state_dict() if key not in alone]
    parts = tuple(f"tracker_model.{key}" for key in own)
    opened = open_source(without(both_halves, tmp_path, parts))
    assert opened.sizes.tasks == ("concepts", "clicks")
    assert opened.video is None


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("enable_temporal_pos_encoding_for_object_pointers", False, "must be true"),
        ("max_cond_frame_num", -1, "must be 1 or more, not -1"),
        ("num_maskmem", 0, "must be 1 or more, not 0"),
        ("max_object_pointers_in_encoder", 0, "must be 1 or more, not 0"),
    ],
)
def test_a_configuration_that_is_not_served_is_an_error(both_halves, tmp_path, name, value, says):
    described = json.loads((both_halves / "config.json").read_text())
    described["tracker_config"][name] = value
    (tmp_path / "config.json").write_text(json.dumps(described))
    for file in ("model.safetensors", "tokenizer.json"):
        (tmp_path / file).symlink_to(both_halves / file)
    with pytest.raises(SourceError, match=f"{name} {says}") as caught:
        open_source(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_the_reference_in_float64_is_that_of_float32_but_for_its_rounding(source):
    rgb = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    film = film_of(np.kron(rgb[::10, ::10], np.ones((10, 10, 1), np.uint8)), 4)
    prompts = film_prompts(film[0].shape[:2])
    model, rules = source.video_tracker, source.preprocessing
    narrow, wide = TrackerVideoReference(model, rules), TrackerVideoReference(model, rules, True)
    assert (narrow.model.dtype, wide.model.dtype) == (torch.float32, torch.float64)
    off = 0.0
    for one, other in zip(narrow.track(film, prompts), wide.track(film, prompts), strict=True):
        assert one.objects == other.objects
        assert other.scores.dtype == np.float32
        assert np.mean(one.masks != other.masks) < 1e-3
        off = max(off, float(np.abs(one.scores - other.scores).max()))
    assert 0 < off < 1e-4
    assert torch.get_default_dtype() is torch.float32
