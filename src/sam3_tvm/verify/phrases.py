"""What phrases find in a drawn film on both sides: ids, phrases, masks and scores, by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.drawn_film import PHRASES, drawn_film
from sam3_tvm.errors import MissingExtraError
from sam3_tvm.rules import ConceptVideoRules
from sam3_tvm.runtime.model import Model
from sam3_tvm.runtime.video.concepts.components import import_ndimage
from sam3_tvm.runtime.video.result import FrameResult
from sam3_tvm.sources.base import ConceptFrame, PromptSpec, Source
from sam3_tvm.verify.report import Bounds, PhraseRow
from sam3_tvm.verify.video import frame_row

__all__ = [
    "PhraseFilm",
    "compare_phrases",
    "phrase_film",
    "phrase_row",
    "rules_among",
    "undecided",
    "why_not_compared",
    "without_ties",
]

# Frames in which a shape crosses the picture: those of a longer film come back.
_CROSSING = 12

# Among them and these are three of which random weights think alike.
_OTHERS = ("dog", "a cat", "red ball", "person", "tree", "blue", "car", "a hand", "window")

# With random weights: on a short film, objects are conditioned anew and removed.
_SOON = {
    "hotstart_delay": 4,
    "hotstart_unmatch_thresh": 3,
    "hotstart_dup_thresh": 3,
    "recondition_every_nth_frame": 3,
    "det_nms_thresh": 0.9,
    "assoc_iou_thresh": 0.3,
    "trk_assoc_iou_thresh": 0.36,
    "high_conf_thresh": 0.0,
    "high_iou_thresh": 0.3,
}

# Objects that random weights may find. On larger pictures each takes PyTorch seconds on a frame,
# and nothing is removed, as too few would be left to be compared.
_MOST = {"max_num_objects": 12}
_MOST_LARGE = {"max_num_objects": 4, "hotstart_delay": 0}
_LARGE = 512  # from a picture's side on


@dataclass(frozen=True)
class PhraseFilm:
    """A film, and what is looked for in it.

    Attributes:
        name: for the report.
        frames: uint8 [H, W, 3] each.
        phrases: what is looked for.
        changed: rules that are others than the model's own, by name: where its weights are random,
            whose scores say nothing. Both sides follow them.
    """

    name: str
    frames: list[NDArray[np.uint8]]
    phrases: tuple[str, ...]
    changed: Mapping[str, Any]

    def rules(self, own: ConceptVideoRules | None) -> ConceptVideoRules:
        """The rules of a side whose own these are."""
        assert own is not None, "which a model for video has"
        return replace(own, **self.changed)

    @property
    def exact_only(self) -> bool:
        """Whether scores lie so close together that rounded weights find other objects."""
        return bool(self.changed)


def why_not_compared(source: Source) -> str | None:
    """Why no film by phrase can be compared, if none can; in words."""
    if source.sizes.video is None:
        return "the artifact isn't for video"
    if source.reference_concept_tracker() is None:
        return "Meta's own model for them has further rules"
    try:
        import_ndimage()  # both sides find components by it
    except MissingExtraError as error:
        return f"{error}"
    return None


def phrase_film(source: Source, frames: int | None = None) -> PhraseFilm:
    """The film for a model: with its own rules where they find anything on the first frame.

    Args:
        source: the model.
        frames: how many there are; by default as many as don't take PyTorch too long.
    """
    own = source.video_concepts
    assert own is not None, "which a model for video has"
    segmenter = source.reference_segmenter()
    (first,) = drawn_film(1, 1)

    def scores(words: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        found = segmenter.segment(first, [PromptSpec(word) for word in words])
        return {word: np.sort(of.scores)[::-1] for word, of in zip(words, found, strict=True)}

    # At SAM 3's size a frame takes PyTorch a minute and more.
    large = source.sizes.image > _LARGE
    most = frames or (8 if large else 24)
    seen = scores(PHRASES)
    if max(float(of[0]) for of in seen.values()) >= own.new_det_thresh:
        return PhraseFilm("drawn film", list(drawn_film(most, _CROSSING)), PHRASES, {})
    phrases, changed = rules_among({**seen, **scores(_OTHERS)})
    changed |= _MOST_LARGE if large else _MOST
    film = list(drawn_film(frames or min(most, _CROSSING), _CROSSING))
    return PhraseFilm("drawn film, thresholds among random scores", film, phrases, changed)


def rules_among(
    scores: Mapping[str, NDArray[np.float32]], detections: int = 3
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Phrases that score alike, and rules by which each finds some objects, and not all of them.

    Random weights know nothing of a rule's own thresholds, and score one phrase above another by
    more than an object above its background.

    Args:
        scores: by phrase, of a frame's detections, float32 [Q], falling.
        detections: of the lowest of the phrases that count.

    Returns:
        Three phrases, and the rules that are changed.
    """
    order = sorted(scores, key=lambda phrase: float(scores[phrase][0]))
    near = min(
        (tuple(order[at : at + 3]) for at in range(len(order) - 2)),
        key=lambda three: float(scores[three[2]][0] - scores[three[0]][0]),
    )
    # In the middle between two scores of the phrase that scores lowest.
    low = scores[near[0]].astype(np.float64)
    last = min(detections, len(low) - 1)
    counts, begins = (float(low[at - 1] + low[at]) / 2 for at in (last, max(last - 1, 1)))
    return near, {"score_threshold_detection": counts, "new_det_thresh": begins, **_SOON}


def compare_phrases(
    model: Model, film: PhraseFilm, wanted: Sequence[ConceptFrame], bounds: Bounds
) -> tuple[list[PhraseRow], str | None]:
    """The frames of a film, beside the reference's answers.

    Returns:
        A row of each, and why there is none from a frame on, in words. Ids are given in the order
        in which objects begin, so that all differ from where one object does.
    """
    rules = film.rules(model.manifest.video_concepts)
    rows: list[PhraseRow] = []
    with model.track(list(film.frames), rules=rules) as session:
        for phrase in film.phrases:
            session.add_text(phrase)
        for result, reference in zip(session.propagate(), wanted, strict=True):
            row = phrase_row(film.name, result, reference, bounds)
            if not row.same_objects and (why := undecided(result, reference, rules, bounds.margin)):
                return rows, f"the film by phrase from frame {row.frame} on: {why}"
            rows.append(row)
    return rows, None


def undecided(
    ours: FrameResult, wanted: ConceptFrame, rules: ConceptVideoRules, margin: float
) -> str | None:
    """The object, in words, whose score lies so close to a threshold that one side may begin it and
    the other not; None if that isn't all in which a frame's objects differ.

    Args:
        ours: the frame.
        wanted: the reference's.
        rules: that both sides followed.
        margin: scores this close to a threshold may be on either side of it; none where it is 0.
    """
    limits = (rules.score_threshold_detection, rules.new_det_thresh)

    def near(score: float) -> bool:
        return any(abs(score - limit) < margin for limit in limits)

    sides = [
        list(zip(of.objects, map(str, of.phrases), map(float, of.scores), strict=True))
        for of in (ours, wanted)
    ]
    one, other = ([phrase for _, phrase, score in side if not near(score)] for side in sides)
    if ours.index != wanted.index or one != other:
        return None
    for side, others in (sides, sides[::-1]):
        for name, phrase, score in side:
            there = any(
                (name, phrase) == (number, of) and abs(score - found) <= margin
                for number, of, found in others
            )
            if near(score) and not there:
                return f"a score of {phrase!r}, {score:.3f}, is within {margin:g} of a threshold"
    return None


def phrase_row(name: str, result: FrameResult, wanted: ConceptFrame, bounds: Bounds) -> PhraseRow:
    """One frame of a film, beside the reference's answer."""
    phrases = [f"{phrase}" for phrase in result.phrases]
    masks = None
    if (result.objects, phrases) == (wanted.objects, wanted.phrases):
        masks = without_ties(result.masks, wanted, bounds.margin)
    row = frame_row(name, result, wanted, bounds, masks)
    same = row.same_objects and phrases == wanted.phrases
    known = {**vars(row), "same_objects": same, "ok": row.ok and same}
    return PhraseRow(**known, phrases=phrases)


def without_ties(
    masks: NDArray[np.bool_], wanted: ConceptFrame, margin: float
) -> NDArray[np.bool_]:
    """Our masks, with pixels as the reference has them that either of two objects may get.

    A pixel that two objects of a phrase claim is left to that of the higher rank. Where ranks are
    nearly equal, rounding decides, and over all that both claim.

    Args:
        masks: of the objects that the reference has, bool [N, H, W].
        wanted: the reference's answer.
        margin: ranks this close may be on either side of each other; none where it is 0.

    Returns:
        bool [N, H, W].
    """
    settled = masks.copy()
    for one in range(len(masks)):
        for other in range(one):
            near = abs(float(wanted.ranks[one]) - float(wanted.ranks[other])) < margin
            if near and wanted.phrases[one] == wanted.phrases[other]:
                either = wanted.claimed[one] & wanted.claimed[other]
                for row in (one, other):
                    settled[row][either] = wanted.masks[row][either]
    return settled
