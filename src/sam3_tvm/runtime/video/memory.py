"""What is remembered of an object in a film, and what of it a frame looks at.

The rules are those of SAM 2 (section 4 of its paper, https://arxiv.org/abs/2408.00714) as
transformers' ``Sam3TrackerVideoModel`` has them for frames that come one by one. (Of a film it
counts pointers' ages in lengths of the film where that is shorter than what is looked back on:
then the same frames would give other masks where it isn't known how many come.) A frame looks at
memories of the frames on which the object was shown, the nearest ones, and of the last frames
before it, and at the object pointers of more. Memories are kept only where a later frame can look
at them, so that a film of any length takes the memory of a short one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.rules import VideoRules
from sam3_tvm.runtime.video.prompts import FramePrompt

__all__ = [
    "FrameRecord",
    "MaskAnswer",
    "MemoryInputs",
    "ObjectMemory",
    "Spans",
    "from_bfloat16",
    "to_bfloat16",
]


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper 16 bits of float32 numbers, rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    return (rounded >> np.uint32(16)).astype(np.uint16)


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The inverse of :func:`to_bfloat16`, exact."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


@dataclass(frozen=True)
class MaskAnswer:
    """An object on a frame.

    Attributes:
        logits: of its mask, float32 [4S, 4S].
        object_logit: above 0 where the object is there.
    """

    logits: NDArray[np.float32]
    object_logit: float


@dataclass(frozen=True)
class FrameRecord:
    """What is remembered of an object on a frame.

    Attributes:
        pointer: the object pointer, float32 [D].
        memory: what the memory encoder made of the mask, bfloat16 bits [S·S, C]; None where no
            frame can look at it any more.
        reverse: whether the frame was reached backwards.
        answer: where the object was prompted on that frame, what came of it.
    """

    pointer: NDArray[np.float32]
    memory: NDArray[np.uint16] | None
    reverse: bool = False
    answer: MaskAnswer | None = None


@dataclass(frozen=True)
class MemoryInputs:
    """What a frame looks at, as ``memory_attention`` takes it behind the picture's features.

    Attributes:
        memories: float32 [1, M, S·S, C].
        ages: int64 [1, M], frames back; 0 where the object was shown.
        pointers: float32 [1, P, D].
        pointer_ages: float32 [1, P], as fractions of the oldest's that is looked at.
    """

    memories: NDArray[np.float32]
    ages: NDArray[np.int64]
    pointers: NDArray[np.float32]
    pointer_ages: NDArray[np.float32]


class Spans:
    """A set of frame numbers, kept as runs: a film that was tracked to its end is one.

    Args:
        runs: first and last frames.
    """

    def __init__(self, runs: Iterable[tuple[int, int]] = ()) -> None:
        self.runs = list(runs)

    def add(self, frame: int) -> None:
        """Add a frame, to the run that it touches if there is one."""
        for place, (first, last) in enumerate(self.runs):
            if first - 1 <= frame <= last + 1:
                self.runs[place] = (min(first, frame), max(last, frame))
                return
        self.runs.append((frame, frame))

    def __contains__(self, frame: int) -> bool:
        return any(first <= frame <= last for first, last in self.runs)


class ObjectMemory:
    """What is remembered of one object.

    Args:
        rules: of the artifact.
        most_pointers: that a frame can look at; of more, the nearest are taken.
        phrase: the number of the phrase that found the object; None of one that was shown.

    Attributes:
        phrase: as given.
        shown: by frame, in the order of being shown, the frames on which the object was shown
            before it was tracked there: conditioning frames.
        tracked: by frame, other frames; those with an answer are corrections.
        passed: all frames on which it was ever tracked.
        points: by frame, the points that were shown, to which more can be added.
        start: where a pass was asked to begin with it last, beside where it was shown.
    """

    def __init__(self, rules: VideoRules, most_pointers: int, phrase: int | None = None) -> None:
        self.phrase = phrase
        self._rules = rules
        self._most_pointers = most_pointers
        self.shown: dict[int, FrameRecord] = {}
        self.tracked: dict[int, FrameRecord] = {}
        self.passed = Spans()
        self.points: dict[int, FramePrompt] = {}
        self.start: int | None = None

    @property
    def first_shown(self) -> int:
        """The earliest frame with a prompt."""
        return min(self.prompted)

    def is_come_to(self, frame: int, reverse: bool) -> bool:
        """Whether a pass that has reached this frame has come to where the object is shown; one
        that a phrase found is followed wherever a pass goes."""
        if self.phrase is not None:
            return True
        return frame <= self.first_shown if reverse else frame >= self.first_shown

    @property
    def anchors(self) -> set[int]:
        """Frames from which one may go in either direction: with prompts, and the last start.

        None of an object that a phrase found: it is conditioned anew all along the film.
        """
        if self.phrase is not None:
            return set()
        return {*self.prompted} if self.start is None else {*self.prompted, self.start}

    @property
    def prompted(self) -> list[int]:
        """Frames with a prompt."""
        corrected = [place for place, record in self.tracked.items() if record.answer is not None]
        return [*self.shown, *corrected]

    def _thin_out(self) -> None:
        """Drop what a pass that goes on looks at no more: of an object that a phrase found, which
        is conditioned anew all along the film, memories of frames before the last few."""
        past = list(self.shown)[: -(self._rules.shown_frames + self._rules.last_frames)]
        for place in past:
            if len(self.shown) > self._most_pointers:
                del self.shown[place]
            elif self.shown[place].memory is not None:
                self.shown[place] = replace(self.shown[place], memory=None, answer=None)

    def answer(self, frame: int) -> MaskAnswer | None:
        """What came of a prompt on this frame, if there was one."""
        record = self.shown.get(frame) or self.tracked.get(frame)
        return record.answer if record is not None else None

    def keep(self, frame: int, record: FrameRecord, conditioning: bool) -> None:
        """Remember a frame."""
        if conditioning:
            self.shown[frame] = record
            if self.phrase is not None:
                self._thin_out()
        else:
            self.tracked[frame] = record
            self.passed.add(frame)

    def recall(self, frame: int, reverse: bool) -> MemoryInputs:
        """What a frame looks at.

        Args:
            frame: its number.
            reverse: whether frames come in falling order.
        """
        memories = list(self._memories(frame, reverse))
        pointers = self._pointers(frame, reverse)
        oldest = self._rules.pointer_frames - 1
        kept = [record.memory for _, record in memories if record.memory is not None]
        width = next(iter(self.shown.values())).pointer.size
        return MemoryInputs(
            from_bfloat16(np.stack(kept))[None],
            np.array([[age for age, r in memories if r.memory is not None]], np.int64),
            np.array([[r.pointer for _, r in pointers]], np.float32).reshape(1, -1, width),
            np.array([[age for age, _ in pointers]], np.float32) / np.float32(max(oldest, 1)),
        )

    def _chosen(self, frame: int) -> list[int]:
        """Frames on which the object was shown whose memories a frame looks at."""
        held = [place for place, record in self.shown.items() if record.memory is not None]
        return _nearest(held, frame, self._rules.shown_frames)

    def _memories(self, frame: int, reverse: bool) -> Iterable[tuple[int, FrameRecord]]:
        """Ages and records, the oldest of the last frames first."""
        chosen = self._chosen(frame)
        yield from ((0, self.shown[near]) for near in chosen)
        for age in range(self._rules.last_frames, 0, -1):
            place = frame + age if reverse else frame - age
            # A frame on which the object was shown stands in where it wasn't chosen above.
            spare = self.shown.get(place) if place not in chosen else None
            record = self.tracked.get(place, spare)
            if record is not None:
                yield age, record

    def _pointers(self, frame: int, reverse: bool) -> list[tuple[int, FrameRecord]]:
        """Frames back and records; of frames where the object was shown, those behind this one."""
        sign = -1 if reverse else 1
        chosen = self._chosen(frame) if self._rules.pointers_of_chosen else list(self.shown)
        found = [
            (sign * (frame - place), self.shown[place])
            for place in chosen
            if sign * (frame - place) >= 0
        ]
        for age in range(1, self._rules.pointer_frames):
            place = frame - sign * age
            spare = self.shown.get(place) if place not in chosen else None
            record = self.tracked.get(place, spare)
            if record is not None:
                found.append((age, record))
        if len(found) <= self._most_pointers:
            return found
        near = sorted(range(len(found)), key=lambda i: found[i][0])[: self._most_pointers]
        return [found[i] for i in sorted(near)]

    def forget(
        self, frame: int, reverse: bool, anchors: Collection[int], once: bool = False
    ) -> None:
        """Drop what no later frame can look at.

        Args:
            frame: the frame that was tracked last.
            reverse: the direction in which tracking goes on.
            anchors: frames from which it may go on in either direction.
            once: whether frames come once alone: no prompt of an earlier one is asked for again.
        """
        if once:
            self._forget_prompts(frame)
        last, pointing = self._rules.last_frames, self._rules.pointer_frames - 1
        for place, record in list(self.tracked.items()):
            if record.answer is not None:
                continue
            behind = place - frame if reverse else frame - place
            away = min((abs(place - anchor) for anchor in anchors), default=None)
            # How far from it the nearest frame is at which tracking may go on.
            ages = [age for age in (behind, away) if age is not None and age >= 0]
            nearest = min(ages, default=math.inf)
            if nearest > max(last, pointing):
                del self.tracked[place]
            elif nearest > last and record.memory is not None:
                self.tracked[place] = replace(record, memory=None)

    def _forget_prompts(self, frame: int) -> None:
        """Make corrections before this frame what other tracked frames are, and drop points."""
        self.points = {place: p for place, p in self.points.items() if place >= frame}
        for place, record in self.tracked.items():
            if place < frame and record.answer is not None:
                self.tracked[place] = replace(record, answer=None)


def _nearest(shown: Collection[int], frame: int, most: int) -> list[int]:
    """The nearest frames, with the nearest on either side among them."""
    if len(shown) <= most:
        return list(shown)
    before = max((place for place in shown if place < frame), default=None)
    behind = min((place for place in shown if place >= frame), default=None)
    chosen = [place for place in (before, behind) if place is not None]
    others = sorted((p for p in shown if p not in chosen), key=lambda place: abs(place - frame))
    return chosen + others[: most - len(chosen)]
