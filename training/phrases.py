"""Concepts, such as "small red circle", and the ways to say them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.scenes import COLOURS, HELD_OUT, SHAPES, Scene, Thing
from training.shapes import OUTLINED

__all__ = ["VISUAL", "Concept", "absent_concept", "all_phrases", "concepts"]

VISUAL = "visual"
"""The phrase that goes with boxes alone, as in SAM 3."""

# One and several; the first is the usual word.
_NOUNS: dict[str | None, list[tuple[str, str]]] = {
    "circle": [("circle", "circles"), ("disc", "discs"), ("disk", "disks")],
    "square": [("square", "squares"), ("box", "boxes")],
    "triangle": [("triangle", "triangles")],
    "star": [("star", "stars")],
    "ring": [("ring", "rings"), ("hoop", "hoops")],
    "cross": [("cross", "crosses"), ("plus sign", "plus signs"), ("plus", "pluses")],
    "diamond": [("diamond", "diamonds"), ("rhombus", "rhombuses")],
    "heart": [("heart", "hearts")],
    "hexagon": [("hexagon", "hexagons")],
    "crescent": [("crescent", "crescents"), ("moon", "moons"), ("crescent moon", "crescent moons")],
    None: [("shape", "shapes"), ("thing", "things"), ("object", "objects")],
}
_COLOURS: dict[str | None, list[str]] = {
    None: [""],
    **{c: [c] for c in COLOURS},
    "purple": ["purple", "violet"],
    "grey": ["grey", "gray"],
    "cyan": ["cyan", "turquoise"],
}
_SIZES: dict[str | None, list[str]] = {
    None: [""],
    "small": ["small", "little", "tiny"],
    "medium": ["medium", "medium-sized"],
    "large": ["large", "big", "huge"],
}
_FILLED: dict[bool | None, list[str]] = {
    None: [""],
    True: ["filled", "solid"],
    False: ["outlined", "hollow"],
}
_SINGULAR = ["{}", "a {}", "the {}", "every {}"]
_PLURAL = ["{}", "the {}", "all {}", "all the {}"]


@dataclass(frozen=True)
class Concept:
    """What a phrase means: the things of a shape, a colour, a size, filled or not.

    None leaves open what it stands for. ``filled`` goes with shapes that occur both ways.
    """

    shape: str | None = None
    colour: str | None = None
    size: str | None = None
    filled: bool | None = None

    def matches(self, thing: Thing) -> bool:
        """Whether a thing belongs to the concept."""
        return (
            self.shape in (None, thing.shape)
            and self.colour in (None, thing.colour)
            and self.size in (None, thing.size)
            and self.filled in (None, thing.filled)
        )

    def phrase(self, rng: np.random.Generator) -> str:
        """One of the ways to say it; the usual words come most often."""

        def pick(words: list[str]) -> str:
            usual = rng.random() < 0.6
            return words[0 if usual else int(rng.integers(len(words)))]

        adjectives = [
            pick(words)
            for words in (_SIZES[self.size], _FILLED[self.filled], _COLOURS[self.colour])
        ]
        if self.shape is None and rng.random() < 0.4:
            described = " ".join(filter(None, adjectives))
            every = "everything" if rng.random() < 0.75 else "anything"
            return f"{every} {described}".strip()
        nouns = _NOUNS[self.shape]
        singular, plural = nouns[0 if rng.random() < 0.6 else int(rng.integers(len(nouns)))]
        # "shape" alone asks for no shape in particular: "shapes" is what one says.
        several = rng.random() < (0.8 if self.shape is None else 0.35)
        frame = pick(_PLURAL if several else _SINGULAR)
        return _join(frame, adjectives, plural if several else singular)


def _join(frame: str, adjectives: list[str], noun: str) -> str:
    phrase = frame.format(" ".join(filter(None, [*adjectives, noun])))
    return "an " + phrase[2:] if phrase.startswith("a ") and phrase[2] in "aeiou" else phrase


def _hollowable(shape: str | None) -> bool:
    return shape in OUTLINED


def all_phrases() -> Iterator[str]:
    """Every phrase of the grammar, and the one that goes with boxes alone."""
    yield VISUAL
    details = [(s, None) for s in _SIZES] + [(None, f) for f in _FILLED if f is not None]
    for (size, filled), colour, shape in itertools.product(details, _COLOURS, _NOUNS):
        if filled is not None and not _hollowable(shape):
            continue
        words = itertools.product(_SIZES[size], _FILLED[filled], _COLOURS[colour])
        for adjectives in map(list, words):
            if shape is None:
                described = " ".join(filter(None, adjectives))
                yield f"everything {described}".strip()
                yield f"anything {described}".strip()
            for singular, plural in _NOUNS[shape]:
                yield from (_join(frame, adjectives, singular) for frame in _SINGULAR)
                yield from (_join(frame, adjectives, plural) for frame in _PLURAL)


def concepts(scene: Scene, rng: np.random.Generator) -> list[Concept]:
    """What one may ask for in a scene.

    Returns:
        Concepts that one or more things belong to, each once, in random order. Sizes are
        among them where things of several sizes are there to compare, "filled" and
        "outlined" with shapes that occur both ways.
    """
    sizes = {t.size for t in scene.things}
    found: dict[Concept, None] = {Concept(): None}
    for t in scene.things:
        found |= dict.fromkeys([Concept(t.shape), Concept(None, t.colour)])
        found[Concept(t.shape, t.colour)] = None
        if len(sizes) > 1:
            found[Concept(None, None, t.size)] = None
            found[Concept(t.shape, None, t.size)] = None
            found[Concept(None, t.colour, t.size)] = None
            found[Concept(t.shape, t.colour, t.size)] = None
        if _hollowable(t.shape):
            found[Concept(t.shape, None, None, t.filled)] = None
            found[Concept(t.shape, t.colour, None, t.filled)] = None
    order = list(found)
    return [order[i] for i in rng.permutation(len(order))]


def absent_concept(scene: Scene, rng: np.random.Generator) -> Concept:
    """A concept that nothing in the scene belongs to, and mostly one that is nearly there.

    A colour and a shape that are both there, but never together; the right colour with a
    wrong shape, or the other way round; the wrong size, outlines where all are filled. No
    kind in ``HELD_OUT`` is said to be absent just because no training scene has it.
    """
    shapes = sorted({t.shape for t in scene.things})
    colours = sorted({t.colour for t in scene.things})
    other_shapes = [s for s in SHAPES if s not in shapes]
    other_colours = [c for c in COLOURS if c not in colours]
    there = {t.kind for t in scene.things}
    kinds = [(c, s) for c, s in itertools.product(COLOURS, SHAPES)]
    absent = [k for k in kinds if k not in there and k not in HELD_OUT]
    swapped = [Concept(s, c) for c, s in absent if c in colours and s in shapes]
    half = [Concept(s, c) for c, s in absent if (c in colours) != (s in shapes)]
    neither = [Concept(s, c) for c, s in absent if c not in colours and s not in shapes]
    plain = [Concept(s) for s in other_shapes] + [Concept(None, c) for c in other_colours]
    # Only between small and large: whether a medium-sized thing is small is a matter of taste.
    resized = [
        Concept(shape, colour, size)
        for t in scene.things
        for shape, colour in {(t.shape, t.colour), (t.shape, None), (None, t.colour)}
        for size, found in (("small", {"large"}), ("large", {"small"}))
        if {u.size for u in scene.things if Concept(shape, colour).matches(u)} == found
    ]
    refilled = [
        Concept(shape, colour, None, not t.filled)
        for t in scene.things
        if _hollowable(t.shape)
        for shape, colour in ((t.shape, t.colour), (t.shape, None))
        if {u.filled for u in scene.things if Concept(shape, colour).matches(u)} == {t.filled}
    ]
    groups = [
        (0.33, swapped),
        (0.3, half),
        (0.14, plain),
        (0.1, resized),
        (0.05, refilled),
        (0.08, neither),
    ]
    groups = [(weight, group) for weight, group in groups if group]
    weights = np.array([weight for weight, _ in groups])
    group = groups[rng.choice(len(groups), p=weights / weights.sum())][1]
    return group[rng.integers(len(group))]
