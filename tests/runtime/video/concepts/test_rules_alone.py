"""Each rule for objects of phrases beside transformers' own code, on random masks and counts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
import transformers.models.sam3_video.modeling_sam3_video as modeling
from transformers.models.sam3_video.processing_sam3_video import Sam3VideoProcessor

from sam3_tvm.runtime.pictures.resample import resize_values
from sam3_tvm.runtime.video.concepts import overlaps
from sam3_tvm.runtime.video.concepts.association import Detections, associate
from sam3_tvm.runtime.video.concepts.components import fill_and_clean
from sam3_tvm.runtime.video.concepts.hot_start import HotStart
from sam3_tvm.sources.huggingface.patches import cpu_kernels
from sam3_tvm.sources.huggingface.video_concepts import concept_video_rules

Model = modeling.Sam3VideoModel
RULES = concept_video_rules({})
SEEDS = range(20)


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def some_masks(rng, count: int, side: int = 24) -> np.ndarray:
    """Logits of discs and noise, some of them empty and many of them overlapping."""
    y, x = np.mgrid[:side, :side]
    found = np.empty((count, side, side), np.float32)
    for row in range(count):
        centre, radius = rng.uniform(side / 3, side * 2 / 3, 2), rng.uniform(0, side / 2)
        distance = np.hypot(y - centre[0], x - centre[1])
        found[row] = radius - distance + rng.normal(0, rng.choice([0.1, 2.0]), (side, side))
        if rng.random() < 0.15:
            found[row] = -1 - np.abs(found[row])
    return found


def self_of(**changed) -> SimpleNamespace:
    """What transformers' methods ask of the model itself: thresholds, and each other."""
    found = SimpleNamespace(**{**asdict(RULES), **changed})
    for name in (
        "_apply_non_overlapping_constraints",
        "_suppress_shrunk_masks",
        "_suppress_object_pw_area_shrinkage_impl",
        "_get_objects_to_suppress_based_on_most_recently_occluded",
    ):
        setattr(found, name, getattr(Model, name).__get__(found))
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_iou(seed):
    rng = rng_of(seed)
    a, b = some_masks(rng, 5) > 0, some_masks(rng, 7) > 0
    wanted = modeling.mask_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_array_equal(overlaps.mask_iou(a, b), wanted)
    assert overlaps.mask_iou(a[:0], b).shape == (0, 7)


@pytest.mark.parametrize("seed", SEEDS)
def test_duplicate_detections_go(seed):
    rng = rng_of(seed)
    masks, scores = some_masks(rng, 12), rng.random(12).astype(np.float32)
    threshold, least = rng.uniform(0.05, 0.2), 0.2
    with cpu_kernels():
        wanted = modeling.nms_masks(
            torch.from_numpy(scores), torch.from_numpy(masks), least, threshold
        )
    above = np.flatnonzero(scores > least)
    kept = overlaps.non_maximum_suppression(masks[above] > 0, scores[above], threshold)
    np.testing.assert_array_equal(above[kept], np.flatnonzero(wanted.numpy()))
    assert 0 < len(kept) <= len(above)
    everything = overlaps.non_maximum_suppression(masks > 0, scores, 0.05)
    assert len(everything) < len(masks)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("most_area", [0, 1, 4, 16, 1000])
def test_holes_are_filled_and_sprinkles_removed(seed, most_area):
    masks = some_masks(rng_of(seed), 4, side=25)
    with cpu_kernels():
        wanted = modeling.fill_holes_in_mask_scores(torch.from_numpy(masks)[:, None], most_area)
    found = fill_and_clean(masks, most_area)
    np.testing.assert_array_equal(found, wanted[:, 0].numpy())
    assert most_area < 1000 or (found != masks).any()


def test_pixels_touch_at_corners():
    cross = np.full((1, 9, 9), -1, np.float32)
    cross[0, range(9), range(9)] = 1
    # Nine pixels in one piece, with nothing else beside them than one at the edge.
    cross[0, 0, 8] = 1
    cleaned = fill_and_clean(cross, 4)
    assert cleaned[0, 0, 8] == np.float32(-0.1)
    assert (cleaned[0, range(9), range(9)] == 1).all()


def test_without_scipy_one_line_says_what_to_install(monkeypatch):
    import sys

    from sam3_tvm.errors import MissingExtraError
    from sam3_tvm.runtime.video.concepts.components import import_ndimage

    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.delitem(sys.modules, "scipy.ndimage", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'sam3-tvm\[video\]'") as caught:
        import_ndimage()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("found", "followed"), [(6, 5), (0, 4), (5, 0), (12, 9)])
def test_detections_are_held_against_objects(seed, found, followed):
    rng = rng_of(seed)
    rules = replace(RULES, assoc_iou_thresh=0.3, new_det_thresh=0.5, high_iou_thresh=0.4)
    rules = replace(rules, high_conf_thresh=0.3)
    detections = Detections(
        some_masks(rng, found), rng.random(found).astype(np.float32), rng.integers(0, 2, found)
    )
    masks, phrases = some_masks(rng, followed), rng.integers(0, 2, followed).tolist()
    names = [10 + row for row in range(followed)]
    new, unmatched, matched, sure, empty = Model._associate_det_trk(
        SimpleNamespace(**asdict(rules)),
        det_masks=torch.from_numpy(detections.masks),
        det_scores=torch.from_numpy(detections.scores),
        trk_masks=torch.from_numpy(masks),
        trk_obj_ids=names,
        det_prompt_ids=torch.from_numpy(detections.phrases),
        trk_prompt_ids=torch.tensor(phrases, dtype=torch.long),
    )
    ours = associate(detections, masks, phrases, rules)
    assert ours.new == new
    assert [names[row] for row in ours.unmatched] == unmatched
    assert [names[row] for row in ours.empty] == empty
    assert {names[row]: detection for row, detection in ours.sure.items()} == sure
    theirs = [matched.get(row, []) for row in range(len(ours.matched))]
    assert [[names[row] for row in rows] for rows in ours.matched] == theirs


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_objects_are_removed_and_hidden_by_their_first_frames(seed, live, reverse):
    rng = rng_of(seed)
    rules = replace(
        RULES,
        hotstart_delay=int(rng.integers(0, 8)),
        hotstart_unmatch_thresh=0,
        hotstart_dup_thresh=0,
        init_trk_keep_alive=2,
        max_trk_keep_alive=3,
        suppress_unmatched_only_within_hotstart=bool(rng.random() < 0.3),
        decrease_trk_keep_alive_for_empty_masklets=bool(rng.random() < 0.5),
    )
    most = max(rules.hotstart_delay // 2, 1)
    rules = replace(rules, hotstart_unmatch_thresh=int(rng.integers(1, most + 1)))
    rules = replace(rules, hotstart_dup_thresh=int(rng.integers(1, most + 1)))
    ours, followed, following = HotStart(rules), [], 0
    theirs = {
        "obj_first_frame_idx": {},
        "unmatched_frame_inds": defaultdict(list),
        "trk_keep_alive": {},
        "overlap_pair_to_frame_inds": defaultdict(list),
        "removed_obj_ids": set(),
        "suppressed_obj_ids": defaultdict(set),
    }
    gone = 0
    frames = range(30)
    for frame in reversed(frames) if reverse else frames:
        rolled = rng.random(len(followed))
        empty = [n for n, r in zip(followed, rolled, strict=True) if r < 0.1]
        unmatched = [n for n, r in zip(followed, rolled, strict=True) if 0.1 <= r < 0.4]
        matched = [[n for n in followed if rng.random() < 0.4] for _ in range(3)]
        new = list(range(following, following + int(rng.integers(0, 3))))
        following += len(new)
        removed, theirs = Model._process_hotstart(
            SimpleNamespace(**asdict(rules)),
            None,
            frame,
            reverse,
            dict(enumerate(matched)),
            new,
            empty,
            unmatched,
            theirs,
            streaming=live,
        )
        ruling = ours.rule(frame, matched, unmatched, empty, reverse=reverse, live=live)
        for name in new:
            ours.begin(name, 0, 0.5, frame)
        assert ruling.removed == removed
        # What is removed as well is hidden anyway.
        assert ruling.suppressed - removed == theirs["suppressed_obj_ids"][frame] - removed
        gone += len(removed)
        ours.forget(removed)
        followed = [n for n in (*followed, *new) if n not in removed]
        kept = {name: of.keep_alive for name, of in ours.objects.items()}
        assert kept == {n: theirs["trk_keep_alive"][n] for n in followed}
    # Within a frame of its first there is nothing yet to remove an object for.
    assert (gone > 0) == (not live and rules.hotstart_delay > 1)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_of_overlapping_objects_that_goes_which_was_hidden_later(seed, reverse):
    rng = rng_of(seed)
    masks, threshold = some_masks(rng, 9), 0.3
    last = rng.integers(-1, 6, 9)
    phrases = rng.integers(0, 2, 9).tolist()
    wanted = torch.zeros(9, dtype=torch.bool)
    for phrase in set(phrases):
        rows = [row for row, of in enumerate(phrases) if of == phrase]
        theirs = self_of(suppress_overlapping_based_on_recent_occlusion_threshold=threshold)
        wanted[rows] = theirs._get_objects_to_suppress_based_on_most_recently_occluded(
            torch.from_numpy(masks[rows] > 0), torch.from_numpy(last[rows]), rows, reverse
        )
    found = overlaps.recently_occluded(masks > 0, last, phrases, threshold, reverse)
    np.testing.assert_array_equal(found, wanted.numpy())


@pytest.mark.parametrize("seed", SEEDS)
def test_masks_that_others_leave_little_of_go(seed):
    rng = rng_of(seed)
    masks, phrases = some_masks(rng, 9), rng.integers(0, 3, 9).tolist()
    wanted = Model._suppress_object_pw_area_shrinkage(
        self_of(), torch.from_numpy(masks)[:, None], phrases
    )
    found = overlaps.suppress_shrunk(masks, phrases)
    np.testing.assert_array_equal(found, wanted[:, 0].numpy())
    assert (found != masks).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_pixels_go_to_the_object_of_the_highest_rank(seed):
    rng = rng_of(seed)
    masks, phrases = some_masks(rng, 8) > 0, rng.integers(0, 3, 8).tolist()
    ranks = rng.random(8).astype(np.float32)
    ranks[3] = ranks[5]
    processor = object.__new__(Sam3VideoProcessor)
    wanted = processor._apply_object_wise_non_overlapping_constraints(
        torch.from_numpy(masks)[:, None],
        torch.from_numpy(ranks)[:, None],
        background_value=0,
        prompt_ids=phrases,
    )
    found = masks.copy()
    overlaps.give_pixels(found, ranks.tolist(), phrases)
    np.testing.assert_array_equal(found, wanted[:, 0].numpy() > 0)
    apart = masks.copy()
    overlaps.give_pixels(apart, ranks.tolist(), [None] * 8)
    np.testing.assert_array_equal(apart, masks)


@pytest.mark.parametrize(("side", "size"), [(48, 192), (48, 168), (20, 80)])
def test_masks_are_enlarged_as_by_torch(side, size):
    logits = some_masks(rng_of(1), 1, side)[0]
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None, None],
        size=(size, size),
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )
    found = resize_values(logits, size, size)
    np.testing.assert_allclose(found, wanted[0, 0].numpy(), atol=1e-5)
