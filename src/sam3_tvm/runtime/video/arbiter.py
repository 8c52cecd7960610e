"""What becomes of the objects that were looked for on a frame, before any of it is remembered.

A frame is passed in three steps: every object is looked for (:class:`Sighting`), an arbiter decides
over all of them together (:class:`Verdict`), and what it leaves is remembered.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.runtime.pictures.arguments import PromptError
from sam3_tvm.runtime.pictures.masks import LazyMasks, Resize
from sam3_tvm.runtime.pictures.scores import sigmoid
from sam3_tvm.runtime.video.frame import SessionFrame
from sam3_tvm.runtime.video.memory import MaskAnswer, ObjectMemory
from sam3_tvm.runtime.video.result import FrameResult

__all__ = [
    "Arbiter",
    "FoundObject",
    "Independent",
    "NewObject",
    "Passed",
    "PhraseState",
    "Shown",
    "Sighting",
    "Verdict",
    "shown_as_found",
    "stacked",
]


@dataclass(frozen=True)
class Sighting:
    """An object on a frame.

    Attributes:
        name: its id.
        memory: what is remembered of it.
        answer: what was found, or what came of a prompt.
        pointer: its object pointer, float32 [D]; None where the frame is answered by what came of
            a prompt on it, and everything is remembered already.
        mask: what is to be remembered instead of the mask that was found: logits, float32
            [4S, 4S]; None for that mask.
        certain: whether the mask that was found is remembered without its doubts, as one that
            was shown.
        conditioning: whether the frame is remembered like one on which the object was shown.
    """

    name: int
    memory: ObjectMemory
    answer: MaskAnswer
    pointer: NDArray[np.float32] | None = None
    mask: NDArray[np.float32] | None = None
    certain: bool = False
    conditioning: bool = False


@dataclass(frozen=True)
class NewObject:
    """An object that is followed from a frame on.

    Attributes:
        name: its id.
        phrase: the number of the phrase that found it.
        mask: where it is, bool [4S, 4S].
    """

    name: int
    phrase: int
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Shown:
    """An object as a frame's result has it.

    Attributes:
        name: its id.
        logits: of its mask, float32 [4S, 4S].
        score: 0 to 1.
        phrase: the number of the phrase that found it; None for one that was shown.
        rank: by which it is decided to whom pixels of several objects of a phrase belong.
        hidden: whether it is left out.
    """

    name: int
    logits: NDArray[np.float32]
    score: float
    phrase: int | None = None
    rank: float = 0.0
    hidden: bool = False


@dataclass(frozen=True)
class Verdict:
    """What an arbiter decided.

    Attributes:
        remembered: of the objects that were looked for.
        new: objects that begin here.
        removed: ids of objects that are forgotten.
        shown: what the result has, in order.
    """

    remembered: Sequence[Sighting]
    new: Sequence[NewObject]
    removed: Collection[int]
    shown: Sequence[Shown]


@dataclass(frozen=True)
class Passed:
    """A frame that was passed, of which no result is given yet.

    Attributes:
        index: its number.
        rgb: uint8 [H, W, 3].
        shown: the objects on it.
        side: of their masks' logits, 4S.
    """

    index: int
    rgb: NDArray[np.uint8]
    shown: Sequence[Shown]
    side: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    def result(
        self,
        shown: Sequence[Shown],
        resize: Resize,
        masks: NDArray[np.bool_] | None = None,
        phrases: Sequence[str] = (),
    ) -> FrameResult:
        """The frame's result.

        Args:
            shown: the objects that it has.
            resize: makes masks of logits.
            masks: the objects' masks, bool [N, H, W]; None for those that their logits give.
            phrases: by their numbers.
        """
        logits = stacked([one.logits for one in shown], self.side)
        lazy = LazyMasks(self.size, logits, resize, masks)
        scores = np.array([one.score for one in shown], np.float32)
        of = [None if one.phrase is None else phrases[one.phrase] for one in shown]
        return FrameResult(self.index, [one.name for one in shown], scores, lazy, self.rgb, of)


def stacked(logits: Sequence[NDArray[np.float32]], side: int) -> NDArray[np.float32]:
    """Logits of masks [side, side] as one array, float32 [N, side, side]."""
    found = np.zeros((len(logits), side, side), np.float32)
    for row, of_one in enumerate(logits):
        found[row] = of_one
    return found


@dataclass(frozen=True)
class FoundObject:
    """What is known of an object that a phrase found, beside what the tracker remembers.

    Attributes:
        id: its id.
        phrase: the phrase's number.
        score: of the detection by which it was found, 0 to 1.
        first_frame, keep_alive, unmatched, last_occluded: as of
            :class:`~sam3_tvm.runtime.video.concepts.hot_start.History`.
    """

    id: int
    phrase: int
    score: float
    first_frame: int
    keep_alive: int
    unmatched: int
    last_occluded: int | None


@dataclass(frozen=True)
class PhraseState:
    """What an arbiter remembers, as plain data.

    Attributes:
        phrases: what is looked for.
        next_id: the least id that was neither given nor passed over.
        given: ids of objects that were ever shown.
        gone: ids of objects that were removed.
        objects: the objects that phrases found.
        duplicates: ids of an older object and of a younger one, and on how many frames a detection
            was of both.
    """

    phrases: tuple[str, ...] = ()
    next_id: int = 0
    given: tuple[int, ...] = ()
    gone: tuple[int, ...] = ()
    objects: tuple[FoundObject, ...] = ()
    duplicates: tuple[tuple[int, int, int], ...] = ()


class Arbiter(Protocol):
    """Decides over all objects of a frame together.

    Attributes:
        phrases: what is looked for, in the order of being added.
    """

    phrases: list[str]

    @property
    def delay(self) -> int:
        """How many frames of a film are passed before the first result is given, 1 or more."""
        ...

    def add_text(self, phrase: str) -> int:
        """Look for a phrase; returns its number."""
        ...

    def check_name(self, name: int) -> None:
        """Refuse an id by which no object can be shown."""
        ...

    def take_name(self, name: int) -> None:
        """Take note that an object was shown by this id."""
        ...

    def remove(self, name: int) -> None:
        """Take note that an object was removed by the user."""
        ...

    def state(self) -> PhraseState:
        """All that is remembered."""
        ...

    def restore(self, state: PhraseState) -> None:
        """Go on from a state."""
        ...

    def arbitrate(
        self, frame: SessionFrame, sightings: Sequence[Sighting], *, reverse: bool, live: bool
    ) -> Verdict:
        """What becomes of the objects on a frame.

        Args:
            frame: the frame.
            sightings: all objects that were looked for on it.
            reverse: whether frames come in falling order.
            live: whether results are wanted at once, so that nothing can be taken back.
        """
        ...

    def result(self, passed: Passed, resize: Resize) -> FrameResult:
        """A frame's result, by all that is known when it is given.

        Args:
            passed: the frame.
            resize: makes masks of logits.
        """
        ...


class Independent:
    """Leaves every object as it would be alone, and knows no phrases."""

    delay = 1

    def __init__(self) -> None:
        self.phrases: list[str] = []

    def add_text(self, phrase: str) -> int:
        """Refuse it.

        Raises:
            PromptError: always.
        """
        raise PromptError("this session has no detector of phrases: begin one with Model.track()")

    def check_name(self, name: int) -> None:
        """Take any id."""

    def take_name(self, name: int) -> None:
        """Take note of nothing."""

    def remove(self, name: int) -> None:
        """Take note of nothing."""

    def state(self) -> PhraseState:
        """Nothing."""
        return PhraseState()

    def restore(self, state: PhraseState) -> None:
        """Go on from nothing.

        Raises:
            PromptError: a state with phrases.
        """
        if state.phrases:
            raise PromptError(
                "the state is of a session with phrases, and this has no detector: restore it in "
                "one that Model.track() began"
            )

    def arbitrate(
        self, frame: SessionFrame, sightings: Sequence[Sighting], *, reverse: bool, live: bool
    ) -> Verdict:
        """See :meth:`Arbiter.arbitrate`."""
        return Verdict(sightings, (), (), shown_as_found(sightings))

    def result(self, passed: Passed, resize: Resize) -> FrameResult:
        """See :meth:`Arbiter.result`."""
        return passed.result(passed.shown, resize)


def shown_as_found(sightings: Sequence[Sighting]) -> list[Shown]:
    """Objects with the masks that were found, and the probabilities that they are there."""
    logits = np.array([seen.answer.object_logit for seen in sightings], np.float64)
    scores = sigmoid(logits).astype(np.float32)
    return [
        Shown(seen.name, seen.answer.logits, float(score))
        for seen, score in zip(sightings, scores, strict=True)
    ]
