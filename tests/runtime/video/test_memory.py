"""What is remembered of an object, and what of it a frame looks at: by numbers of frames alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sam3_tvm.rules import VideoRules
from sam3_tvm.runtime.video.memory import FrameRecord, MaskAnswer, ObjectMemory, Spans, to_bfloat16

RULES = VideoRules(
    shown_frames=4,
    last_frames=6,
    pointer_frames=16,
    multimask_points=(0, 1),
    multimask_tracking=True,
    absent_logit=-1024.0,
)


def record(frame, prompted=False, reverse=False):
    """One whose memory and pointer are the frame's number."""
    answer = MaskAnswer(np.zeros((2, 2), np.float32), 1.0) if prompted else None
    memory = to_bfloat16(np.full((3, 2), frame, np.float32))
    return FrameRecord(np.full(5, frame, np.float32), memory, reverse, answer)


def remembering(shown=(), tracked=(), most_pointers=128):
    memory = ObjectMemory(RULES, most_pointers)
    for frame in shown:
        memory.keep(frame, record(frame, prompted=True), conditioning=True)
    for frame in tracked:
        memory.keep(frame, record(frame), conditioning=False)
    return memory


def looked_at(memory, frame, reverse=False):
    """(frame, age) of memories, and (frame, age in frames) of pointers."""
    found = memory.recall(frame, reverse)
    count = found.memories.shape[1]
    assert found.memories.shape == (1, count, 3, 2)
    assert found.pointers.shape == (1, found.pointer_ages.shape[1], 5)
    assert (found.memories.dtype, found.ages.dtype) == (np.float32, np.int64)
    ages = found.pointer_ages[0] * np.float32(15)
    places = found.memories[0, :, 0, 0], found.pointers[0, :, 0]
    memories, pointers = (place.astype(int).tolist() for place in places)
    return (
        list(zip(memories, found.ages[0].tolist(), strict=True)),
        list(zip(pointers, np.rint(ages).tolist(), strict=True)),
    )


def test_a_frame_looks_at_those_shown_and_the_last_ones():
    memories, pointers = looked_at(remembering([0], range(1, 30)), 30)
    assert memories == [(0, 0), *((30 - age, age) for age in range(6, 0, -1))]
    assert pointers == [(0, 30), *((30 - age, age) for age in range(1, 16))]


def test_backwards_the_last_frames_are_those_behind():
    memories, pointers = looked_at(remembering([20], range(10, 20)), 9, reverse=True)
    assert memories == [(20, 0), *((9 + age, age) for age in range(6, 0, -1))]
    assert pointers == [(20, 11), *((9 + age, age) for age in range(1, 11))]


def test_pointers_come_from_where_the_object_was_shown_before_but_not_later():
    memory = remembering([5, 12], range(6, 9))
    assert [frame for frame, _ in looked_at(memory, 9)[1]] == [5, 8, 7, 6]
    assert [frame for frame, _ in looked_at(memory, 9, reverse=True)[1]] == [12]
    assert looked_at(memory, 3)[1] == []


def test_the_nearest_shown_frames_are_taken_and_others_stand_in_for_the_last():
    memory = remembering([40, 0, 22, 24, 26, 60], [27])
    memories, _ = looked_at(memory, 28)
    # The nearest on either side first; 22 is among the last six frames.
    assert memories == [(26, 0), (40, 0), (24, 0), (22, 0), (27, 1)]
    memories, _ = looked_at(remembering([0, 21, 22, 23, 24, 25]), 26)
    assert memories == [(25, 0), (24, 0), (23, 0), (22, 0), (21, 5)]


def test_ages_of_pointers_are_fractions_of_the_oldest_that_is_looked_at():
    found = remembering([0], range(1, 4)).recall(4, False)
    np.testing.assert_allclose(found.pointer_ages[0] * 15, [4, 1, 2, 3], rtol=1e-6)


def test_of_too_many_pointers_the_nearest_are_taken():
    _, pointers = looked_at(remembering([0, 9, 4], [8, 7, 10], most_pointers=4), 11)
    assert pointers == [(9, 2), (10, 1), (8, 3), (7, 4)]


def test_what_is_remembered_does_not_grow():
    memory = remembering([0])
    sizes = []
    for frame in range(1, 200):
        memory.keep(frame, record(frame), conditioning=False)
        memory.forget(frame, False, {0})
        sizes.append((len(memory.tracked), sum(r.memory is not None for r in whole(memory))))
    assert sizes[40:] == [sizes[40]] * len(sizes[40:])
    assert sizes[-1] == (16 + 15, 7 + 6)
    # A frame still looks at what it would if nothing were forgotten.
    assert looked_at(memory, 200) == looked_at(remembering([0], range(1, 200)), 200)
    # So does one that goes back from where the object was shown, and a correction of the last.
    assert looked_at(memory, 199) == looked_at(remembering([0], range(1, 199)), 199)


def whole(memory):
    return memory.tracked.values()


def test_backwards_from_where_an_object_was_shown_everything_needed_is_there():
    memory, complete = remembering([50]), remembering([50])
    for frame in range(51, 150):
        for each in (memory, complete):
            each.keep(frame, record(frame), conditioning=False)
        memory.forget(frame, False, {50})
    for frame in range(49, 20, -1):
        assert looked_at(memory, frame, reverse=True) == looked_at(complete, frame, reverse=True)
        for each in (memory, complete):
            each.keep(frame, record(frame, reverse=True), conditioning=False)
        memory.forget(frame, True, {50})


def test_corrections_stay():
    memory = remembering([0], range(1, 10))
    memory.keep(5, record(5, prompted=True), conditioning=False)
    for frame in range(10, 60):
        memory.keep(frame, record(frame), conditioning=False)
        memory.forget(frame, False, {0})
    assert memory.answer(5) is not None
    assert memory.tracked[5].memory is not None
    assert sorted(memory.prompted) == [0, 5]


def test_frames_that_were_passed_are_kept_as_runs():
    spans = Spans()
    for frame in [*range(5, 100), *range(4, -1, -1), 300, 301]:
        spans.add(frame)
    assert spans.runs == [(0, 99), (300, 301)]
    assert 0 in spans
    assert 99 in spans
    assert 100 not in spans


def test_where_chosen_frames_alone_give_pointers_their_memories_are_there():
    """Of a phrase's object, memories of the first frames on which it was conditioned are gone."""
    memory = ObjectMemory(replace(RULES, pointers_of_chosen=True), 128, phrase=0)
    for frame in range(0, 256, 16):
        memory.keep(frame, record(frame, prompted=True), conditioning=True)
    memories, pointers = looked_at(memory, 81, reverse=True)
    assert memories == [(96, 0), (112, 0), (128, 0), (144, 0)]
    assert [frame for frame, _ in pointers] == [frame for frame, _ in memories]
