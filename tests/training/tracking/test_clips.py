"""Clips of moving shapes, and the batches that are drawn of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.scenes import HELD_OUT
from training.tracking.batches import KINDS, ClipBatch, ClipDrawing, ClipPlan, show_roughly
from training.tracking.clips import HIDDEN, SEEN, Clip, draw_clip
from training.tracking.film import STAR, demo_clip

TIMES = range(0, 48, 6)
PLAN = ClipPlan(2, 4, 2, dict.fromkeys(KINDS, 1.0), again=0.5)


def _clip(number: int, held_out: bool = False) -> Clip:
    return draw_clip(np.random.default_rng([5, number]), 96, TIMES, held_out)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [_clip(number) for number in range(24)]


def test_equal_seeds_give_equal_clips(clips: list[Clip]) -> None:
    again = _clip(3)
    assert np.array_equal(again.frames, clips[3].frames)
    assert not np.array_equal(_clip(4).frames, clips[3].frames)


def test_things_are_named_by_what_is_mostly_seen(clips: list[Clip]) -> None:
    assert {len(clip.tracks) for clip in clips} >= {1, 2, 3}
    for clip in clips:
        assert clip.frames.shape == (len(TIMES), 96, 96, 3)
        for track in clip.tracks:
            assert track.thing.kind not in HELD_OUT
            assert (track.visible >= 0.75).mean() >= 0.3
            assert np.array_equal(track.thing.mask, track.masks[track.visible.argmax()])


def test_of_each_pixel_one_thing_is_in_front(clips: list[Clip]) -> None:
    for clip in clips:
        covered = np.sum([track.masks for track in clip.tracks], axis=0)
        assert covered.max() <= 1


def test_things_move_hide_and_come_back(clips: list[Clip]) -> None:
    back = 0
    for clip in clips:
        assert (clip.frames[0].astype(int) != clip.frames[-1]).any()
        for track in clip.tracks:
            gone = np.flatnonzero(track.visible <= HIDDEN)
            back += bool(len(gone)) and bool((track.visible[gone[0] :] >= SEEN).any())
    assert back >= 3


def test_held_out_kinds_come_when_asked_for() -> None:
    kinds = {t.thing.kind for n in range(12) for t in _clip(n, held_out=True).tracks}
    assert kinds & HELD_OUT


def test_the_star_of_the_demonstration_is_hidden_and_comes_back() -> None:
    star = demo_clip().tracks[STAR]
    assert star.thing.kind == ("red", "star")
    assert star.visible[0] == star.visible[-1] == 1.0
    assert (star.visible <= HIDDEN).sum() >= 4


def _same(one: ClipBatch, other: ClipBatch) -> bool:
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_a_batch_of_clips_depends_on_its_number_alone() -> None:
    one, other = ClipDrawing(64, 32, 7), ClipDrawing(64, 32, 7)
    one.batch(0, PLAN)
    assert _same(one.batch(1, PLAN), other.batch(1, PLAN))
    assert not _same(one.batch(1, PLAN), one.batch(2, PLAN))


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_lie_on_what_they_show(kind: str) -> None:
    batch = ClipDrawing(64, 32, 7).batch(0, ClipPlan(3, 2, 2, {kind: 1.0}))
    assert batch.kind == kind
    assert (batch.seen[:, 0] == 1).all()
    for mask, points, labels in zip(batch.masks[:, 0], batch.points, batch.labels, strict=True):
        rows, columns = np.nonzero(mask)
        if kind == "box":
            assert labels.tolist() == [2, 3]
            low, high = 32 * points
            assert low[0] < columns.mean() < high[0]
            assert low[1] < rows.mean() < high[1]
        else:
            assert labels[0] == 1
            x, y = (32 * points[0]).astype(int)
            # A pixel on the border of two cells counts in one of them.
            assert mask[max(0, y - 1) : y + 1, max(0, x - 1) : x + 1].max() > 0


def test_what_is_shown_again_is_seen_by_all_of_a_batch() -> None:
    drawing, plan = ClipDrawing(128, 64, 7), replace(PLAN, again=1.0)
    batches = [drawing.batch(number, plan) for number in range(8)]
    later = [batch for batch in batches if batch.again]
    assert len(later) > 2
    for batch in later:
        assert 0 < batch.again < plan.frames - 1
        assert (batch.seen[:, batch.again] == 1).all()
    for batch in batches:
        if not batch.again:
            assert not (batch.seen[:, 1:-1] == 1).all(axis=0).any()


def test_a_rough_mask_is_nearly_the_mask() -> None:
    cover = np.zeros((32, 32), np.uint8)
    cover[8:22, 10:20] = 255
    rng = np.random.default_rng(0)
    rough = [show_roughly(rng, cover) for _ in range(20)]
    ious = [(one & (cover > 0)).sum() / (one | (cover > 0)).sum() for one in rough]
    assert 0.7 < min(ious) < max(ious) <= 1.0
    assert len({one.tobytes() for one in rough}) > 10
