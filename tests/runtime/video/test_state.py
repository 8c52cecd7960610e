"""What a session remembers: how much it is, and that a new session goes on from it."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from safetensors.numpy import load_file, save_file
from track_harness import Studio, moving_shapes, shape

from sam3_tvm.runtime import PromptError
from sam3_tvm.runtime.video.session import TrackSession

POINT = [[40, 80]]


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio("random:tiny:3")


@pytest.fixture(scope="module")
def frames():
    return moving_shapes(20)


def test_an_interrupted_session_goes_on_as_if_it_had_not_been(studio, frames, tmp_path):
    def begin():
        session = studio.model.track(frames)
        session.add(7, 3, points=POINT)
        session.add(2, 0, mask=shape(0, 2))
        return session

    whole = list(begin().propagate())
    first = begin()
    running = first.propagate()
    for _ in range(9):
        next(running)
    save_file(first.state(), tmp_path / "state")
    second = studio.model.track(frames)
    second.restore(load_file(tmp_path / "state"))
    assert second.objects == [7, 2]
    for ours, theirs in zip(second.propagate(9), whole[9:], strict=True):
        assert ours.index == theirs.index
        np.testing.assert_array_equal(ours.logits, theirs.logits)
        np.testing.assert_array_equal(ours.scores, theirs.scores)
    # Corrections know what was passed, and points can be added to those given before.
    third = studio.model.track(frames)
    third.restore(load_file(tmp_path / "state"))
    for session in (first, third):
        session.add(7, 3, points=[[90, 20]], point_labels=[0], clear=False)
        session.add(2, 8, points=POINT)
    one, other = first.state(), third.state()
    assert one.keys() == other.keys()
    for key, array in one.items():
        np.testing.assert_array_equal(array, other[key])


def test_a_state_belongs_to_its_artifact(studio, frames):
    session = studio.model.track(frames)
    session.add(1, 0, points=POINT)
    other = TrackSession(session._functions, session.frames, "another")
    with pytest.raises(PromptError, match="with another artifact"):
        other.restore(session.state())


def test_what_is_kept_does_not_grow_with_the_film(studio, frames):
    live = studio.model.track()
    live.step(frames[0])
    live.add(1, points=POINT)
    kept = []
    for turn in range(44):
        live.step(frames[turn % 3])
        kept.append(sum(a.nbytes for key, a in live.state().items() if key != "session"))
    assert kept[30:] == [kept[31]] * len(kept[30:])


def test_corrections_of_live_input_do_not_add_up(studio, frames):
    live = studio.model.track()
    live.step(frames[0])
    live.add(1, points=POINT)
    kept = []
    for turn in range(1, 46):
        live.step(frames[turn % 3])
        if turn % 5 == 0:
            live.add(1, points=[[60, 60 + turn]])
            kept.append(sum(a.nbytes for key, a in live.state().items() if key != "session"))
    assert kept[4:] == [kept[4]] * len(kept[4:])


def test_restoring_replaces_all_that_was(studio, frames):
    first, second = (studio.model.track(frames) for _ in range(2))
    first.add(7, 0, points=POINT)
    list(first.propagate(stop=6))
    state = first.state()
    second.add(1, 10, box=[10, 50, 72, 110])
    list(second.propagate(stop=14))
    second.restore(state)
    assert second.objects == [7]
    for ours, wanted in zip(second.propagate(6, 12), first.propagate(6, 12), strict=True):
        assert ours.objects == [7]
        np.testing.assert_array_equal(ours.logits, wanted.logits)
    one, other = first.state(), second.state()
    assert one.keys() == other.keys()
    for key, array in one.items():
        np.testing.assert_array_equal(array, other[key])


def test_restored_live_input_begins_with_the_frame_that_comes_next(studio, frames):
    first, second = (studio.model.track() for _ in range(2))
    first.step(frames[0])
    first.add(7, points=POINT)
    first.step(frames[1])
    second.step(frames[5][:90])
    second.add(1, points=[[20, 20]])
    second.restore(first.state())
    with pytest.raises(PromptError, match="no frame yet"):
        second.add(7, points=POINT)
    ours, wanted = second.step(frames[2]), first.step(frames[2])
    assert (ours.index, ours.objects) == (2, [7])
    np.testing.assert_array_equal(ours.logits, wanted.logits)


@pytest.fixture
def kept(studio, frames):
    session = studio.model.track(frames)
    session.add(7, 0, points=POINT)
    list(session.propagate(stop=2))
    return session.state()


@pytest.mark.parametrize("name", ["session", "0.0.memory", "0.0.pointer", "0.1.pointer"])
@pytest.mark.parametrize("value", [None, 5, np.uint64(2**63), "text", np.zeros((2, 3), ">f8")])
def test_a_state_with_something_else_in_it_is_refused(studio, frames, kept, name, value):
    session = studio.model.track(frames)
    session.add(1, 0, points=POINT)
    with pytest.raises(PromptError, match="no state of a session, or a damaged one") as refused:
        session.restore({**kept, name: value})
    assert "\n" not in f"{refused.value}"
    assert session.objects == [1]


@pytest.mark.parametrize("value", [3, np.float16(3), [1], None])
def test_what_has_no_names_is_no_state(studio, frames, value):
    with pytest.raises(PromptError, match=r"what state\(\) gives, arrays by name"):
        studio.model.track(frames).restore(value)


@pytest.mark.parametrize(
    "change", [("id", "7"), ("shown", []), ("tracked", [{"frame": "1"}]), ("passed", [[0]])]
)
def test_a_state_whose_header_says_something_else_is_refused(studio, frames, kept, change):
    header = json.loads(kept["session"].tobytes())
    header["objects"][0][change[0]] = change[1]
    damaged = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with pytest.raises(PromptError, match="a damaged one"):
        studio.model.track(frames).restore({**kept, "session": damaged})
