from __future__ import annotations

import numpy as np
import pytest

from training.phrases import Concept, absent_concept, all_phrases, concepts
from training.scenes import HELD_OUT, Scene, Thing


def thing(colour: str, shape: str, size: str = "small", filled: bool = True) -> Thing:
    return Thing(shape, colour, size, filled, np.ones((1, 1), bool), (0, 0, 1, 1))


def scene(*things: Thing) -> Scene:
    return Scene(np.zeros((1, 1, 3), np.uint8), things)


def said(concept: Concept, times: int = 1000) -> set[str]:
    rng = np.random.default_rng(0)
    return {concept.phrase(rng) for _ in range(times)}


def test_a_concept_matches_what_it_names_and_nothing_else() -> None:
    red_circle = thing("red", "circle")
    assert Concept().matches(red_circle)
    assert Concept("circle", "red", "small", True).matches(red_circle)
    for other in (
        Concept("square"),
        Concept("circle", "blue"),
        Concept(None, None, "large"),
        Concept(None, "red", None, False),
    ):
        assert not other.matches(red_circle)


@pytest.mark.parametrize(
    ("concept", "phrases"),
    [
        (Concept("circle"), {"circle", "circles", "a circle", "all circles", "disc", "the discs"}),
        (Concept("cross", "red"), {"red cross", "red crosses", "every red plus sign"}),
        (Concept(None, "red"), {"everything red", "red things", "all red shapes", "anything red"}),
        (Concept("star", "blue", "small"), {"small blue star", "a tiny blue star"}),
        (Concept("square", "grey", None, False), {"outlined gray box", "hollow grey squares"}),
        (Concept("hexagon", "orange"), {"an orange hexagon", "the orange hexagons"}),
        (Concept(), {"everything", "all shapes", "things"}),
    ],
)
def test_a_concept_is_said_in_many_ways(concept: Concept, phrases: set[str]) -> None:
    assert phrases <= said(concept)


def test_phrases_of_different_concepts_differ() -> None:
    phrases = list(all_phrases())
    assert len(set(phrases)) == len(phrases)
    assert all(p == p.lower().strip() and "  " not in p for p in phrases)
    assert not any(f" a {v}" in f" {p}" for p in phrases for v in "aeiou")


def test_every_phrase_that_is_said_is_in_the_grammar(scenes: list[Scene]) -> None:
    grammar = set(all_phrases())
    rng = np.random.default_rng(0)
    for one in scenes:
        for concept in [*concepts(one, rng), absent_concept(one, rng)]:
            assert concept.phrase(rng) in grammar


def test_present_concepts_match_something_and_cover_everything(scenes: list[Scene]) -> None:
    rng = np.random.default_rng(0)
    for one in scenes:
        present = concepts(one, rng)
        assert len(set(present)) == len(present)
        assert all(any(c.matches(t) for t in one.things) for c in present)
        assert all(Concept(t.shape, t.colour) in present for t in one.things)


def test_absent_concepts_match_nothing_and_leave_held_out_kinds_open(scenes: list[Scene]) -> None:
    rng = np.random.default_rng(0)
    for one in scenes:
        there = {t.kind for t in one.things}
        for _ in range(5):
            concept = absent_concept(one, rng)
            assert concept != Concept()
            assert not any(concept.matches(t) for t in one.things)
            assert (concept.colour, concept.shape) not in HELD_OUT - there


def test_sizes_are_named_only_where_there_are_several() -> None:
    rng = np.random.default_rng(0)
    alike = scene(thing("red", "circle"), thing("blue", "star"))
    assert all(c.size is None for c in concepts(alike, rng))
    unlike = scene(thing("red", "circle"), thing("red", "circle", "large"))
    assert Concept("circle", "red", "large") in concepts(unlike, rng)


def test_a_thing_of_medium_size_is_neither_said_to_be_small_nor_not_to_be() -> None:
    rng = np.random.default_rng(0)
    medium = scene(thing("red", "circle", "medium"))
    assert all(absent_concept(medium, rng).size is None for _ in range(300))
    small = scene(thing("red", "circle", "small"))
    assert {absent_concept(small, rng).size for _ in range(300)} == {None, "large"}


def test_most_absent_concepts_are_nearly_there() -> None:
    rng = np.random.default_rng(0)
    two = scene(thing("red", "circle"), thing("blue", "star"))
    absent = [absent_concept(two, rng) for _ in range(500)]
    swapped = sum(c in (Concept("star", "red"), Concept("circle", "blue")) for c in absent)
    assert 100 < swapped < 300
    related = [c for c in absent if c.shape in ("circle", "star") or c.colour in ("red", "blue")]
    assert len(related) > 300
