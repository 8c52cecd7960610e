"""A compiled model on clips that were drawn from another seed: by phrase, and through clicks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

import sam3_tvm
from training.phrases import Concept, absent_concept, concepts
from training.tracking.clips import HIDDEN, SEEN, Clip, Track, draw_clip
from training.tracking.motion import SPAN

__all__ = ["WAYS", "Case", "Measured", "draw_case", "evaluate", "figures", "measure"]

WAYS = ("phrase", "click", "box")
"""How objects are shown: all of a kind by a phrase; each by a click or a box on the first frame on
which it is plain to see."""

SIZE = 192
"""Side of the clips' frames, pixels."""

_FOUND = 0.5
_PLAIN = 0.75
_SAME = 0.5  # of a mask lies in what is hardly seen: then nothing is held against it

Masks = Mapping[int, NDArray[np.bool_]]
"""What was found on a frame: masks, bool [H, W], by the ids of objects."""


@dataclass(frozen=True)
class Case:
    """A clip and what is asked of it.

    Attributes:
        clip: the clip.
        phrase: for some of its things, by kind.
        targets: which of the clip's tracks these are.
        absent: a phrase for what is on none of its frames.
    """

    clip: Clip
    phrase: str
    targets: tuple[int, ...]
    absent: str


def _named(concept: Concept) -> bool:
    """Whether no bar could be meant."""
    return concept.shape is not None or concept.colour is not None


def draw_case(seed: int, number: int) -> Case:
    """Clip ``number`` of those that a seed gives, with its phrases."""
    rng = np.random.default_rng([seed, 3, number])
    clip = draw_clip(rng, SIZE, range(SPAN), held_out=True)
    scene = clip.cast
    concept = next(c for c in concepts(scene, rng) if _named(c))
    while True:
        absent = absent_concept(scene, rng)
        if absent.shape is not None:
            break
    targets = tuple(i for i, t in enumerate(clip.tracks) if concept.matches(t.thing))
    return Case(clip, concept.phrase(rng), targets, absent.phrase(rng))


@dataclass(frozen=True)
class Measured:
    """What became of some objects of a clip.

    Attributes:
        ious: of each object and frame on which it is seen, its track's mask's, one track for the
            whole clip; float64 [K].
        ious_by_frame: the same whatever the track, frame by frame; float64 [K].
        objects: how many there are.
        switches: identity switches (CLEAR MOT).
        sequence: what HOTA is computed from.
    """

    ious: NDArray[np.float64]
    ious_by_frame: NDArray[np.float64]
    objects: int
    switches: int
    sequence: Mapping[str, Any]


def measure(tracks: Sequence[Track], found: Sequence[Masks]) -> Measured:
    """Hold tracks against what was found.

    Args:
        tracks: the objects, on T frames.
        found: on each of these.
    """
    names = sorted({name for masks in found for name in masks})
    overlaps = np.zeros((len(tracks), len(names), len(found)))
    frames: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    for index, masks in enumerate(found):
        seen = np.array([t.visible[index] >= SEEN for t in tracks], bool)
        hardly = [
            t.masks[index] for t in tracks if HIDDEN < t.visible[index] < SEEN and len(t.masks)
        ]
        kept = []
        for name, mask in masks.items():
            iou = [_iou(t.masks[index], mask) for t in tracks]
            overlaps[:, names.index(name), index] = iou
            doubtful = any((mask & other).sum() > _SAME * mask.sum() for other in hardly)
            if mask.any() and not (doubtful and max(np.array(iou) * seen, default=0) < _SAME):
                kept.append((names.index(name), iou))
        wanted = np.flatnonzero(seen)
        scores = np.array([iou for _, iou in kept]).reshape(len(kept), len(tracks)).T[wanted]
        frames.append((wanted, np.array([n for n, _ in kept], np.int64), scores))
    counted = np.array([t.visible >= SEEN for t in tracks]).reshape(len(tracks), len(found))
    held = overlaps * counted[:, None]
    own, by_frame = np.zeros(counted.shape), np.zeros(counted.shape)
    for row, column in zip(*linear_sum_assignment(-held.sum(2)), strict=True):
        own[row] = overlaps[row, column]
    for index in range(len(found)):
        for row, column in zip(*linear_sum_assignment(-held[:, :, index]), strict=True):
            by_frame[row, index] = overlaps[row, column, index]
    sequence = _sequence(len(tracks), len(names), frames)
    return Measured(own[counted], by_frame[counted], len(tracks), _switches(sequence), sequence)


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    union = int((one | other).sum())
    return float((one & other).sum() / union) if union else 0.0


def _sequence(tracks: int, names: int, frames: Sequence[tuple[Any, Any, Any]]) -> dict[str, Any]:
    """As TrackEval takes it."""
    return {
        "num_timesteps": len(frames),
        "num_gt_ids": tracks,
        "num_tracker_ids": names,
        "num_gt_dets": sum(len(wanted) for wanted, _, _ in frames),
        "num_tracker_dets": sum(len(given) for _, given, _ in frames),
        "gt_ids": [wanted for wanted, _, _ in frames],
        "tracker_ids": [given for _, given, _ in frames],
        "similarity_scores": [scores for _, _, scores in frames],
    }


@cache
def _metrics() -> tuple[Any, Any]:
    from trackeval.metrics import CLEAR, HOTA

    return HOTA(), CLEAR({"PRINT_CONFIG": False})


def _switches(sequence: Mapping[str, Any]) -> int:
    return int(_metrics()[1].eval_sequence(sequence)["IDSW"])


def figures(measured: Sequence[Measured]) -> dict[str, float]:
    """The figures of some clips: J, on how many of the frames it is 0.5 or more ("found") and what
    it is on these, identity switches, and HOTA with its two parts."""
    hota = _metrics()[0]
    parts = {str(n): hota.eval_sequence(one.sequence) for n, one in enumerate(measured)}
    whole = hota.combine_sequences(parts)
    ious = np.concatenate([one.ious for one in measured])
    by_frame = np.concatenate([one.ious_by_frame for one in measured])
    objects = sum(one.objects for one in measured)
    found = ious >= _FOUND
    return {
        "objects": objects,
        "object_frames": len(ious),
        "j": float(ious.mean()),
        "j_by_frame": float(by_frame.mean()),
        "found": float(found.mean()),
        "j_found": float(ious[found].mean()) if found.any() else 0.0,
        "switches_per_object": sum(one.switches for one in measured) / objects,
        "hota": float(whole["HOTA"].mean()),
        "deta": float(whole["DetA"].mean()),
        "assa": float(whole["AssA"].mean()),
    }


def _by_phrase(model: Any, case: Case) -> tuple[Measured, bool]:
    """And whether the phrase for what isn't there found nothing on any frame."""
    silent = True
    found: list[Masks] = []
    with model.track(case.clip.frames) as session:
        session.add_text(case.phrase)
        session.add_text(case.absent)
        for frame in session.propagate():
            silent &= case.absent not in frame.phrases
            of = zip(frame.objects, frame.phrases, frame.masks, strict=True)
            found.append({name: mask for name, said, mask in of if said == case.phrase})
    return measure([case.clip.tracks[i] for i in case.targets], found), silent


def _shown(model: Any, case: Case) -> dict[str, Measured]:
    """Each of the clip's things followed from where it is plain to see on, in each way.

    All in one session: objects that are shown don't depend on each other.
    """
    begins = [
        int(np.argmax(track.visible >= min(_PLAIN, track.visible.max())))
        for track in case.clip.tracks
    ]
    count = len(begins)
    found: list[list[dict[int, NDArray[np.bool_]]]] = [
        [{} for _ in case.clip.frames] for _ in WAYS[1:]
    ]
    with model.track(case.clip.frames) as session:
        for place, way in enumerate(WAYS[1:]):
            for number, (track, begin) in enumerate(zip(case.clip.tracks, begins, strict=True)):
                name = place * count + number
                session.add(name, begin, **_prompt(track.masks[begin], way))
        for frame in session.propagate():
            for name, mask in zip(frame.objects, frame.masks, strict=True):
                place, number = divmod(name, count)
                if frame.index >= begins[number] and mask.any():
                    found[place][frame.index][number] = mask
    tracks = [
        Track(track.thing, track.masks, np.where(np.arange(SPAN) < begin, 0, track.visible))
        for track, begin in zip(case.clip.tracks, begins, strict=True)
    ]
    return {way: measure(tracks, own) for way, own in zip(WAYS[1:], found, strict=True)}


def _prompt(mask: NDArray[np.bool_], way: str) -> dict[str, Any]:
    """A click on the pixel of a mask that is nearest to its middle, or its box."""
    rows, columns = np.nonzero(mask)
    if way == "box":
        low, high = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
        return {"box": [int(v) for v in (*low, *high)]}
    nearest = int(((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin())
    return {"points": [[float(columns[nearest]), float(rows[nearest])]]}


_Result = tuple[dict[str, Measured], bool]


def _clip(artifact: str, seed: int, number: int) -> _Result:
    model, case = _loaded(artifact), draw_case(seed, number)
    phrase, silent = _by_phrase(model, case)
    return {"phrase": phrase, **_shown(model, case)}, silent


@cache
def _loaded(artifact: str) -> Any:
    return sam3_tvm.load(artifact)


def _results(artifact: Path, seed: int, numbers: Sequence[int], jobs: int) -> Iterator[_Result]:
    if jobs == 1:
        yield from (_clip(str(artifact), seed, number) for number in numbers)
        return
    os.environ.setdefault("TVM_NUM_THREADS", "1")
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        work = [pool.submit(_clip, str(artifact), seed, number) for number in numbers]
        for one in work:
            yield one.result()


def evaluate(
    artifact: Path,
    clips: int,
    seed: int,
    jobs: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Measure an artifact.

    Args:
        artifact: compiled from the checkpoint.
        clips: how many clips.
        seed: of the clips; not the training's.
        jobs: processes that share the work.
        progress: hears how many clips are done.

    Returns:
        What ``training.tracking.report`` prints.
    """
    from importlib.metadata import version

    results: list[_Result] = []
    for result in _results(artifact, seed, range(clips), jobs):
        results.append(result)
        progress(len(results), clips)
    return {
        "clips": clips,
        "frames": SPAN,
        "seed": seed,
        "figures": {way: figures([one[0][way] for one in results]) for way in WAYS},
        "absent": {"phrases": clips, "silent": sum(silent for _, silent in results)},
        "library": f"TrackEval {version('trackeval')}",
    }
