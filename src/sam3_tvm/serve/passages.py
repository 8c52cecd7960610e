"""What a request asks of a film, as the film's own words for it."""

from __future__ import annotations

from sam3_tvm.errors import UsageError
from sam3_tvm.film.passage import Passage, ShownPrompt, check_fits
from sam3_tvm.runtime.video.frames import Frames
from sam3_tvm.runtime.video.passes import last_frame
from sam3_tvm.serve.forms.asked import AskTrack, Shown

__all__ = ["passage_of"]


def passage_of(asked: AskTrack, film: Frames, most: int) -> Passage:
    """What is followed through which frames.

    Args:
        asked: the request.
        film: opened.
        most: frames that a request may pass.

    Raises:
        Sam3Error: nothing to follow, what the film doesn't have, what isn't come to, or too many
            frames.
    """
    shown = [_shown(one, asked.start or 0) for one in asked.objects]
    shown.sort(key=lambda one: (one.frame, one.object_id))
    _check(shown)
    if not shown and not asked.phrases:
        raise UsageError("nothing to follow: give phrases, or objects with a box or points")
    if asked.live and not asked.phrases:
        raise UsageError("live is for phrases: without them all results come at once")
    check_fits(shown, film)
    backward, both = asked.direction == "backward", asked.direction == "both"
    first = _first(asked, [one.frame for one in shown], film)
    phrases = tuple(dict.fromkeys(asked.phrases))
    passage = Passage(
        shown, first, asked.frames, not backward, backward or both, phrases, asked.live
    )
    for one in shown:
        if not passage.reaches(one.frame):
            raise UsageError(
                f"object {one.object_id} is shown on frame {one.frame}, which {asked.frames} "
                f"frames from frame {first} on don't come to"
            )
    total = passage.total(film.count)
    if total is None or total > most:
        known = "an unknown number of" if total is None else f"{total}"
        raise UsageError(
            f"this would pass {known} frames, of which a request may pass {most}: give frames, "
            "and start"
        )
    return passage


def _shown(one: Shown, frame: int) -> ShownPrompt:
    points = [*one.points, *one.negative_points]
    return ShownPrompt(
        frame if one.frame is None else one.frame,
        one.id,
        None if one.box is None else (one.box[0], one.box[1], one.box[2], one.box[3]),
        [(x, y) for x, y in points],
        [1] * len(one.points) + [0] * len(one.negative_points),
    )


def _check(shown: list[ShownPrompt]) -> None:
    """Refuse what says nothing, or the same twice."""
    for before, one in zip([None, *shown], shown, strict=False):
        where = f"object {one.object_id}, frame {one.frame}"
        if before and (before.frame, before.object_id) == (one.frame, one.object_id):
            raise UsageError(f"{where}: is shown twice: put its box and points into one entry")
        if one.box is None and not one.points:
            raise UsageError(f"{where}: give a box or points")
    known = {one.object_id for one in shown if one.box is not None or any(one.point_labels)}
    for one in shown:
        if one.object_id not in known:
            raise UsageError(
                f"object {one.object_id} has negative points alone: show where it is with a box "
                "or points"
            )


def _first(asked: AskTrack, places: list[int], film: Frames) -> int:
    """The frame at which to begin."""
    if asked.direction == "both" and not places and asked.start is None:
        raise UsageError("both directions with phrases alone: give start, where they begin")
    if asked.direction == "both" and places and asked.start is not None:
        raise UsageError("both directions begin where the first object is shown: leave start out")
    if asked.start is not None:
        first = asked.start
    elif asked.phrases and asked.direction != "both":  # which are looked for on all frames
        return last_frame(film) if asked.direction == "backward" else 0
    else:
        return max(places) if asked.direction == "backward" else min(places)
    if not asked.phrases:
        nearest = max(places) if asked.direction == "backward" else min(places)
        late = first > nearest if asked.direction == "backward" else first < nearest
        if late:
            raise UsageError(
                f"start {first}: no object is shown by then; one is on frame {nearest}"
            )
    return first
