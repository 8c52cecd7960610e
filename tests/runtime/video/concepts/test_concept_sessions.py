"""Sessions with phrases: what they answer and refuse, beside objects that are shown."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

pytest.importorskip("torch")

from concept_harness import ConceptStudio
from track_harness import HEIGHT, WIDTH, moving_shapes

from sam3_tvm.runtime import PromptError
from sam3_tvm.runtime.concepts.detector import PhraseWarning
from sam3_tvm.runtime.video.session import TrackSession

RULES = {
    "score_threshold_detection": 0.468,
    "new_det_thresh": 0.47,
    "det_nms_thresh": 0.93,
    "hotstart_delay": 3,
    "hotstart_unmatch_thresh": 3,
    "hotstart_dup_thresh": 3,
    "fill_hole_area": 4,
    "trk_assoc_iou_thresh": 0.1,
}
POINT = [[40, 80]]


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> ConceptStudio:
    return ConceptStudio("random:tiny:4", tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def model(studio):
    return studio.with_rules(**RULES)[0]


@pytest.fixture(scope="module")
def frames():
    return moving_shapes(6)


def test_a_frame_is_encoded_once_for_detector_and_tracker(studio, model, frames):
    studio.functions.calls.clear()
    with model.track(frames) as session:
        assert session.add_text("dog") == 0
        assert session.add_text("a cat") == 1
        assert session.add_text("dog") == 0
        assert session.phrases == ["dog", "a cat"]
        found = list(session.propagate(stop=4))
    assert [frame.index for frame in found] == [0, 1, 2, 3]
    assert studio.functions.calls.count("vision_encoder") == 4
    # Both phrases together, each of them encoded once.
    assert studio.functions.calls.count("detr_encoder") == 4
    assert studio.functions.calls.count("text_encoder") <= 2
    assert {phrase for frame in found for phrase in frame.phrases} == {"dog", "a cat"}
    last = found[-1]
    assert last.scores.dtype == np.float32
    assert last.masks.shape == (len(last.objects), HEIGHT, WIDTH)
    assert last.to_dict()["phrases"] == last.phrases


def test_results_come_as_late_as_the_rules_say_and_live_at_once(model, frames):
    asked = []

    def camera():
        for index, frame in enumerate(frames):
            asked.append(index)
            yield frame

    for live, first in ((False, [0, 1, 2]), (True, [0])):
        asked.clear()
        with model.track(camera(), live=live) as session:
            session.add_text("dog")
            running = session.propagate()
            assert next(running).index == 0
            assert asked == first
            assert [frame.index for frame in running] == [1, 2, 3, 4, 5]


def test_live_films_give_what_frames_one_by_one_give(model, frames):
    with model.track(frames, live=True) as film, model.track() as session:
        for of in (film, session):
            of.add_text("dog")
        for ours, picture in zip(film.propagate(), frames, strict=True):
            other = session.step(picture)
            assert ours.objects == other.objects
            np.testing.assert_array_equal(ours.logits, other.logits)


def test_objects_that_are_shown_stay_as_each_would_be_alone(model, frames):
    with model.track(frames) as session:
        session.add(1, 0, points=POINT)
        alone = list(session.propagate())
    with model.track(frames) as session:
        session.add(1, 0, points=POINT)
        session.add_text("dog")
        both = list(session.propagate())
        # The id of the object that was shown is no other's.
        assert len(set(session.objects)) == len(session.objects) > 1
    for ours, wanted in zip(both, alone, strict=True):
        row = ours.objects.index(1)
        assert ours.phrases[row] is None
        assert ours.phrases.count("dog") == len(ours.objects) - 1
        np.testing.assert_array_equal(ours.masks[row], wanted.masks[0])
        np.testing.assert_array_equal(ours.scores[row], wanted.scores[0])
    with model.track(frames) as session:
        session.add_text("dog")
        of_phrases = list(session.propagate())
    for ours, wanted in zip(both, of_phrases, strict=True):
        rows = [row for row, phrase in enumerate(ours.phrases) if phrase is not None]
        np.testing.assert_array_equal(ours.masks[rows], wanted.masks)


def test_an_object_of_a_phrase_can_be_removed_and_its_id_is_not_used_again(model, frames):
    with model.track(frames) as session:
        session.add_text("dog")
        running = session.propagate()
        name = next(running).objects[0]
        session.remove(name)
        assert name not in session.objects
        assert all(name not in frame.objects for frame in running)
        with pytest.raises(PromptError, match=f"{name} was the id of an object of a phrase"):
            session.add(name, 0, points=POINT)
        assert name not in {n for frame in session.propagate(0) for n in frame.objects}


def test_an_object_of_a_phrase_can_be_corrected(model, frames):
    with model.track(frames, live=True) as session:
        session.add_text("dog")
        running = session.propagate()
        name = next(running).objects[0]
        before = next(running)
        answer = session.add(name, 1, points=POINT)
        assert answer.objects == [name]
        assert (answer.logits[0] != before.logits[before.objects.index(name)]).any()
        after = next(running)
    with model.track(frames, live=True) as session:
        session.add_text("dog")
        plain = list(itertools.islice(session.propagate(), 3))[-1]
    rows = [frame.objects.index(name) for frame in (after, plain)]
    assert (after.logits[rows[0]] != plain.logits[rows[1]]).any()


def test_phrases_can_be_added_while_a_film_is_passed(model, frames):
    with model.track(frames, live=True) as session:
        session.add_text("dog")
        running = session.propagate()
        first = next(running)
        session.add_text("a cat")
        later = [phrase for frame in running for phrase in frame.phrases]
    assert set(first.phrases) == {"dog"}
    assert set(later) == {"dog", "a cat"}


def test_a_film_may_be_passed_again_and_back(model, frames):
    with model.track(frames) as session:
        session.add_text("dog")
        there = list(session.propagate())
        back = list(session.propagate(reverse=True))
        again = list(session.propagate(start=2))
    assert [frame.index for frame in back] == [5, 4, 3, 2, 1, 0]
    assert [frame.index for frame in again] == [2, 3, 4, 5]
    assert set(there[0].objects) & set(back[0].objects)


@pytest.mark.parametrize(
    ("phrase", "says"),
    [
        ("", "the phrase is empty"),
        (" \n", "the phrase is empty"),
        (["dog"], r"a phrase is text, not \['dog'\]"),
        (None, "a phrase is text, not None"),
        ("dog\ud800", "is no valid Unicode"),
    ],
)
def test_what_is_no_phrase_is_refused_in_one_line(model, frames, phrase, says):
    with model.track(frames) as session:
        with pytest.raises(PromptError, match=says) as caught:
            session.add_text(phrase)
        assert "\n" not in str(caught.value)
        assert session.phrases == []
        with pytest.raises(PromptError, match=r"no objects yet: add.. one .*, or add_text"):
            session.propagate()


def test_a_phrase_that_is_too_long_warns_where_it_is_given(model, frames):
    with model.track(frames) as session:
        with pytest.warns(PhraseWarning, match="a phrase of more than 32 tokens") as caught:
            session.add_text("a dog that is " + "very " * 20 + "happy")
        assert caught[0].filename == __file__


def test_a_phrase_that_is_too_long_warns_once_where_its_state_is_restored(model, frames):
    with model.track(frames) as first, model.track(frames) as second:
        with pytest.warns(PhraseWarning):
            first.add_text("a dog that is " + "very " * 20 + "happy")
        with pytest.warns(PhraseWarning) as caught:
            second.restore(first.state())
        assert [warning.filename for warning in caught] == [__file__]


def begin(model, frames, **options):
    session = model.track(frames, **options)
    session.add_text("dog")
    session.add(3, 0, points=POINT)
    return session


def assert_equal(ours, wanted) -> None:
    assert (ours.index, ours.objects, ours.phrases) == (
        wanted.index,
        wanted.objects,
        wanted.phrases,
    )
    for name in ("logits", "masks", "scores", "rgb"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(wanted, name))


@pytest.mark.parametrize("live", [False, True])
def test_an_interrupted_film_goes_on_as_if_it_had_not_been(model, frames, tmp_path, live):
    whole = list(begin(model, frames, live=live).propagate())
    first = begin(model, frames, live=live)
    running = first.propagate()
    for _ in range(2):
        next(running)
    np.savez(tmp_path / "state.npz", **first.state())
    second = model.track(frames, live=live)
    with np.load(tmp_path / "state.npz") as state:
        second.restore(dict(state))
    assert (second.phrases, second.objects) == (first.phrases, first.objects)
    for ours, wanted in zip(second.propagate(2), whole[2:], strict=True):
        assert_equal(ours, wanted)


def test_a_pass_that_is_left_is_gone_on_with(model, frames):
    whole = list(begin(model, frames).propagate())
    session = begin(model, frames)
    assert [f.index for f in itertools.islice(session.propagate(), 2)] == [0, 1]
    found = [*session.propagate(2, 4), *session.propagate(4)]
    for ours, wanted in zip(found, whole[2:], strict=True):
        assert_equal(ours, wanted)


def test_interrupted_live_input_goes_on(model, frames):
    first, second = model.track(), model.track()
    first.add_text("dog")
    for frame in frames[:3]:
        first.step(frame)
    second.restore(first.state())
    for frame in frames[3:5]:
        assert_equal(second.step(frame), first.step(frame))


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("phrases", []),
        ("phrases", [""]),
        ("phrases", ["dog", "dog"]),
        ("next_id", 0),
        ("objects", []),
        ("objects", [{"id": "0"}]),
        ("duplicates", [[1]]),
        ("given", [True]),
    ],
)
def test_a_state_that_says_something_else_of_phrases_is_refused(model, frames, change, value):
    session = begin(model, frames, live=True)
    next(session.propagate())
    state = session.state()
    header = json.loads(state["session"].tobytes())
    header["phrases"][change] = value
    damaged = np.frombuffer(json.dumps(header).encode(), np.uint8)
    other = model.track(frames)
    with pytest.raises(PromptError) as refused:
        other.restore({**state, "session": damaged})
    assert "\n" not in f"{refused.value}"
    assert (other.objects, other.phrases) == ([], [])


def test_a_session_without_a_detector_says_so(model, frames):
    session = TrackSession(model.track(frames)._functions, None, "x")
    with pytest.raises(PromptError, match="has no detector of phrases"):
        session.add_text("dog")
    state = begin(model, model.track(frames).frames).state()
    with pytest.raises(PromptError, match="and this has no detector"):
        TrackSession(session._functions, None, model.fingerprint).restore(state)


def test_ids_that_are_reserved_are_of_no_object_of_a_phrase(model, frames):
    with model.track(frames) as session:
        session.add_text("dog")
        session.reserve([0, 2])
        name = next(session.propagate()).objects[0]
        assert name not in (0, 2)
        assert session.objects.count(0) == session.objects.count(2) == 0
        session.add(2, 5, points=POINT)
        session.remove(name)
        for wrong, says in (([name], f"{name} was the id of an object"), ([2.5], "an object's id")):
            with pytest.raises(PromptError, match=says):
                session.reserve(wrong)


def test_prompts_between_two_frames_are_heard_however_late_results_come(model, frames):
    def asked(session, index):
        if index == 1:
            session.add(7, 1, points=[[60, 90]])  # a correction
            session.add(9, 2, points=[[100, 60]])  # new on the frame that comes next

    results, ahead = {}, []
    for phrases in ([], ["dog"]):
        with model.track(frames) as session:
            for phrase in phrases:
                session.add_text(phrase)
            session.add(7, 0, points=POINT)
            ahead.clear()

            def passed(index, session=session):
                ahead.append(index)
                asked(session, index)

            running = session.propagate(passed=passed)
            first = next(running)
            assert ahead == ([0, 1, 2] if phrases else [0])
            results[bool(phrases)] = [first, *running]
    for alone, both in zip(results[False], results[True], strict=True):
        rows = [row for row, phrase in enumerate(both.phrases) if phrase is None]
        assert [both.objects[row] for row in rows] == alone.objects
        # Beside other objects PyTorch may add up in another order: a logit may change its sign.
        assert (both.masks[rows] != alone.masks).sum() <= 1
        np.testing.assert_array_equal(both.scores[rows], alone.scores)
    assert [len(frame) for frame in results[False]] == [1, 1, 2, 2, 2, 2]
    with model.track(frames) as session:
        session.add(7, 0, points=POINT)
        running = session.propagate()
        next(running)
        before = next(running)
        answer = session.add(7, 1, points=[[60, 90]])
    assert (answer.masks != before.masks).any()
    np.testing.assert_array_equal(results[True][1].masks[0], answer.masks[0])


def test_a_correction_of_a_phrases_object_is_on_the_frame_that_is_given_later(model, frames):
    with model.track(frames) as session:
        session.add_text("dog")
        running = session.propagate()
        name = next(running).objects[0]
        answer = session.add(name, 1, points=POINT)
        later = next(running)
    row = later.objects.index(name)
    assert (later.index, later.phrases[row]) == (1, "dog")
    np.testing.assert_array_equal(later.logits[row], answer.logits[0])


def test_a_fault_between_two_frames_comes_after_what_was_found_before(model, frames):
    with model.track(frames) as session:
        session.add_text("dog")

        def passed(index):
            if index == 3:
                session.add(1, 99, points=POINT)

        running = session.propagate(passed=passed)
        assert [next(running).index for _ in range(4)] == [0, 1, 2, 3]
        with pytest.raises(PromptError, match="frame 99 is not in the film"):
            next(running)
