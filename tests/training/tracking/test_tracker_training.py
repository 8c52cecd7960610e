"""The tracker in training: what it computes, what it is measured by, and how a run is kept."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.models.sam3.modeling_sam3 import Sam3Model

from sam3_tvm.errors import Sam3Error
from sam3_tvm.sources.base import ShowSpec
from sam3_tvm.sources.huggingface.clicks import TrackerNeck
from sam3_tvm.sources.huggingface.source import TransformersSource
from sam3_tvm.sources.huggingface.video_reference import ReferenceFilm
from training.model import IMAGE, MASK_GRID
from training.tracking.batches import ClipBatch, ClipDrawing, ClipPlan
from training.tracking.export import add_tracker, read_tracker
from training.tracking.forward import Answer, Passage, backbone_features
from training.tracking.losses import ABSENT, answer_losses
from training.tracking.stages import ClipStage
from training.tracking.train import TrackerRun, _drawn, load_detector

CHECKPOINT = Path("checkpoints/shapes")
MASKS = {"mask": 1.0}
STAGES = (
    ClipStage("pictures", 1, ClipPlan(1, 1, 2, {"click": 1.0}), 1e-3, 1e-3, 1, 0.1),
    ClipStage("clips", 3, ClipPlan(1, 3, 2, MASKS), 1e-3, 1e-4, 1, 0.1),
)


@pytest.fixture(scope="module")
def detector() -> Sam3Model:
    return load_detector(CHECKPOINT)


@pytest.fixture(scope="module")
def batches() -> list[list[ClipBatch]]:
    drawing = ClipDrawing(IMAGE, MASK_GRID, 5)
    return [
        [drawing.batch(2 * i + k, stage.plan) for k in (0, 1)] for i, stage in enumerate(STAGES)
    ]


@pytest.fixture(scope="module")
def run(detector: Sam3Model, batches: list[list[ClipBatch]]) -> TrackerRun:
    """Two steps, one of each stage."""
    made = TrackerRun(detector, STAGES)
    for pair in batches:
        made.learn(pair)
    return made


@torch.no_grad()
def test_the_neck_computes_what_the_compiled_one_does(run: TrackerRun) -> None:
    pixels = torch.randn(2, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(0))
    features = backbone_features(run.tracker, pixels)
    levels = Passage(run.tracker).levels(features)
    wanted = TrackerNeck(run.tracker)(features.flatten(2).transpose(1, 2))
    for one, other in zip((levels.fine, levels.middle, levels.coarse), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_clips_are_passed_as_transformers_passes_films(run: TrackerRun) -> None:
    """Frame by frame the same masks as in its own session, from a mask and with memories."""
    batch = ClipDrawing(IMAGE, MASK_GRID, 6).batch(0, ClipPlan(1, 5, 1, MASKS))
    # A mask of the picture's size, which neither side resizes.
    shown = np.repeat(np.repeat(batch.shown[0, 0], 2, 0), 2, 1)
    preprocessing = TransformersSource.open(str(CHECKPOINT), tracked=False).preprocessing
    frames = [frame.transpose(1, 2, 0) for frame in batch.pixels[0]]
    film = ReferenceFilm(run.tracker, preprocessing, frames)
    film.show(ShowSpec(object_id=1, frame=0, mask=shown))
    passage = Passage(run.tracker)
    passage._taken = lambda *_: passage._shown(torch.from_numpy(shown).float()[None, None])[::2]
    for frame, answer in enumerate(passage(batch)):
        film.look(frame)
        kept = film.session.output_dict_per_obj[0]
        stored = kept["cond_frame_outputs" if frame == 0 else "non_cond_frame_outputs"][frame]
        if frame:
            theirs = stored["pred_masks"][0, 0]
            # Memories are kept as bfloat16 there.
            torch.testing.assert_close(answer.masks[0, 0], theirs, rtol=0.05, atol=0.05)


def test_masks_are_learned_where_things_are_seen_alone() -> None:
    masks, iou = torch.randn(3, 4, 8, 8), torch.full((3, 4), 0.5)
    answer = Answer(masks, iou, torch.zeros(3), prompted=False)
    wanted = torch.zeros(3, 8, 8)
    wanted[:, 2:5, 2:5] = 1.0
    losses = answer_losses(answer, wanted, torch.tensor([1, 0, -1]))
    assert {name: len(loss) for name, loss in losses.items()} == {
        "focal": 1,
        "dice": 1,
        "iou": 1,
        "there": 2,
    }
    sure = Answer(
        (wanted[:, None] * 40 - 20).expand(-1, 4, -1, -1), torch.ones(3, 4), masks[:, 0, 0, 0], True
    )
    right = answer_losses(sure, wanted, torch.tensor([1, 1, 1]))
    assert max(float(right[name].max()) for name in ("focal", "dice", "iou")) < 1e-3


@pytest.mark.slow
def test_a_tracker_run_goes_on_as_if_nothing_had_happened(
    run: TrackerRun, detector: Sam3Model, batches: list[list[ClipBatch]], tmp_path: Path
) -> None:
    run.save(tmp_path / "run.pt")
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"]
    loaded = [TrackerRun.load(tmp_path / "run.pt", detector, STAGES) for _ in range(2)]
    assert loaded[0].step == run.step == 2
    first, second = (one.learn(batches[1]) for one in loaded)
    assert first == second
    for name, value in loaded[0].average.state_dict().items():
        assert torch.equal(value, loaded[1].average.state_dict()[name]), name


def test_a_file_that_holds_no_tracker_run_is_refused(detector: Sam3Model, tmp_path: Path) -> None:
    with pytest.raises(Sam3Error, match="no such run"):
        TrackerRun.load(tmp_path / "run.pt", detector, STAGES)
    torch.save({"seed": 0}, tmp_path / "run.pt")
    with pytest.raises(Sam3Error, match="holds no run of this tracker"):
        TrackerRun.load(tmp_path / "run.pt", detector, STAGES)


@pytest.mark.slow
@pytest.mark.parametrize(("frames", "kind", "seed"), [(1, "box", 8), (3, "mask", 10)])
def test_the_tracker_learns_what_it_is_shown(
    detector: Sam3Model, frames: int, kind: str, seed: int
) -> None:
    """Two objects of a picture, and of a clip in which they move: told apart, by its prompt and by
    its memories, after some steps at the rates of training."""
    plan = ClipPlan(1, frames, 2, {kind: 1.0})
    run = TrackerRun(detector, (ClipStage("overfit", 50, plan, 1e-3, 1e-3, 5, 0.2),))
    batch = ClipDrawing(IMAGE, MASK_GRID, seed).batch(0, plan)
    wanted = batch.masks >= 128
    assert (batch.seen == 1).all()
    assert not (wanted[0] & wanted[1]).any()
    dice = [run.learn([batch])["dice"] for _ in range(50)]
    assert sum(dice[-5:]) / 5 < 0.5 * dice[0]
    with torch.no_grad():
        answers = run.passage(averaged=False)(batch)
    for frame, answer in enumerate(answers):
        found = (answer.masks[:, 0] > 0).numpy()
        both, either = found & wanted[:, frame], found | wanted[:, frame]
        assert (both.sum((1, 2)) / either.sum((1, 2)) > 0.6).all(), frame


def test_a_tracker_is_added_and_the_detector_stays_bit_for_bit(
    run: TrackerRun, tmp_path: Path
) -> None:
    folder = tmp_path / "shapes"
    shutil.copytree(CHECKPOINT, folder)

    def detector_digest() -> str:
        digest = hashlib.sha256()
        for name, tensor in sorted(load_file(folder / "model.safetensors").items()):
            if not name.startswith(("tracker_model.", "tracker_neck.")):
                digest.update(name.removeprefix("detector_model.").encode())
                digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    before, others = detector_digest(), sorted(p.name for p in folder.iterdir())
    for _ in range(2):  # the second one replaces the first
        add_tracker(run, folder)
        assert detector_digest() == before
        assert sorted(p.name for p in folder.iterdir()) == others
    assert (folder / "model.safetensors").stat().st_size < 12e6
    assert json.loads((folder / "config.json").read_text())["model_type"] == "sam3_video"
    assert (folder / "README.md").read_text().count("## Films") == 1
    source = TransformersSource.open(str(folder))
    assert source.sizes.tasks == ("concepts", "clicks", "video")
    assert source.sizes.clicks is not None
    assert (source.sizes.hidden, source.sizes.clicks.hidden) == (96, 64)
    weights = run.average.module.state_dict()
    for name, tensor in source.video_tracker.state_dict().items():
        if not name.startswith("vision_encoder.backbone."):
            # Objects are absent more often in training: their score's bias is corrected for it.
            corrected = name.endswith("pred_obj_score_head.proj_out.bias")
            wanted = weights[name] + (math.log(ABSENT) if corrected else 0)
            assert torch.equal(tensor, wanted.half().float()), name


def test_a_run_begins_at_a_stage_with_the_tracker_that_was_added(
    run: TrackerRun, detector: Sam3Model, tmp_path: Path
) -> None:
    folder = tmp_path / "shapes"
    shutil.copytree(CHECKPOINT, folder)
    add_tracker(run, folder)
    begun = TrackerRun(detector, STAGES, seed=1)
    begun.begin_at("clips", read_tracker(folder))
    assert begun.step == begun.first == STAGES[0].steps
    wanted = run.average.module.state_dict()
    for model in (begun.tracker, begun.average.module):
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(tensor, wanted[name], rtol=1e-3, atol=2e-3, msg=name)


def test_a_stage_may_have_pictures_beside_its_clips(detector: Sam3Model) -> None:
    """A third batch in each of its steps, and the same ones where a run goes on."""
    clips, pictures = ClipPlan(1, 3, 1, MASKS), ClipPlan(2, 1, 2, {"box": 1.0})
    stages = (
        ClipStage("clips alone", 1, clips, 1e-3, 1e-3, 1, 0.1),
        ClipStage("clips", 2, clips, 1e-3, 1e-3, 1, 0.1, beside=pictures),
    )
    run = TrackerRun(detector, stages)
    with _drawn(run) as source:
        steps = list(source)
    frames = [[batch.pixels.shape[:2] for batch in step] for step in steps]
    assert frames == [[(1, 3)] * 2, [(1, 3)] * 2 + [(2, 1)], [(1, 3)] * 2 + [(2, 1)]]
    assert len({batch.pixels.tobytes() for step in steps for batch in step}) == 8
    run.step = 2
    with _drawn(run) as source:
        (last,) = source
    for batch, before in zip(last, steps[2], strict=True):
        assert np.array_equal(batch.pixels, before.pixels)
    losses = run.learn(last)
    assert math.isfinite(losses["loss"])


def test_what_no_run_begins_with_is_refused(detector: Sam3Model, tmp_path: Path) -> None:
    run = TrackerRun(detector, STAGES)
    weights = read_tracker(CHECKPOINT)
    with pytest.raises(Sam3Error, match="no stage is called 'later'; there are pictures, clips"):
        run.begin_at("later", weights)
    with pytest.raises(Sam3Error, match="another tracker's"):
        run.begin_at("clips", {name: tensor[..., :1] for name, tensor in weights.items()})
    with pytest.raises(Sam3Error, match="no weights can be read"):
        read_tracker(tmp_path)
    alone = {
        n: t for n, t in load_file(CHECKPOINT / "model.safetensors").items() if "track" not in n
    }
    save_file(alone, tmp_path / "model.safetensors")
    with pytest.raises(Sam3Error, match="has no tracker to begin with"):
        read_tracker(tmp_path)
