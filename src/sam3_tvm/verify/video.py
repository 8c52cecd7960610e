"""Objects of a made film followed by both sides: ids, masks and scores compared, by frame."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.runtime.model import Model
from sam3_tvm.runtime.video.result import FrameResult
from sam3_tvm.sources.base import ConceptFrame, ShowSpec, VideoReferenceFrame
from sam3_tvm.verify.end_to_end import mask_iou
from sam3_tvm.verify.report import Bounds, FrameRow

__all__ = [
    "LEAST_FRAMES",
    "MOST_FRAMES",
    "compare_film",
    "film_of",
    "film_prompts",
    "frame_row",
    "other_choices",
]

LEAST_FRAMES = 3
"""Of a film in which :func:`film_prompts` are shown."""

MOST_FRAMES = 2000
"""All are held in memory, and what the reference answers of each."""


def film_of(rgb: NDArray[np.uint8], frames: int) -> list[NDArray[np.uint8]]:
    """A pan over a picture: two thirds of it a frame, from one corner to the opposite one.

    In the middle of the film a bar hides a part.
    """
    height, width = rgb.shape[:2]
    tall, wide = max(2 * height // 3, 1), max(2 * width // 3, 1)
    film = []
    for index in range(frames):
        part = index / max(frames - 1, 1)
        top, left = round(part * (height - tall)), round(part * (width - wide))
        frame = rgb[top : top + tall, left : left + wide].copy()
        if frames // 2 <= index < frames // 2 + 2:
            frame[:, wide // 3 : wide // 2] = (40, 44, 52)
        film.append(frame)
    return film


def film_prompts(size: tuple[int, int]) -> list[ShowSpec]:
    """What is shown in a film of at least three frames: by a box, points and a mask.

    Args:
        size: height and width of a frame, pixels.
    """
    height, width = size
    y, x = np.mgrid[:height, :width]
    disc = np.hypot((y + 0.5) / height - 0.6, (x + 0.5) / width - 0.4) < 0.2
    # Of a picture of a few pixels, too.
    disc[int(0.6 * height), int(0.4 * width)] = True
    box = (0.2 * width, 0.25 * height, 0.7 * width, 0.8 * height)
    # The later frame first: then the others' frame is the one that is followed from.
    return [
        ShowSpec(1, 2, box=box),
        ShowSpec(2, 0, ((0.5 * width, 0.5 * height), (0.1 * width, 0.1 * height)), (1, 0)),
        ShowSpec(3, 0, mask=disc),
    ]


def compare_film(
    model: Model,
    name: str,
    film: Sequence[NDArray[np.uint8]],
    prompts: Sequence[ShowSpec],
    wanted: Sequence[VideoReferenceFrame],
    bounds: Bounds,
) -> tuple[list[FrameRow], list[str]]:
    """Every frame of a film, beside the reference's answers.

    Returns:
        A row of each, and which objects aren't compared from a frame on, in words: those of which
        the other of two nearly equal masks was taken. What follows looks back on it.
    """
    rows: list[FrameRow] = []
    undecided: dict[int, str] = {}
    with model.track(list(film)) as session:
        for prompt in prompts:
            session.add(
                prompt.object_id,
                prompt.frame,
                points=list(prompt.points) or None,
                point_labels=list(prompt.labels) or None,
                box=prompt.box,
                mask=prompt.mask,
            )
        for result, reference in zip(session.propagate(), wanted, strict=True):
            for one, lead in other_choices(result, reference, bounds).items():
                undecided.setdefault(
                    one,
                    f"object {one} of {name} from frame {reference.index} on: of two masks the "
                    f"predicted IoUs differ by {lead:.1e}, which is within {bounds.margin:g}",
                )
            rows.append(frame_row(name, result, reference, bounds, without=undecided))
    return rows, [*undecided.values()]


def other_choices(
    result: FrameResult, wanted: VideoReferenceFrame, bounds: Bounds
) -> dict[int, float]:
    """Objects of which the reference's next best mask was taken, with its lead before that one,
    where this is within the margin of a score, as predicted IoUs are."""
    if result.objects != wanted.objects or wanted.leads is None or wanted.next_masks is None:
        return {}
    others = zip(result.masks, wanted.masks, wanted.next_masks, wanted.leads, strict=True)
    return {
        wanted.objects[row]: float(lead)
        for row, (ours, theirs, after, lead) in enumerate(others)
        if lead < bounds.margin and mask_iou(ours, theirs) < bounds.iou <= mask_iou(ours, after)
    }


def frame_row(
    name: str,
    result: FrameResult,
    wanted: VideoReferenceFrame | ConceptFrame,
    bounds: Bounds,
    masks: NDArray[np.bool_] | None = None,
    without: Collection[int] = (),
) -> FrameRow:
    """One frame of a film, beside the reference's answer.

    Args:
        name: the film's.
        result: the frame.
        wanted: the reference's.
        bounds: what is to be kept.
        masks: what of the frame's masks is compared, bool [N, H, W]; None for all.
        without: objects of which no more than the id is compared.
    """
    same = (result.index, result.objects) == (wanted.index, wanted.objects)
    ious, error, alike = np.zeros(1), float("inf"), False
    if same:
        rows = [row for row, one in enumerate(wanted.objects) if one not in without]
        ours = result.masks if masks is None else masks
        # Where there is no object there is nothing to differ.
        ious = np.array([mask_iou(ours[row], wanted.masks[row]) for row in rows] or [1.0])
        error = float(np.abs(result.scores - wanted.scores)[rows].max(initial=0.0))
        differing = [int((ours[row] != wanted.masks[row]).sum()) for row in rows] or [0]
        alike = bool(((ious >= bounds.iou) | (np.array(differing) <= bounds.pixels)).all())
    return FrameRow(
        film=name,
        frame=wanted.index,
        objects=result.objects,
        same_objects=same,
        areas=[float(mask.mean()) for mask in wanted.masks],
        iou_mean=float(ious.mean()),
        iou_min=float(ious.min()),
        score_error=error,
        ok=alike and error <= bounds.score,
    )
