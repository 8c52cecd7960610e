"""What becomes of an object in its first frames: removed where detections don't bear it out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sam3_tvm.rules import ConceptVideoRules

__all__ = ["History", "HotStart", "Ruling"]


@dataclass
class History:
    """Of an object that a phrase found.

    Attributes:
        phrase: the phrase's number.
        score: of the detection by which it was found, 0 to 1.
        first_frame: where that was.
        keep_alive: rises with frames on which a detection matches it, falls with others.
        unmatched: how many frames there were on which it was seen, and no detection confirmed it.
        last_occluded: the last frame on which it was hidden, or gave way to another; -1 for
            never; None where it wasn't followed yet.
    """

    phrase: int
    score: float
    first_frame: int
    keep_alive: int
    unmatched: int = 0
    last_occluded: int | None = None


@dataclass(frozen=True)
class Ruling:
    """Of one frame.

    Attributes:
        removed: objects that go for good.
        suppressed: objects that aren't shown on this frame.
    """

    removed: set[int]
    suppressed: set[int]


class HotStart:
    """Counts what speaks for and against each object, and rules by it.

    An object within ``hotstart_delay`` frames of its first is removed if it was unmatched on
    ``hotstart_unmatch_thresh`` frames, or if on ``hotstart_dup_thresh`` frames a detection was of
    it and of an older object, too. As transformers' ``Sam3VideoModel`` has it; it counts frames
    with every pass, also those that were passed before.

    Attributes:
        objects: by id; those that were removed aren't there.
        duplicates: by the ids of an older object and of a younger one, on how many frames a
            detection was of both.
    """

    def __init__(self, rules: ConceptVideoRules) -> None:
        self._rules = rules
        self.objects: dict[int, History] = {}
        self.duplicates: dict[tuple[int, int], int] = {}

    def begin(self, name: int, phrase: int, score: float, frame: int) -> None:
        """Take a new object."""
        self.objects[name] = History(phrase, score, frame, self._rules.init_trk_keep_alive)

    def forget(self, names: Iterable[int]) -> None:
        """Drop objects."""
        gone = set(names)
        for name in gone:
            self.objects.pop(name, None)
        kept = {pair: n for pair, n in self.duplicates.items() if pair[1] not in gone}
        self.duplicates = kept

    def rule(
        self,
        frame: int,
        matched: Sequence[Sequence[int]],
        unmatched: Sequence[int],
        empty: Sequence[int],
        *,
        reverse: bool,
        live: bool,
    ) -> Ruling:
        """Take what was found on a frame.

        Args:
            frame: its number.
            matched: for each detection the ids of the objects that it is of.
            unmatched: ids of objects that are seen, and that no detection confirms.
            empty: ids of objects that aren't seen.
            reverse: whether frames come in falling order.
            live: whether nothing is taken back: nothing is removed or suppressed then.
        """
        self._count(matched, unmatched, empty)
        self._count_duplicates(matched, reverse)
        if live:
            return Ruling(set(), set())
        young = {name for name, of in self.objects.items() if self._is_young(of, frame, reverse)}
        removed = {name for name in young if self._is_over(self.objects[name].unmatched)}
        suppressed = set()
        if not self._rules.suppress_unmatched_only_within_hotstart:
            suppressed = {
                name
                for name, of in self.objects.items()
                if of.unmatched and of.keep_alive <= 0 and name not in removed
            }
        most = self._rules.hotstart_dup_thresh
        removed |= {new for (_, new), n in self.duplicates.items() if new in young and n >= most}
        return Ruling(removed, suppressed)

    def _is_over(self, unmatched: int) -> bool:
        return unmatched > 0 and unmatched >= self._rules.hotstart_unmatch_thresh

    def _is_young(self, of: History, frame: int, reverse: bool) -> bool:
        delay = self._rules.hotstart_delay
        if reverse:
            return of.first_frame < frame + delay
        return of.first_frame > frame - delay

    def _count(
        self, matched: Sequence[Sequence[int]], unmatched: Sequence[int], empty: Sequence[int]
    ) -> None:
        rules, known = self._rules, self.objects
        for name in {name for names in matched for name in names}:
            known[name].keep_alive = min(rules.max_trk_keep_alive, known[name].keep_alive + 1)
        for name in unmatched:
            known[name].unmatched += 1
        fading = list(unmatched)
        if rules.decrease_trk_keep_alive_for_empty_masklets:
            fading += empty
        for name in fading:
            known[name].keep_alive = max(rules.min_trk_keep_alive, known[name].keep_alive - 1)

    def _count_duplicates(self, matched: Sequence[Sequence[int]], reverse: bool) -> None:
        for names in matched:
            if len(names) < 2:
                continue
            oldest = self._oldest(names, self.objects, reverse)
            for name in names:
                if name != oldest:
                    pair = (oldest, name)
                    self.duplicates[pair] = self.duplicates.get(pair, 0) + 1

    @staticmethod
    def _oldest(names: Sequence[int], known: Mapping[int, History], reverse: bool) -> int:
        """The one that came first; of several the first that is named."""
        sign = -1 if reverse else 1
        return min(names, key=lambda name: sign * known[name].first_frame)
