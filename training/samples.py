"""Prompts for a scene, and what they ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.phrases import VISUAL, Concept, absent_concept, concepts
from training.scenes import Scene

__all__ = ["KINDS", "Prompt", "draw_prompts", "evaluation_prompts", "jittered_box"]

KINDS = ("text", "absent", "exemplar", "text+exemplar", "negative")
"""The kinds of prompts."""

_JITTER = 0.04  # standard deviation of a box's edges, of its width or height


@dataclass(frozen=True)
class Prompt:
    """A phrase and boxes, and the things that they ask for.

    Attributes:
        text: the phrase; "visual" where boxes stand alone.
        boxes: x0, y0, x1, y1 in pixels; float32 [N, 4].
        labels: 1 for a positive and 0 for a negative box; int64 [N].
        targets: indices into the scene's things, ascending; int64 [M], empty if absent.
        kind: one of ``KINDS``.
    """

    text: str
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    targets: NDArray[np.int64]
    kind: str


def jittered_box(scene: Scene, thing: int, rng: np.random.Generator) -> list[float]:
    """A thing's box as a hand would draw it, within the picture."""
    x0, y0, x1, y1 = scene.things[thing].box
    height, width = scene.image.shape[:2]
    scale = np.array([x1 - x0, y1 - y0, x1 - x0, y1 - y0])
    off = np.clip(rng.normal(0, _JITTER, 4), -2 * _JITTER, 2 * _JITTER)
    box = np.array([x0, y0, x1, y1]) + off * scale
    return list(np.clip(box, 0, [width, height, width, height]))


def _prompt(
    scene: Scene,
    rng: np.random.Generator,
    kind: str,
    text: str,
    targets: list[int],
    boxed: list[tuple[int, int]] | None = None,
) -> Prompt:
    """A prompt with boxes around the given (thing, label)."""
    boxed = boxed or []
    boxes = [jittered_box(scene, thing, rng) for thing, _ in boxed]
    return Prompt(
        text=text,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array([label for _, label in boxed], np.int64),
        targets=np.array(sorted(targets), np.int64),
        kind=kind,
    )


def _matching(scene: Scene, concept: Concept) -> list[int]:
    return [i for i, t in enumerate(scene.things) if concept.matches(t)]


def _draw_concepts(scene: Scene, rng: np.random.Generator, count: int) -> list[Concept]:
    """Different concepts that are there: mostly shapes, colours or both, some with a detail."""

    def weight(concept: Concept) -> float:
        if concept == Concept():
            return 0.3
        detailed = concept.size is not None or concept.filled is not None
        both = concept.shape is not None and concept.colour is not None
        return (0.4 if detailed else 1.0) * (1.5 if both else 1.0)

    present = concepts(scene, rng)
    weights = np.array([weight(c) for c in present])
    chosen = rng.choice(len(present), count, replace=False, p=weights / weights.sum())
    return [present[i] for i in chosen]


def _text(scene: Scene, rng: np.random.Generator, concept: Concept) -> Prompt:
    return _prompt(scene, rng, "text", concept.phrase(rng), _matching(scene, concept))


def _absent(scene: Scene, rng: np.random.Generator) -> Prompt:
    return _prompt(scene, rng, "absent", absent_concept(scene, rng).phrase(rng), [])


def _exemplar(scene: Scene, rng: np.random.Generator, several: bool) -> Prompt | None:
    """Boxes on one or two things of a kind; kinds with several instances come more often.

    If these only are wanted (``several``), there may be none.
    """
    kinds: dict[tuple[str, str], list[int]] = {}
    for i, t in enumerate(scene.things):
        kinds.setdefault(t.kind, []).append(i)
    choice = [c for c in kinds.values() if len(c) > 1 or not several]
    if not choice:
        return None
    weights = np.array([len(c) ** 2 if len(c) > 1 else 0.5 for c in choice])
    targets = choice[rng.choice(len(choice), p=weights / weights.sum())]
    count = 2 if len(targets) > 2 and rng.random() < 0.3 else 1
    boxed = [(int(i), 1) for i in rng.choice(targets, count, replace=False)]
    return _prompt(scene, rng, "exemplar", VISUAL, targets, boxed)


def _text_exemplar(scene: Scene, rng: np.random.Generator) -> Prompt:
    (concept,) = _draw_concepts(scene, rng, 1)
    targets = _matching(scene, concept)
    boxed = [(int(rng.choice(targets)), 1)]
    return _prompt(scene, rng, "text+exemplar", concept.phrase(rng), targets, boxed)


def _negative(scene: Scene, rng: np.random.Generator) -> Prompt | None:
    """A phrase for several kinds, and a box around one that isn't meant."""
    choice = []
    # Of a shape, of a colour or of all; sizes and outlines are no part of a kind.
    wide = {Concept(), *(Concept(t.shape) for t in scene.things)}
    wide |= {Concept(None, t.colour) for t in scene.things}
    for concept in (c for c in concepts(scene, rng) if c in wide):
        matching = _matching(scene, concept)
        if len({scene.things[i].kind for i in matching}) > 1:
            # "everything" is always possible and would crowd out the others.
            choice.append((0.2 if concept == Concept() else 1.0, concept, matching))
    if not choice:
        return None
    weights = np.array([weight for weight, _, _ in choice])
    _, concept, matching = choice[rng.choice(len(choice), p=weights / weights.sum())]
    kinds = sorted({scene.things[i].kind for i in matching})
    unwanted = kinds[rng.integers(len(kinds))]
    away = [i for i in matching if scene.things[i].kind == unwanted]
    targets = [i for i in matching if scene.things[i].kind != unwanted]
    boxed = [(int(rng.choice(away)), 0)]
    if rng.random() < 0.3:
        boxed.insert(int(rng.integers(2)), (int(rng.choice(targets)), 1))
    return _prompt(scene, rng, "negative", concept.phrase(rng), targets, boxed)


def _draw(scene: Scene, rng: np.random.Generator, kind: str) -> Prompt:
    prompt: Prompt | None = None
    if kind == "absent":
        prompt = _absent(scene, rng)
    elif kind == "exemplar":
        prompt = _exemplar(scene, rng, several=False)
    elif kind == "text+exemplar":
        prompt = _text_exemplar(scene, rng)
    elif kind == "negative":
        prompt = _negative(scene, rng)
    return prompt or _text(scene, rng, *_draw_concepts(scene, rng, 1))


def draw_prompts(
    scene: Scene, rng: np.random.Generator, count: int, mix: Mapping[str, float]
) -> list[Prompt]:
    """Draw prompts for a scene.

    - ``text``: a phrase, and all the things that it describes.
    - ``absent``: a phrase that describes nothing in the scene.
    - ``exemplar``: the phrase "visual" and one or two positive boxes around things of one
      kind, which means all things of the same colour and shape, whatever their size and
      whether filled or not.
    - ``text+exemplar``: a phrase, and a positive box around one of the things it describes.
    - ``negative``: a phrase for several kinds and a negative box around a thing of one of
      them, which means the others; sometimes with a positive box around one of these.

    Boxes are off by some percent, as if drawn by hand.

    Args:
        scene: what to ask about.
        rng: where chance comes from.
        count: number of prompts.
        mix: how often each kind comes, in any unit; kinds that are left out do not come.

    Returns:
        ``count`` prompts. A scene of one kind of things only has nothing to leave out: a
        text prompt stands in for its negative ones.

    Raises:
        ValueError: an unknown kind, a negative weight, or no weight above zero.
    """
    unknown = sorted(set(mix) - set(KINDS))
    if unknown:
        raise ValueError(f"unknown kinds of prompts {unknown}; there are {list(KINDS)}")
    weights = np.array([mix.get(kind, 0.0) for kind in KINDS], float)
    if weights.min() < 0 or weights.sum() == 0:
        raise ValueError(f"weights of prompts are positive or zero, and not all zero: {mix}")
    kinds = rng.choice(len(KINDS), count, p=weights / weights.sum())
    return [_draw(scene, rng, KINDS[k]) for k in kinds]


def evaluation_prompts(scene: Scene, rng: np.random.Generator) -> list[Prompt]:
    """The prompts that a scene is evaluated with.

    Two different concepts by text; one that is absent; one exemplar, if a kind has other
    instances to be found; one negative box, if a phrase means several kinds.

    Args:
        scene: what to ask about.
        rng: where chance comes from.
    """
    prompts = [_text(scene, rng, concept) for concept in _draw_concepts(scene, rng, 2)]
    others = _absent(scene, rng), _exemplar(scene, rng, several=True), _negative(scene, rng)
    return [*prompts, *(prompt for prompt in others if prompt is not None)]
