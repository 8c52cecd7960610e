"""A model whose sessions follow colours: an object is what looks like the place it was shown at."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from sam3_tvm.runtime.pictures.arguments import PromptError
from sam3_tvm.runtime.pictures.masks import LazyMasks
from sam3_tvm.runtime.video.open import open_frames
from sam3_tvm.runtime.video.result import FrameResult

# How far a channel may lie from the object's, in 8-bit steps: made films are compressed a little.
_NEAR = 40


class FakeSession:
    """The part of :class:`sam3_tvm.TrackSession` that the command uses.

    Args:
        source: the film.
        watch: called with the number of each frame before it is passed.

    Attributes:
        log: what was asked, in order: ``("add", object, frame)`` and ``("frame", number)``.
    """

    def __init__(self, source, watch: Callable[[int], None]) -> None:
        self.frames = open_frames(source)
        self.log: list[tuple] = []
        self._colours: dict[int, np.ndarray] = {}
        self._watch = watch

    @property
    def objects(self) -> list[int]:
        return list(self._colours)

    def add(self, object_id, frame, points=None, point_labels=None, box=None, mask=None):
        self.log.append(("add", object_id, frame))
        rgb = self.frames.read(frame)
        if mask is not None:
            colour = rgb[mask].mean(0)
        else:
            on = [p for p, label in zip(points or [], point_labels or [], strict=True) if label]
            x, y = on[0] if on else ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            colour = rgb[int(y), int(x)]
        self._colours[object_id] = np.asarray(colour, np.float64)
        return self._result(frame, rgb, [object_id])

    def propagate(self, start, stop=None, reverse=False, passed=lambda index: None):
        if not self._colours:
            raise PromptError("no objects yet")
        if reverse:
            indices = range(start, -1 if stop is None else max(stop, -1), -1)
        else:
            indices = itertools.count(start) if stop is None else range(start, stop)
        for index in indices:
            self._watch(index)
            try:
                rgb = self.frames.read(index)
            except IndexError:
                if index == start:
                    raise PromptError(f"frame {index} is not in the film") from None
                return
            self.log.append(("frame", index))
            there = self.objects
            passed(index)
            yield self._result(index, rgb, there)

    def state(self):
        return {f"colour.{name}": colour for name, colour in self._colours.items()}

    def restore(self, state):
        self._colours = {int(name.partition(".")[2]): state[name] for name in state}

    def _result(self, index, rgb, objects):
        masks = np.array(
            [(np.abs(rgb - self._colours[name]) < _NEAR).all(-1) for name in objects], bool
        ).reshape(len(objects), *rgb.shape[:2])
        scores = masks.any((1, 2)).astype(np.float32)
        made = LazyMasks(rgb.shape[:2], None, made=masks)
        return FrameResult(index, objects, scores, made, rgb)


class FakeModel:
    """What ``sam3_tvm.load`` gives, of an artifact that exists only for its manifest.

    Attributes:
        watch: may be set; see :class:`FakeSession`.
        sessions: those that were made.
    """

    def __init__(self, artifact) -> None:
        self.manifest = artifact.manifest
        self.fingerprint = "fake"
        self.watch: Callable[[int], None] = lambda index: None
        self.sessions: list[FakeSession] = []

    def track(self, source, live=False):
        self.sessions.append(FakeSession(source, lambda index: self.watch(index)))
        return self.sessions[-1]
