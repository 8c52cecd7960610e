"""What an example on another picture is worth: pairs of held-out scenes, measured.

Of each pair the one scene has the example, and the other is searched. There are as many pairs
whose other scene has things of the kind as pairs whose other scene has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.evaluate.metrics import Counts, Figures, count, figures, match
from sam3_tvm.progress import Progress, silent
from training.dataset import STREAM
from training.phrases import Concept
from training.samples import jittered_box
from training.scenes import Scene, draw_scene

if TYPE_CHECKING:
    from sam3_tvm import Exemplar, Model, Result

__all__ = ["WAYS", "Measured", "measure"]

WAYS = {
    "own picture": "the example is on the picture that is searched",
    "canvas": "both pictures side by side, encoded as one",
    "tokens alone": "one example on another picture, nothing asked back",
    "like": "one example: --like",
    "like 2": "two examples, on two pictures",
    "like 3": "three examples, on three pictures",
    "like, unlike": "one example, and one of a kind that is there and is not meant",
    "phrase": "a phrase alone",
    "phrase, like": "a phrase and one example",
    "phrase, like 3": "a phrase and three examples",
}
"""What is measured, and in words."""

_SIZE = 192
_MOST = 3  # examples of a kind


@dataclass
class Measured:
    """Outcomes of one way to ask.

    Attributes:
        present: of pairs whose other scene has the kind.
        absent: of those where it hasn't.
    """

    present: list[Counts] = field(default_factory=list)
    absent: list[Counts] = field(default_factory=list)

    def figures(self) -> tuple[Figures, Figures]:
        """Those of present and of absent kinds."""
        return figures(self.present), figures(self.absent)


class _Scenes:
    """Held-out scenes, drawn and encoded when they are first asked for."""

    def __init__(self, model: Model, seed: int) -> None:
        self._model = model
        self._seed = seed
        self._drawn: list[Scene] = []
        self._encoded: dict[int, Any] = {}

    def __getitem__(self, number: int) -> Scene:
        while len(self._drawn) <= number:
            rng = np.random.default_rng([STREAM, self._seed, len(self._drawn)])
            self._drawn.append(draw_scene(rng, _SIZE, held_out=True))
        return self._drawn[number]

    def encoded(self, number: int) -> Any:
        if number not in self._encoded:
            self._encoded[number] = self._model.encode_image(self[number].image)
        return self._encoded[number]


def measure(
    model: Model,
    pairs: int,
    seed: int = 1,
    ways: Iterable[str] = WAYS,
    progress: Progress = silent,
) -> dict[str, Measured]:
    """Search scenes for what examples on others show.

    Args:
        model: an artifact of the demonstration model.
        pairs: so many with the kind, and so many without.
        seed: of the scenes and of what is asked.
        ways: keys of ``WAYS``.
        progress: told of every pair.

    Returns:
        By the ways' names what came out, at a threshold of 0.5. ``own picture`` has no absent
        kinds: an example is one.
    """
    scenes = _Scenes(model, seed)
    pool = max(200, 2 * pairs)
    found = {way: Measured() for way in ways}
    for number in range(2 * pairs):
        progress("pairs", number, 2 * pairs)
        present = number < pairs
        pair = _Pair(model, scenes, pool, np.random.default_rng([seed, number]), present)
        for way, measured in found.items():
            result = pair.ask(way)
            if result is not None:
                outcome = _outcome(result, pair.targets)
                (measured.present if present else measured.absent).append(outcome)
    return found


class _Pair:
    """Examples of a kind on some scenes, and a scene to be searched."""

    def __init__(
        self, model: Model, scenes: _Scenes, pool: int, rng: np.random.Generator, present: bool
    ) -> None:
        self._model, self._scenes, self._rng = model, scenes, rng
        while True:
            order = rng.permutation(pool).tolist()
            first = scenes[order[0]]
            kind = first.things[int(rng.integers(len(first.things)))].kind
            having = [i for i in order if any(t.kind == kind for t in scenes[i].things)]
            others = [i for i in order[1:] if (i in having) == present]
            if others and len(having) > _MOST + present:
                break
        self._kind, self.other = kind, others[0]
        self._shown = [(i, self._box(i, kind)) for i in having if i != self.other][:_MOST]
        self._things = scenes[self.other].things
        self.targets = [t.mask for t in self._things if t.kind == kind]
        self._phrase = Concept(kind[1], kind[0]).phrase(rng)
        self._unmeant = self._other_kind(pool)
        self._made: list[Exemplar] = []

    def _box(self, scene: int, kind: tuple[str, str]) -> list[float]:
        chosen = [i for i, t in enumerate(self._scenes[scene].things) if t.kind == kind]
        return jittered_box(self._scenes[scene], int(self._rng.choice(chosen)), self._rng)

    def _other_kind(self, pool: int) -> tuple[int, list[float]] | None:
        """A thing, on a third scene, of another kind that the searched scene has; rather of one
        that has the colour or the shape of what is meant."""
        kinds = sorted({t.kind for t in self._things} - {self._kind})
        near = [k for k in kinds if k[0] == self._kind[0] or k[1] == self._kind[1]]
        for kind in self._rng.permutation(near or kinds).tolist():
            for i in range(pool):
                if i != self.other and any(t.kind == tuple(kind) for t in self._scenes[i].things):
                    return i, self._box(i, tuple(kind))
        return None

    def _like(self, count: int) -> list[Exemplar]:
        for i, box in self._shown[len(self._made) : count]:
            self._made.append(self._model.exemplar(self._scenes.encoded(i), [box]))
        return self._made[:count]

    def ask(self, way: str) -> Result | None:
        """What one of ``WAYS`` finds; None where it can't be asked."""
        model, image = self._model, self._scenes.encoded(self.other)
        ways: dict[str, Callable[[], Result]] = {
            "tokens alone": lambda: model.segment(
                image, model.manifest.source.reference.visual_text, like=self._like(1)
            ),
            "like": lambda: model.segment(image, like=self._like(1)),
            "like 2": lambda: model.segment(image, like=self._like(2)),
            "like 3": lambda: model.segment(image, like=self._like(3)),
            "phrase": lambda: model.segment(image, self._phrase),
            "phrase, like": lambda: model.segment(image, self._phrase, like=self._like(1)),
            "phrase, like 3": lambda: model.segment(image, self._phrase, like=self._like(3)),
        }
        if way in ways:
            return ways[way]()
        if way == "like, unlike":
            if self._unmeant is None:
                return model.segment(image, like=self._like(1))
            scene, box = self._unmeant
            unlike = model.exemplar(self._scenes.encoded(scene), [box], [0])
            return model.segment(image, like=[*self._like(1), unlike])
        if way == "canvas":
            return self._on_a_canvas()
        assert way == "own picture"
        if not self.targets:
            return None
        return model.segment(image, boxes=[self._box(self.other, self._kind)])

    def _on_a_canvas(self) -> Result:
        """What is found on the right half of a canvas whose left half has the example."""
        shown, box = self._shown[0]
        both = np.concatenate([self._scenes[shown].image, self._scenes[self.other].image], 1)
        found = self._model.segment(both, boxes=[box])
        right = np.array([mask[:, _SIZE:].sum() > mask[:, :_SIZE].sum() for mask in found.masks])
        return found[right] if len(found) else found


def _outcome(result: Result, targets: list[NDArray[np.bool_]]) -> Counts:
    # Of a canvas the right half.
    masks = result.masks[:, :, -_SIZE:].reshape(len(result), _SIZE * _SIZE).astype(np.float64)
    wanted = np.array(targets, np.float64).reshape(len(targets), _SIZE * _SIZE)
    both = masks @ wanted.T
    either = masks.sum(1)[:, None] + wanted.sum(1)[None] - both
    iou = both / np.maximum(either, 1)
    return count(iou, match(iou), np.zeros(len(masks)))
