"""Nothing is forgotten of an object that a frame still to come would look at."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sam3_tvm.rules import VideoRules
from sam3_tvm.runtime.video.memory import FrameRecord, MaskAnswer, ObjectMemory, to_bfloat16

# Numbers of frames; a film is long enough to be far from where an object was shown.
PLACES = st.integers(0, 60)


@st.composite
def some_rules(draw) -> VideoRules:
    return VideoRules(
        shown_frames=draw(st.integers(1, 5)),
        last_frames=draw(st.integers(0, 8)),
        pointer_frames=draw(st.integers(1, 12)),
        multimask_points=(0, 1),
        multimask_tracking=True,
        absent_logit=-1024.0,
    )


def numbered(number: int, prompted: bool = False, reverse: bool = False) -> FrameRecord:
    """A record that is told from all others by its number, below 65,536."""
    answer = MaskAnswer(np.zeros((2, 2), np.float32), 1.0) if prompted else None
    # Small integers, which bfloat16 holds exactly.
    memory = to_bfloat16(np.array([[number // 256, number % 256]], np.float32))
    return FrameRecord(np.full(2, number, np.float32), memory, reverse, answer)


@dataclass
class Twins:
    """The same memories twice: of an object that is forgotten of, and of one that isn't."""

    forgetful: ObjectMemory
    complete: ObjectMemory
    records: int = 0

    def keep(self, frame: int, prompted: bool, reverse: bool, conditioning: bool) -> None:
        self.records += 1
        for memory in (self.forgetful, self.complete):
            memory.keep(frame, numbered(self.records, prompted, reverse), conditioning)

    def assert_look_at_the_same(self, frame: int, reverse: bool) -> None:
        ours, wanted = (memory.recall(frame, reverse) for memory in (self.forgetful, self.complete))
        for name in ("memories", "ages", "pointers", "pointer_ages"):
            found, expected = getattr(ours, name), getattr(wanted, name)
            np.testing.assert_array_equal(found, expected, f"{name} of frame {frame}")

    def go(self, frames: Iterable[int], reverse: bool, anchors: Collection[int], once: bool):
        """A pass as sessions make it, forgetting after each frame."""
        for frame in frames:
            if self.complete.answer(frame) is None or once:
                self.assert_look_at_the_same(frame, reverse)
                self.keep(frame, False, reverse, conditioning=False)
            self.forgetful.forget(frame, reverse, anchors, once)


@st.composite
def twins(draw) -> Twins:
    """An object that was shown on some frames, tracked on others, and corrected on some of them."""
    rules, most = draw(some_rules()), draw(st.integers(2, 20))
    made = Twins(ObjectMemory(rules, most), ObjectMemory(rules, most))
    shown = draw(st.lists(PLACES, min_size=1, max_size=7, unique=True))
    for frame in shown:
        made.keep(frame, True, False, conditioning=True)
    corrected = draw(st.sets(PLACES, max_size=3))
    for first, last, reverse in draw(
        st.lists(st.tuples(PLACES, PLACES, st.booleans()), max_size=3)
    ):
        for frame in range(min(first, last), max(first, last) + 1):
            if frame not in shown:
                made.keep(frame, frame in corrected, reverse, conditioning=False)
    return made


@settings(max_examples=150, deadline=None)
@given(twins(), PLACES, st.booleans(), st.sets(PLACES, max_size=3), st.data())
def test_passes_that_may_come_find_what_they_would_if_nothing_were_forgotten(
    both, latest, reverse, others, data
):
    anchors = {*both.complete.prompted, *others}
    both.forgetful.forget(latest, reverse, anchors)
    both.assert_look_at_the_same(latest, reverse)  # as a correction would
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.sampled_from([None, *sorted(anchors)]))
        if begin is None:  # where the last pass ended
            begin = latest - 1 if reverse else latest + 1
        else:
            reverse = data.draw(st.booleans())
        length = data.draw(st.integers(1, 25))
        stop = max(begin - length, -1) if reverse else begin + length
        frames = range(begin, stop, -1 if reverse else 1)
        if not frames:
            break
        both.go(frames, reverse, anchors, once=False)
        latest = frames[-1]


@settings(max_examples=50, deadline=None)
@given(some_rules(), st.integers(2, 20), st.sets(st.integers(1, 40), max_size=6))
def test_live_input_finds_what_it_would_if_nothing_were_forgotten(rules, most, corrected):
    live = Twins(ObjectMemory(rules, most), ObjectMemory(rules, most))
    live.keep(0, True, False, conditioning=True)
    for frame in range(1, 41):
        live.go([frame], False, (), once=True)
        if frame in corrected:
            live.assert_look_at_the_same(frame, False)
            live.keep(frame, True, False, conditioning=False)
    assert len(live.forgetful.tracked) <= max(rules.last_frames + 1, rules.pointer_frames) + 1
    assert sum(r.answer is not None for r in live.forgetful.tracked.values()) <= 1
