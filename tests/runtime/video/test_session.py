"""Sessions of films: what they answer and refuse, what they call, and what they keep."""

from __future__ import annotations

import threading

import numpy as np
import pytest

pytest.importorskip("torch")

from pycocotools import mask as coco
from track_harness import HEIGHT, WIDTH, Studio, moving_shapes, shape

from sam3_tvm.errors import Sam3Error
from sam3_tvm.runtime import FrameResult, PromptError
from sam3_tvm.runtime.pictures.resample import resize_mask
from sam3_tvm.runtime.video.frames import Frames

POINT = [[40, 80]]


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio("random:tiny:3")


@pytest.fixture(scope="module")
def frames():
    return moving_shapes(20)


@pytest.fixture
def session(studio, frames):
    studio.functions.calls.clear()
    return studio.model.track(frames)


def test_a_frame_is_encoded_once_for_all_its_objects(studio, session):
    for name in range(3):
        session.add(name, 0, points=[[40 + 10 * name, 80]])
    assert studio.functions.calls.count("vision_encoder") == 1
    assert [frame.index for frame in session.propagate(stop=3)] == [0, 1, 2]
    # The first frame is answered from the prompts.
    assert studio.functions.calls.count("vision_encoder") == 3
    assert studio.functions.calls.count("memory_attention") == 2 * 3


def test_a_result_has_masks_scores_and_other_forms(session, frames):
    shown = session.add(5, 0, box=[10, 50, 72, 110])
    session.add(9, 0, points=POINT)
    assert shown.objects == [5]
    *_, result = session.propagate(stop=4)
    assert isinstance(result, FrameResult)
    assert repr(result) == "FrameResult(frame 3: 2 objects, 240x180)"
    assert (result.index, result.objects, len(result)) == (3, [5, 9], 2)
    assert result.masks.shape == (2, HEIGHT, WIDTH)
    assert result.masks.dtype == bool
    assert result.scores.dtype == np.float32
    assert ((result.scores > 0.5) == result.masks.any((1, 2))).all()
    for row, entry in enumerate(result.to_coco()):
        assert (entry["frame"], entry["object_id"]) == (3, result.objects[row])
        np.testing.assert_array_equal(coco.decode(entry["segmentation"]), result.masks[row])
        assert entry["area"] == result.masks[row].sum()
        assert entry["score"] == pytest.approx(result.scores[row])
    drawn = np.asarray(result.overlay())
    assert drawn.shape == frames[3].shape
    covered = result.masks.any(0)
    assert (np.asarray(result.overlay(labels=False))[~covered] == frames[3][~covered]).all()
    assert (drawn[covered] != frames[3][covered]).any()


def test_an_object_keeps_its_colour_when_another_goes(studio, frames):
    with studio.model.track(frames) as session:
        session.add(1, 0, mask=shape(0, 1))
        second = session.add(2, 0, mask=shape(0, 2))
        together = next(iter(session.propagate())).overlay(labels=False)
        session.remove(1)
        alone = next(iter(session.propagate())).overlay(labels=False)
    where = second.masks[0] & ~shape(0, 1)
    assert where.any()
    inside = np.asarray(together)[where] == np.asarray(alone)[where]
    # Outlines differ where the masks touch.
    assert inside.all(1).mean() > 0.9


def test_frames_that_are_kept_are_not_to_be_written_to(studio, frames):
    own = [frame.copy() for frame in frames[:3]]
    with studio.model.track(own) as session:
        result = session.add(1, 0, points=[[34, 65]])
        with pytest.raises(ValueError, match="read-only"):
            result.rgb[:] = 0
        with pytest.raises(ValueError, match="read-only"):
            session.frames.read(0)[:] = 0
    with studio.model.track() as live, pytest.raises(ValueError, match="read-only"):
        live.step(own[0]).rgb[:] = 0
    own[0][:] = 0  # which stays its owner's


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda s: s.propagate(), "no objects yet: add"),
        (lambda s: s.add(1, 0), "nothing was clicked: give points, a box or a mask"),
        (lambda s: s.add(1, None, points=POINT), "on which frame"),
        (lambda s: s.add(1, 20, points=POINT), "frame 20 is not in the film, which has 20"),
        (lambda s: s.add(1, -1, points=POINT), "frame -1 is not in the film"),
        (lambda s: s.add("dog", 0, points=POINT), "an object's id is an integer, not 'dog'"),
        (lambda s: s.add(True, 0, points=POINT), "an object's id is an integer"),
        (lambda s: s.add(1, 2.5, points=POINT), "a frame's number is an integer, not 2.5"),
        (lambda s: s.add(1, 0, points=[[241, 3]]), r"\(241, 3\) lies outside .* 240 x 180 px"),
        (lambda s: s.add(1, 0, points=[POINT, POINT]), "one object at a time"),
        (lambda s: s.add(1, 0, box=[30, 5, 10, 20]), "empty or upside down"),
        (lambda s: s.add(1, 0, mask=np.zeros((HEIGHT, WIDTH), bool)), "the mask is empty"),
        (lambda s: s.add(1, 0, mask=np.ones((3, 4), bool)), r"has the frame's size, \[180, 240\]"),
        (lambda s: s.add(1, 0, mask=np.ones((HEIGHT, WIDTH))), "of bool or integers, not float64"),
        (lambda s: s.add(1, 0, mask=[[1, 0], [1]]), "a mask is of bool or integers .*, not"),
        (
            lambda s: s.add(1, 0, points=POINT, mask=np.ones((HEIGHT, WIDTH), bool)),
            "give no points or box beside it",
        ),
        (lambda s: s.remove(3), "no object 3; there are: none"),
        (lambda s: s.step(np.zeros((HEIGHT, WIDTH, 3), np.uint8)), "step.. is for live input"),
        (lambda s: s.restore({}), "no state of a session, or a damaged one"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(studio, session, call, says):
    with pytest.raises(PromptError, match=says) as caught:
        call(session)
    assert "\n" not in str(caught.value)
    assert session.objects == []
    assert studio.functions.calls == []


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda s: list(s.propagate(start=20)), "frame 20 is not in the film"),
        (lambda s: s.propagate(start=-2), "frame -2 is not in the film"),
        (lambda s: s.propagate(start="0"), "a frame's number is an integer, not '0'"),
        (lambda s: s.propagate(stop=4.0), "a frame's number is an integer, not 4.0"),
        (lambda s: s.remove(2), "no object 2; there are: 1"),
        (lambda s: s.add(1, 0, box=[1, 1, 9, 9], clear=False), "a box starts a prompt anew"),
        (lambda s: s.add(1, 0, points=[[1, 1]] * 64, clear=False), "65 points together"),
    ],
)
def test_what_does_not_fit_the_objects_is_refused_in_one_line(session, call, says):
    session.add(1, 0, points=POINT)
    with pytest.raises(PromptError, match=says) as caught:
        call(session)
    assert "\n" not in str(caught.value)
    assert session.objects == [1]


def test_live_input_is_refused_what_it_cannot_do(studio, frames):
    live = studio.model.track()
    with pytest.raises(PromptError, match="no frame yet"):
        live.add(1, 0, points=POINT)
    with pytest.raises(PromptError, match="give them to step"):
        live.propagate()
    live.step(frames[0])
    live.add(1, points=POINT)
    assert live.step(frames[1]).objects == [1]
    with pytest.raises(PromptError, match="frame 0 is gone"):
        live.add(1, 0, points=POINT)
    with pytest.raises(Sam3Error, match="frame 2 is 240x90, those before it 240x180"):
        live.step(frames[2][:90])
    assert live.step(frames[2]).index == 2


def test_an_artifact_that_is_not_for_video_says_how_to_get_one(studio):
    from dataclasses import replace

    from sam3_tvm.runtime.model import Model

    manifest = replace(studio.model.manifest, video=None)
    model = Model(studio.model._call, None, manifest, "x")
    with pytest.raises(PromptError, match="--tasks concepts,clicks,video"):
        model.track()


def test_frames_are_asked_of_an_iterator_as_they_are_needed(studio, frames):
    asked = []

    def camera():
        for index, frame in enumerate(frames):
            asked.append(index)
            yield frame

    session = studio.model.track(camera())
    assert asked == []
    session.add(1, 2, points=POINT)
    assert asked == [0, 1, 2]
    running = session.propagate()
    assert [next(running).index for _ in range(3)] == [2, 3, 4]
    assert asked == [0, 1, 2, 3, 4]
    assert [frame.index for frame in running] == list(range(5, 20))


class _LateCount(Frames):
    """A file that finds out how many frames it has when it reads one of them."""

    name = "the film"

    def __init__(self, frames, tells_at):
        super().__init__()
        self._given, self._tells_at = frames, tells_at

    def _read(self, index):
        if index >= len(self._given):
            raise IndexError(index)
        if index >= self._tells_at:
            self.count = len(self._given)
        return self._given[index]


def test_when_a_file_finds_out_its_length_changes_nothing(studio, frames):
    def track(tells_at):
        film = _LateCount(frames[:5], tells_at)
        session = studio.model.track(film)
        session.add(1, 0, points=POINT)
        found = [frame.logits for frame in session.propagate()]
        assert film.count == (5 if tells_at < 5 else None)
        return found

    np.testing.assert_array_equal(track(2), track(99))


def test_frames_are_the_sessions_own(studio, frames):
    def camera(buffer):
        for frame in frames[:3]:
            buffer[:] = frame
            yield buffer
            buffer[:] = 0

    live, buffer = studio.model.track(), np.empty_like(frames[0])
    for given, wanted in zip(camera(buffer), frames, strict=False):
        result = live.step(given)
        buffer[:] = 0
        np.testing.assert_array_equal(result.rgb, wanted)
    film = studio.model.track(camera(buffer))
    result = film.add(1, 0, points=POINT)
    buffer[:] = 0
    np.testing.assert_array_equal(result.rgb, frames[0])


def test_a_closed_session_says_so_in_one_line(session, studio, frames):
    session.add(1, 0, points=POINT)
    running = session.propagate()
    next(running)
    state = session.state()
    session.close()
    live = studio.model.track()
    live.close()
    for call in (
        lambda: next(running),
        session.propagate,
        lambda: session.add(1, 0, points=POINT),
        lambda: live.step(frames[0]),
        live.state,
        lambda: live.restore(state),
    ):
        with pytest.raises(Sam3Error, match="the session has been closed"):
            call()


def test_the_model_serves_others_meanwhile(studio, session, frames):
    session.add(1, 0, points=POINT)
    alone = [frame.scores for frame in session.propagate(stop=6)]
    fresh = studio.model.track(frames)
    fresh.add(1, 0, points=POINT)
    clicked = []

    def click():
        clicked.extend(studio.model.click(frames[n], [[20, 20]]).iou for n in range(3))

    other = threading.Thread(target=click)
    other.start()
    together = [frame.scores for frame in fresh.propagate(stop=6)]
    other.join()
    np.testing.assert_array_equal(together, alone)
    assert len(clicked) == 3


def test_two_threads_take_turns_frame_by_frame(studio, frames, monkeypatch):
    other = {"points": [[150, 60]]}
    alone = studio.model.track(frames)
    alone.add(1, 0, points=POINT)
    expected = list(alone.propagate(stop=12))
    shown = {frame: alone.add(2, frame, **other) for frame in (15, 17)}
    session = studio.model.track(frames)
    session.add(1, 0, points=POINT)
    session.add(3, 0, points=POINT)
    begun, done, added = threading.Event(), threading.Event(), []

    def change():
        begun.wait()
        added.append(session.add(2, 15, **other))
        session.remove(2)
        session.remove(3)
        added.append(session.add(2, 17, **other))
        done.set()

    look = session._functions.look

    def watched(*given):
        if not begun.is_set():
            begun.set()
            done.wait(0.3)  # without turns the other thread would be done in the midst of a frame
        return look(*given)

    monkeypatch.setattr(session._functions, "look", watched)
    changing = threading.Thread(target=change)
    changing.start()
    found = list(session.propagate(stop=12))
    changing.join()
    assert [frame.index for frame in found] == list(range(12))
    assert found[1].objects == [1, 3]
    for ours, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.rgb, frames[ours.index])
        np.testing.assert_array_equal(ours.logits[0], wanted.logits[0])
    for ours, (frame, wanted) in zip(added, shown.items(), strict=True):
        assert (ours.index, ours.objects) == (frame, [2])
        np.testing.assert_array_equal(ours.logits, wanted.logits)
    assert session.objects == [1, 2]


def test_pictures_keep_nothing_that_only_films_need(studio, frames, tmp_path):
    image = studio.model.encode_image(frames[0])
    assert set(image.features) == {f"{kind}_{n}" for kind in ("fpn", "tracker") for n in range(3)}
    image.save(tmp_path / "encoded")
    again = studio.model.load_image(tmp_path / "encoded")
    first, second = studio.model.click(image, POINT), studio.model.click(again, POINT)
    np.testing.assert_array_equal(first.logits, second.logits)


@pytest.mark.parametrize("shape", [(100, 140), (168, 84), (1080, 1920), (37, 501)])
def test_masks_are_resized_as_by_the_reference(shape):
    import torch

    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = (np.hypot(y - shape[0] / 2, x - shape[1] / 3) < shape[0] / 3) | (
        (x > 0.6 * shape[1]) & (x < 0.8 * shape[1]) & (y > 0.2 * shape[0])
    )
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(mask)[None, None].float(), size=(168, 168), mode="bilinear", antialias=True
    )
    np.testing.assert_array_equal(resize_mask(mask, 168, 168), wanted[0, 0].numpy() >= 0.5)


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "number",
    [np.zeros((40, 40)), [[1] * 900], Unprintable(), True, "1\n2", np.timedelta64(1, "D")],
    ids=lambda number: type(number).__name__,
)
def test_what_is_no_number_is_refused_in_one_short_line(session, number):
    session.add(1, 0, points=POINT)
    calls = (
        lambda: session.add(number, 0, points=POINT),
        lambda: session.add(1, number, points=POINT),
        lambda: session.remove(number),
        lambda: next(session.propagate(number)),
        lambda: next(session.propagate(0, number)),
        lambda: session.propagate(reverse=np.ones(2) if number is True else number),
        lambda: session.add(1, 0, points=POINT, clear=np.ones(2) if number is True else number),
    )
    for call in calls:
        with pytest.raises(PromptError) as refused:
            call()
        assert "\n" not in f"{refused.value}"
        assert len(f"{refused.value}") < 200
    assert session.objects == [1]


def test_ids_have_64_bits(session):
    with pytest.raises(PromptError, match="64 bits"):
        session.add(2**63, 0, points=POINT)


def test_no_object_at_all_is_refused(session):
    with pytest.raises(PromptError, match="one object at a time"):
        session.add(1, 0, box=np.zeros((0, 0), np.int64))
