"""Batches of clips and prompts. A batch depends on the seed, its number and the plan alone.

Nothing here needs torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.tracking.clips import HIDDEN, SEEN, Clip, Track, draw_clip
from training.tracking.motion import SPAN

__all__ = ["KINDS", "ClipBatch", "ClipDrawing", "ClipPlan", "show_roughly"]

KINDS = ("mask", "box", "click", "clicks")
"""How objects are shown on a clip's first frame: all of a batch in one way."""

_LARGEST = 1.5  # clips are drawn at up to this many times the model's size, then reduced
_LONGEST = 8  # frames of the film from one of a batch's to the next
_EVENTFUL = 0.6  # of the clips: something is hidden, or leaves
_TRIES = 8  # to draw such a clip
_PLAIN = 0.5  # what is shown is visible at least so far on the first frame
_ROUGHNESS = 0.35  # standard deviation of where the edge of a rough mask lies, of its blur
_JITTER = 0.04  # standard deviation of a box's edges, of its width or height


@dataclass(frozen=True)
class ClipPlan:
    """What a batch consists of.

    Attributes:
        clips: clips in a batch, or pictures.
        frames: of each.
        objects: that are followed in each; one may come twice.
        mix: how often each of ``KINDS`` comes.
        again: how often objects are shown again on a later frame.
    """

    clips: int
    frames: int
    objects: int
    mix: Mapping[str, float]
    again: float = 0.0


@dataclass(frozen=True)
class ClipBatch:
    """C clips of T frames with N objects in all. G is the side of the mask grid.

    Attributes:
        pixels: 8-bit RGB [C, T, 3, I, I].
        clip: the clip of each object; int64 [N].
        masks: what part of each cell an object covers, 255 for all; uint8 [N, T, G, G].
        seen: 1 where it is seen, 0 where it isn't, -1 in between; int8 [N, T].
        kind: how the objects are shown, one of ``KINDS``.
        shown: masks that show them, as a detector gives them; bool [N, T, G, G].
        points: what shows them without a mask, as fractions; float32 [N, P, 2].
        labels: of the points: 1 on the object, 0 beside it, 2 and 3 for a box; int64 [N, P].
        again: the frame, neither the first nor the last, on which all are seen and shown again by a
            mask; 0 for none.
    """

    pixels: NDArray[np.uint8]
    clip: NDArray[np.int64]
    masks: NDArray[np.uint8]
    seen: NDArray[np.int8]
    kind: str
    shown: NDArray[np.bool_]
    points: NDArray[np.float32]
    labels: NDArray[np.int64]
    again: int


def _reduced(mask: NDArray[np.bool_], grid: int) -> NDArray[np.uint8]:
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(image.resize((grid, grid), Image.Resampling.BOX))


def show_roughly(rng: np.random.Generator, cover: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """A mask with an edge that is a little off, as a detector's.

    Args:
        rng: where chance comes from.
        cover: what part of each cell an object covers, 255 for all; uint8 [G, G].
    """
    grid = len(cover)
    padded = np.pad(cover.astype(np.float32) / 255, 1, mode="edge")
    blurred = sum(padded[y : y + grid, x : x + grid] for y in range(3) for x in range(3)) / 9
    coarse = Image.fromarray(rng.standard_normal((grid // 4, grid // 4), np.float32))
    wave = np.asarray(coarse.resize((grid, grid), Image.Resampling.BICUBIC))
    edge = 0.5 + _ROUGHNESS * rng.uniform() * (0.5 * wave + 0.5 * rng.uniform(-1, 1))
    rough = blurred >= np.clip(edge, 0.15, 0.85)
    return np.asarray(rough if rough.any() or not cover.any() else cover > 127)


def _inside(rng: np.random.Generator, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A place in a mask, as fractions of its sides; where one would click, half of the time."""
    rows, columns = np.nonzero(mask)
    if rng.random() < 0.5:
        # The place in the mask that is nearest to the middle.
        far = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
        chosen = int(far.argmin())
    else:
        chosen = int(rng.integers(len(rows)))
    place = np.array([columns[chosen], rows[chosen]]) + 0.5
    return np.asarray(place / mask.shape[::-1], np.float32)


def _box(rng: np.random.Generator, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Corners of a mask's box as a hand would draw it, as fractions; float32 [2, 2]."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    low, high = np.array([columns[0], rows[0]]), np.array([columns[-1] + 1, rows[-1] + 1])
    off = np.clip(rng.normal(0, _JITTER, (2, 2)), -2 * _JITTER, 2 * _JITTER) * (high - low)
    corners = (np.stack([low, high]) + off) / mask.shape[::-1]
    return np.clip(corners, 0, 1).astype(np.float32)


def _prompt(
    rng: np.random.Generator, kind: str, mask: NDArray[np.bool_], count: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Points and labels that show an object: ``count`` of them, but for a box."""
    if kind == "box":
        return _box(rng, mask), np.array([2, 3], np.int64)
    points, labels = [_inside(rng, mask)], [1]
    for _ in range(count - 1):
        beside = rng.random() < 0.5 and not mask.all()
        points.append(_inside(rng, ~mask if beside else mask))
        labels.append(int(not beside))
    return np.stack(points), np.array(labels, np.int64)


class ClipDrawing:
    """Draws the batches of a run.

    Args:
        image: side of the model's picture in pixels.
        grid: side of the model's masks in cells.
        seed: of the run.
    """

    def __init__(self, image: int, grid: int, seed: int) -> None:
        self._image, self._grid, self._seed = image, grid, seed

    def _clip(self, rng: np.random.Generator, frames: int) -> tuple[Clip, list[Track]]:
        """A clip, and what is there to be shown on its first frame; if something of that is hidden
        or leaves, only such things."""
        eventful = frames > 1 and rng.random() < _EVENTFUL
        for tried in itertools.count():
            step = rng.uniform(1.0, min(_LONGEST, SPAN / frames - 0.1))
            times = rng.uniform(0, SPAN - step * frames) + step * np.arange(frames)
            size = int(rng.integers(self._image, int(_LARGEST * self._image)))
            clip = draw_clip(rng, size, times.tolist())
            there = [track for track in clip.tracks if track.visible[0] >= _PLAIN]
            away = [track for track in there if track.visible.min() <= HIDDEN]
            if there and (away or not eventful or tried >= _TRIES):
                return clip, away if eventful and away else there
        raise AssertionError("drawing ends")

    def batch(self, number: int, plan: ClipPlan) -> ClipBatch:
        """Batch ``number`` (from 0) of the run."""
        rng = np.random.default_rng([self._seed, 2, number])
        weights = np.array([plan.mix.get(kind, 0.0) for kind in KINDS])
        kind = KINDS[rng.choice(len(KINDS), p=weights / weights.sum())]
        count = int(rng.integers(2, 4)) if kind == "clicks" else 1
        pixels, owners, masks, seen, shown, points, labels = [], [], [], [], [], [], []
        for index in range(plan.clips):
            clip, there = self._clip(rng, plan.frames)
            pixels.append([self._pixels(frame) for frame in clip.frames])
            order = [int(i) for i in rng.permutation(len(there))]
            for place in range(plan.objects):
                track = there[order[place % len(order)]]
                covers = np.stack([_reduced(mask, self._grid) for mask in track.masks])
                there_at_all = (track.visible >= SEEN).astype(np.int8)
                between = (track.visible > HIDDEN) & (track.visible < SEEN)
                owners.append(index)
                masks.append(covers)
                seen.append(np.where(between, np.int8(-1), there_at_all))
                shown.append(np.stack([show_roughly(rng, cover) for cover in covers]))
                clicked = _prompt(rng, kind, track.masks[0], count)
                points.append(clicked[0])
                labels.append(clicked[1])
        # A frame that all can be shown on: what a memory is to one object it is to all of a batch.
        plain = 1 + np.flatnonzero((np.stack(seen)[:, 1:-1] == 1).all(axis=0))
        later = rng.random() < plan.again and len(plain) > 0
        return ClipBatch(
            pixels=np.array(pixels, np.uint8),
            clip=np.array(owners, np.int64),
            masks=np.stack(masks),
            seen=np.stack(seen),
            kind=kind,
            shown=np.stack(shown),
            points=np.stack(points),
            labels=np.stack(labels),
            again=int(rng.choice(plain)) if later else 0,
        )

    def _pixels(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        picture = Image.fromarray(frame)
        if picture.size != (self._image, self._image):
            picture = picture.resize((self._image, self._image), Image.Resampling.BILINEAR)
        return np.asarray(picture).transpose(2, 0, 1)
