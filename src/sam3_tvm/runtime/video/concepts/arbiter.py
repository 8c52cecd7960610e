"""Objects of phrases in a film: found by a detector, followed by the tracker, held to one another.

The rules are those of transformers' ``Sam3VideoModel`` and ``Sam3VideoProcessor``, read from them
and written anew. Objects that were shown by clicks, a box or a mask are left as each would be
alone: no rule hides or removes them, they take no pixels from others, and no detection is of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.rules import ConceptVideoRules
from sam3_tvm.runtime.pictures.arguments import PromptError
from sam3_tvm.runtime.pictures.masks import LazyMasks, Resize
from sam3_tvm.runtime.pictures.scores import sigmoid
from sam3_tvm.runtime.video.arbiter import (
    FoundObject,
    NewObject,
    Passed,
    PhraseState,
    Shown,
    Sighting,
    Verdict,
    shown_as_found,
    stacked,
)
from sam3_tvm.runtime.video.concepts.association import Detections, associate
from sam3_tvm.runtime.video.concepts.components import fill_and_clean, import_ndimage
from sam3_tvm.runtime.video.concepts.hot_start import History, HotStart
from sam3_tvm.runtime.video.concepts.overlaps import (
    ABSENT,
    give_pixels,
    non_maximum_suppression,
    recently_occluded,
    suppress_shrunk,
)
from sam3_tvm.runtime.video.frame import SessionFrame
from sam3_tvm.runtime.video.functions import Features, VideoFunctions
from sam3_tvm.runtime.video.result import FrameResult

__all__ = ["ConceptArbiter", "FindPhrases"]

# Stands for the last frame on which an object was hidden that is removed on the frame after its
# first, so that it gives way to all.
_REMOVED_AT_ONCE = 100_000

# The logit from which a pixel of a detection is one of the new object's.
_BEGINS = np.float32(0.5)


class FindPhrases(Protocol):
    """A detector, such as :class:`~sam3_tvm.runtime.concepts.detector.ConceptDetector`."""

    @property
    def functions(self) -> Collection[str]:
        """The artifact's functions that take features of the picture."""

    def check_phrase(self, phrase: str) -> None:
        """Refuse, or warn of, a phrase that cannot be searched as it is."""

    def find_phrases(
        self, features: Features, phrases: Sequence[str], threshold: float
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Of each phrase the scores above a threshold, float32 [K], by the detector's queries, and
        mask logits, float32 [K, 4S, 4S]."""


@dataclass(frozen=True)
class _Group:
    """The objects of phrases on a frame, one row each.

    Attributes:
        seen: as they were looked for.
        logits: their masks without holes, float32 [M, 4S, 4S].
        phrases: the number of each one's phrase.
    """

    seen: Sequence[Sighting]
    logits: NDArray[np.float32]
    phrases: list[int]

    def names(self, rows: Sequence[int]) -> list[int]:
        """The ids of these rows."""
        return [self.seen[row].name for row in rows]


class ConceptArbiter:
    """Decides over the objects of phrases; see :class:`~sam3_tvm.runtime.video.arbiter.Arbiter`.

    Args:
        detector: finds phrases on frames.
        functions: the session's, which encode frames.
        rules: thresholds and numbers of frames.

    Attributes:
        phrases: all that were added.
    """

    def __init__(
        self, detector: FindPhrases, functions: VideoFunctions, rules: ConceptVideoRules
    ) -> None:
        self._detector = detector
        self._functions = functions
        self._rules = rules
        self.phrases: list[str] = []
        self._history = HotStart(rules)
        self._next_name = 0
        self._shown_names: set[int] = set()  # ids that were ever given by the user
        self._gone: set[int] = set()  # objects that were removed, and aren't in later results

    @property
    def delay(self) -> int:
        """How many frames are looked at before the first is given."""
        return max(1, self._rules.hotstart_delay) if self.phrases else 1

    def add_text(self, phrase: str) -> int:
        """See :meth:`TrackSession.add_text`."""
        import_ndimage()
        self._detector.check_phrase(phrase)
        if phrase not in self.phrases:
            self.phrases.append(phrase)
            self._functions.detect_with(self._detector.functions)
        return self.phrases.index(phrase)

    def check_name(self, name: int) -> None:
        """Refuse an id that was of an object of a phrase, which is gone.

        Raises:
            PromptError: it is one.
        """
        given = 0 <= name < self._next_name and name not in self._shown_names
        if given and name not in self._history.objects:
            raise PromptError(
                f"{name} was the id of an object of a phrase, which is gone: give another id"
            )

    def take_name(self, name: int) -> None:
        """Take note that an object was shown by this id."""
        if name not in self._history.objects:
            self._shown_names.add(name)
            self._gone.discard(name)

    def remove(self, name: int) -> None:
        """Take note that an object was removed by the user."""
        self._gone.add(name)
        self._history.forget([name])

    def state(self) -> PhraseState:
        """See :meth:`~sam3_tvm.runtime.video.arbiter.Arbiter.state`."""
        return PhraseState(
            tuple(self.phrases),
            self._next_name,
            tuple(sorted(self._shown_names)),
            tuple(sorted(self._gone)),
            tuple(FoundObject(n, **vars(of)) for n, of in self._history.objects.items()),
            tuple((old, new, n) for (old, new), n in self._history.duplicates.items()),
        )

    def restore(self, state: PhraseState) -> None:
        """See :meth:`~sam3_tvm.runtime.video.arbiter.Arbiter.restore`."""
        if state.phrases:
            import_ndimage()
        for phrase in state.phrases:
            self._detector.check_phrase(phrase)
        self.phrases = list(state.phrases)
        if self.phrases:
            self._functions.detect_with(self._detector.functions)
        self._next_name = state.next_id
        self._shown_names, self._gone = set(state.given), set(state.gone)
        self._history = HotStart(self._rules)
        for of in state.objects:
            known = {name: value for name, value in vars(of).items() if name != "id"}
            self._history.objects[of.id] = History(**known)
        self._history.duplicates = {(old, new): n for old, new, n in state.duplicates}

    def arbitrate(
        self, frame: SessionFrame, sightings: Sequence[Sighting], *, reverse: bool, live: bool
    ) -> Verdict:
        """See :meth:`~sam3_tvm.runtime.video.arbiter.Arbiter.arbitrate`."""
        others = [seen for seen in sightings if seen.memory.phrase is None]
        if not self.phrases:
            return Verdict(others, (), (), shown_as_found(others))
        found = self._detect(frame)
        group = self._group([seen for seen in sightings if seen.memory.phrase is not None])
        relation = associate(found, group.logits, group.phrases, self._rules)
        ruling = self._history.rule(
            frame.index,
            [group.names(rows) for rows in relation.matched],
            group.names(relation.unmatched),
            group.names(relation.empty),
            reverse=reverse,
            live=live,
        )
        begun = self._begin(frame.index, found, relation.new, len(group.seen))
        confirmed = self._confirmed(frame.index, group, relation.sure)
        self._give_way(frame.index, group, ruling.removed, reverse)
        remembered = self._remembered(group, found, confirmed, bool(begun))
        shown = [*shown_as_found(others), *self._shown(group, found, confirmed, ruling.suppressed)]
        order = {seen.name: place for place, seen in enumerate(sightings)}
        shown.sort(key=lambda one: order[one.name])
        shown += self._shown_first(found, begun)
        self._gone |= ruling.removed
        self._history.forget(ruling.removed)
        return Verdict([*others, *remembered], _new(found, begun), ruling.removed, shown)

    def result(self, passed: Passed, resize: Resize) -> FrameResult:
        """See :meth:`~sam3_tvm.runtime.video.arbiter.Arbiter.result`."""
        shown = [one for one in passed.shown if not one.hidden and one.name not in self._gone]
        if all(one.phrase is None for one in shown):
            return passed.result(shown, resize)
        logits = stacked([one.logits for one in shown], passed.side)
        masks = LazyMasks(passed.size, logits, resize).all()
        # An object of a phrase that isn't seen is no part of the result; one that was shown is.
        rows = [r for r, one in enumerate(shown) if one.phrase is None or masks[r].any()]
        shown, masks = [shown[row] for row in rows], masks[rows]
        if len(shown) > 1:
            give_pixels(masks, [one.rank for one in shown], [one.phrase for one in shown])
        return passed.result(shown, resize, masks, self.phrases)

    def _detect(self, frame: SessionFrame) -> Detections:
        """What the phrases find on a frame, each phrase without near duplicates."""
        rules = self._rules
        found = self._detector.find_phrases(
            frame.features(self._functions), self.phrases, rules.score_threshold_detection
        )
        masks, scores, phrases = [], [], []
        for number, (of_scores, of_masks) in enumerate(found):
            if rules.det_nms_thresh > 0:
                kept = non_maximum_suppression(of_masks > 0, of_scores, rules.det_nms_thresh)
                of_scores, of_masks = of_scores[kept], of_masks[kept]
            scores.append(of_scores)
            masks.append(of_masks)
            phrases.append(np.full(len(of_scores), number, np.int64))
        return Detections(np.concatenate(masks), np.concatenate(scores), np.concatenate(phrases))

    def _group(self, seen: Sequence[Sighting]) -> _Group:
        side = self._functions.mask_side
        logits = stacked([one.answer.logits for one in seen], side)
        phrases = [self._history.objects[one.name].phrase for one in seen]
        return _Group(seen, fill_and_clean(logits, self._rules.fill_hole_area), phrases)

    def _begin(
        self, frame: int, found: Detections, new: Sequence[int], count: int
    ) -> dict[int, int]:
        """Detections that begin objects, by these objects' ids: the best that there is room for."""
        room = self._rules.max_num_objects - count
        if len(new) > room:
            new = sorted(new, key=lambda row: -found.scores[row])[: max(room, 0)]
        begun: dict[int, int] = {}
        for row in new:
            while self._next_name in self._shown_names:
                self._next_name += 1
            begun[self._next_name] = row
            score = float(found.scores[row])
            self._history.begin(self._next_name, int(found.phrases[row]), score, frame)
            self._next_name += 1
        return begun

    def _confirmed(self, frame: int, group: _Group, sure: Mapping[int, int]) -> dict[int, int]:
        """Rows of objects that are conditioned anew on this frame, with the detection of each."""
        every = self._rules.recondition_every_nth_frame
        if every <= 0 or frame % every:
            return {}
        # The logit is held against a probability's threshold, as in transformers.
        least = self._rules.high_conf_thresh
        return {r: d for r, d in sure.items() if group.seen[r].answer.object_logit > least}

    def _give_way(self, frame: int, group: _Group, removed: Collection[int], reverse: bool) -> None:
        """Empty masks, in place, that overlap one that wasn't hidden as lately."""
        threshold = self._rules.suppress_overlapping_based_on_recent_occlusion_threshold
        if threshold <= 0 or not group.seen:
            return
        histories = [self._history.objects[seen.name] for seen in group.seen]
        last = [
            history.last_occluded
            if history.last_occluded is not None
            else (_REMOVED_AT_ONCE if seen.name in removed else -1)
            for seen, history in zip(group.seen, histories, strict=True)
        ]
        inside = group.logits > 0
        giving = recently_occluded(
            inside, np.array(last, np.int64), group.phrases, threshold, reverse
        )
        hidden = giving | ~inside.any((1, 2))
        for row, history in enumerate(histories):
            history.last_occluded = frame if hidden[row] else last[row]
        group.logits[giving] = ABSENT

    def _remembered(
        self, group: _Group, found: Detections, confirmed: Mapping[int, int], joined: bool
    ) -> list[Sighting]:
        """What is remembered of the objects that were followed.

        Args:
            group: these objects.
            found: the detections.
            confirmed: rows of those that are conditioned anew, with the detection of each.
            joined: whether new objects come in on this frame.
        """
        masks = group.logits.copy()
        if not self._rules.recondition_on_trk_masks:
            # Zeros and ones, which are taken for logits, as in transformers.
            for row, detection in confirmed.items():
                masks[row] = found.masks[detection] >= _BEGINS
        masks = suppress_shrunk(masks, group.phrases)
        kept = []
        for row, seen in enumerate(group.seen):
            conditioning = seen.conditioning or row in confirmed
            if joined and not conditioning:
                # Where an object comes in, transformers passes the frame once more for the others,
                # and remembers what the tracker found of them like masks that were shown.
                kept.append(replace(seen, certain=True))
            else:
                kept.append(replace(seen, mask=masks[row], conditioning=conditioning))
        return kept

    def _shown(
        self,
        group: _Group,
        found: Detections,
        confirmed: Mapping[int, int],
        suppressed: Collection[int],
    ) -> list[Shown]:
        """The objects that were followed, for the result."""
        logits = np.array([seen.answer.object_logit for seen in group.seen], np.float32)
        ranks = sigmoid(logits)
        shown = []
        for row, seen in enumerate(group.seen):
            history = self._history.objects[seen.name]
            mask = found.masks[confirmed[row]] if row in confirmed else group.logits[row]
            hidden, rank = seen.name in suppressed, float(ranks[row])
            shown.append(Shown(seen.name, mask, history.score, history.phrase, rank, hidden))
        return shown

    def _shown_first(self, found: Detections, begun: Mapping[int, int]) -> list[Shown]:
        """The objects that begin here, for the result."""
        rows = list(begun.values())
        masks = fill_and_clean(found.masks[rows], self._rules.fill_hole_area)
        scores = [float(found.scores[row]) for row in rows]
        return [
            Shown(name, mask, score, int(found.phrases[row]), rank=score)
            for (name, row), mask, score in zip(begun.items(), masks, scores, strict=True)
        ]


def _new(found: Detections, begun: Mapping[int, int]) -> list[NewObject]:
    return [
        NewObject(name, int(found.phrases[row]), found.masks[row] >= _BEGINS)
        for name, row in begun.items()
    ]
