"""Films beside transformers' ``Sam3TrackerVideoModel``, frame by frame, on the same weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from track_harness import (
    Studio,
    assert_filled,
    assert_same,
    compare,
    moving_shapes,
    shape,
    show,
    together,
)
from transformers import Sam3Config

from sam3_tvm.runtime.video.memory import from_bfloat16, to_bfloat16
from sam3_tvm.sources.base import ShowSpec
from sam3_tvm.sources.huggingface.architectures import SAM3

DISC = ShowSpec(1, 0, points=((34.0, 65.0),), labels=(1,))
BOX = ShowSpec(7, 3, box=(90.0, 36.0, 150.0, 94.0))


@pytest.fixture(scope="module")
def studio() -> Studio:
    # Of the first seeds one whose masks are neither small nor large.
    return Studio("random:tiny:3")


@pytest.fixture(scope="module")
def frames():
    return moving_shapes(42)


def both(studio, frames, *prompts):
    """Our session and the reference's with the same prompts, whose answers are compared."""
    session, film = studio.model.track(frames), studio.film(frames)
    for prompt in prompts:
        film.show(prompt)
        wanted = film.look(prompt.frame)
        assert_shown(show(session, prompt), wanted, prompt.object_id)
    return session, film


def assert_shown(ours, wanted, name):
    """The answer to a prompt is the object's alone."""
    row = wanted.objects.index(name)
    assert ours.objects == [name]
    np.testing.assert_allclose(ours.scores, wanted.scores[row : row + 1], atol=1e-4)
    differing = np.count_nonzero(ours.masks[0] != wanted.masks[row])
    assert differing <= 0.001 * wanted.masks[row].sum()


def each_alone(studio, frames, *prompts):
    """Our session with all the prompts, and a session of the reference for each."""
    session, films = studio.model.track(frames), []
    for prompt in prompts:
        film = studio.film(frames)
        film.show(prompt)
        assert_shown(show(session, prompt), film.look(prompt.frame), prompt.object_id)
        films.append(film)
    return session, films


def test_points_a_box_and_a_mask_are_followed_as_by_the_reference(studio, frames):
    mask = ShowSpec(4, 0, mask=shape(0, 2))
    session, films = each_alone(studio, frames, DISC, BOX, mask)
    found = compare(session.propagate(), together(*(film.propagate() for film in films)))
    assert len(found) == 42
    assert session.objects == [1, 7, 4]
    assert [frame.objects for frame in found[2:4]] == [[1, 4], [1, 7, 4]]


@pytest.mark.parametrize(
    "prompt",
    [
        ShowSpec(2, 0, points=((40.0, 80.0), (50.0, 90.0), (160.0, 160.0)), labels=(1, 1, 0)),
        ShowSpec(2, 0, points=((60.0, 76.0),), labels=(1,), box=(10.0, 50.0, 72.0, 110.0)),
        ShowSpec(2, 0, points=((10.0, 10.0),), labels=(0,)),
    ],
    ids=["three-points", "box-and-point", "beside"],
)
def test_a_film_shorter_than_what_is_looked_back_on(studio, prompt):
    short = moving_shapes(6)
    session, film = both(studio, short, prompt)
    compare(session.propagate(), film.propagate(), share=0.8)


def test_forwards_and_then_backwards(studio, frames):
    film = frames[:24]
    later = [
        ShowSpec(1, 6, points=((64.0, 98.0),), labels=(1,)),
        ShowSpec(7, 8, box=(130.0, 72.0, 180.0, 128.0)),
    ]
    session, (first, second) = each_alone(studio, film, *later)
    compare(session.propagate(), together(first.propagate(), second.propagate()))
    behind, both = list(second.propagate(reverse=True)), first.propagate(reverse=True)
    wanted = [*behind[:2], *together(both, behind[2:])]
    found = compare(session.propagate(reverse=True), wanted)
    assert [frame.index for frame in found] == list(range(8, -1, -1))


def test_an_object_that_is_shown_on_many_frames(studio, frames):
    # More than are looked at together, so that some stand in for the last frames.
    film = frames[:17]
    prompts = [
        ShowSpec(1, frame, points=((40.0 + 4 * frame, 80.0),), labels=(1,))
        for frame in (7, 0, 10, 4, 2, 13)
    ]
    session, reference = both(studio, film, *prompts)
    compare(session.propagate(), reference.propagate())
    compare(session.propagate(start=13, reverse=True), reference.propagate(13, reverse=True))


@pytest.mark.parametrize(
    "correction",
    [
        ShowSpec(1, 12, points=((88.0, 92.0), (40.0, 40.0)), labels=(1, 0)),
        ShowSpec(1, 12, mask=shape(12, 2)),
    ],
    ids=["points", "mask"],
)
def test_a_correction_on_a_later_frame(studio, frames, correction):
    session, film = both(studio, frames, DISC)
    running = session.propagate()
    for index in range(13):
        assert_same(next(running), film.look(index))
    film.show(correction)
    corrected = film.look(12)
    assert_shown(show(session, correction), corrected, 1)
    wanted = [film.look(index) for index in range(13, 18)]
    for theirs in wanted:
        assert_same(next(running), theirs)
    assert_filled(wanted)
    # The correction changes what follows, and is still there when the film is passed again.
    uncorrected, _ = both(studio, frames, DISC)
    assert any(
        (a.masks != b.masks).any()
        for a, b in zip(uncorrected.propagate(13, 20), wanted, strict=True)
    )
    again = list(session.propagate(stop=18))
    for ours, theirs in zip(again[12:], [corrected, *wanted], strict=True):
        assert_same(ours, theirs)


def test_objects_that_come_and_go_while_running(studio, frames):
    """Each is followed as it would be alone."""
    early, late = DISC, ShowSpec(5, 6, box=(130.0, 72.0, 190.0, 128.0))
    alone = {}
    for prompt, last in ((early, 12), (late, 17)):
        film = studio.film(frames)
        film.show(prompt)
        alone[prompt.object_id] = {i: film.look(i) for i in range(prompt.frame, last + 1)}
    session = studio.model.track(frames)
    show(session, early)
    for ours in session.propagate(stop=18):
        if ours.index == late.frame:
            assert_shown(show(session, late), alone[5][late.frame], 5)
        if ours.index == 12:
            session.remove(1)
        present = ([1] if ours.index <= 12 else []) + ([5] if ours.index > late.frame else [])
        assert ours.objects == present
        for row, name in enumerate(present):
            theirs = alone[name][ours.index]
            np.testing.assert_allclose(ours.scores[row], theirs.scores[0], atol=1e-4)
            differing = np.count_nonzero(ours.masks[row] != theirs.masks[0])
            assert differing <= 0.001 * theirs.masks[0].sum()
    assert_filled([frame for found in alone.values() for frame in found.values()])


def test_live_input(studio, frames):
    session, film = studio.model.track(), studio.film(None)
    film.size = frames[0].shape[:2]
    assert len(session.step(frames[0])) == 0
    film.show(DISC)
    wanted = film.step(frames[0])
    assert_shown(show(session, DISC), wanted, 1)
    later = [film.step(frame) for frame in frames[1:20]]
    for frame, theirs in zip(frames[1:20], later, strict=True):
        assert_same(session.step(frame), theirs)
    correction = ShowSpec(1, 19, points=((116.0, 68.0),), labels=(1,))
    film.show(correction)
    assert_shown(show(session, correction), film.step(frames[19], 19), 1)
    assert_same(session.step(frames[20]), film.step(frames[20]))
    assert_filled(later)


def test_an_object_that_leaves_and_comes_back(frames):
    # Random weights have to be told how sure to be, to be sure on some frames alone.
    studio = Studio("random:tiny:2")
    with torch.no_grad():
        studio.source.tracker.mask_decoder.pred_obj_score_head.proj_out.bias -= 1.341
    session, film = both(studio, frames[:20], DISC)
    found = compare(session.propagate(), film.propagate(), share=0.4)
    there = [bool(frame.scores[0] > 0.5) for frame in found]
    assert there[0]
    assert False in there
    assert True in there[there.index(False) :]
    for frame in found:
        assert frame.masks[0].any() == (frame.scores[0] > 0.5)


def test_a_new_prompt_on_a_frame_replaces_or_adds(studio, frames):
    first = ShowSpec(1, 4, points=((56.0, 96.0),), labels=(1,))
    second = ShowSpec(1, 4, points=((180.0, 40.0),), labels=(0,))
    together = ShowSpec(1, 4, points=first.points + second.points, labels=(1, 0))
    session, film = both(studio, frames, DISC, first)
    film.show(second)
    assert_shown(show(session, second), film.look(4), 1)
    show(session, first)
    film.show(together)
    added = session.add(1, 4, [list(p) for p in second.points], [0], clear=False)
    assert_shown(added, film.look(4), 1)
    compare(session.propagate(4, 12), [film.look(index) for index in range(4, 12)])


def test_memories_are_rounded_as_torch_rounds():
    rng = np.random.default_rng(0)
    values = rng.standard_normal(5000).astype(np.float32) * np.float32(10.0) ** rng.integers(
        -20, 20, 5000
    ).astype(np.float32)
    # Ties, to both sides.
    values[:4] = np.array([0x3F808000, 0x3F818000, 0xBF808000, 0x7F7F7FFF], np.uint32).view("f4")
    wanted = torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(from_bfloat16(to_bfloat16(values)), wanted)


def test_pictures_of_another_size(frames):
    """Of 9 patches a side, whose windows of 4 are padded."""
    studio = Studio("random:tiny:3", image_size=126)
    assert studio.source.sizes.grid == 9
    session, film = both(studio, frames[:9], DISC)
    compare(session.propagate(), film.propagate())


def test_pointers_that_are_wider_than_memories(frames, monkeypatch):
    """As SAM 3's are: there one is looked at as several, here as two."""
    tiny = SAM3.random["tiny"]

    def wide():
        described = tiny.config().to_dict()
        described["vision_config"]["fpn_hidden_size"] = 128
        for part in ("geometry_encoder", "detr_encoder", "detr_decoder", "mask_decoder"):
            described[f"{part}_config"]["hidden_size"] = 128
        return Sam3Config(**described)

    monkeypatch.setitem(SAM3.random, "wide", replace(tiny, config=wide))
    studio = Studio("random:wide:1")
    assert studio.source.sizes.hidden == 2 * studio.source.sizes.video.channels
    session, film = both(studio, frames[:9], DISC)
    compare(session.propagate(), film.propagate())
