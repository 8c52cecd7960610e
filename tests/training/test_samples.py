from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from training.phrases import VISUAL
from training.samples import KINDS, Prompt, draw_prompts, evaluation_prompts
from training.scenes import Scene


def prompts_of(scenes: list[Scene], kind: str) -> list[tuple[Scene, Prompt]]:
    rng = np.random.default_rng(0)
    pairs = [(s, p) for s in scenes for p in draw_prompts(s, rng, 2, {kind: 1})]
    return [(s, p) for s, p in pairs if p.kind == kind]


def boxed(scene: Scene, prompt: Prompt, label: int) -> list[int]:
    """The things that boxes with a label are around: those whose edges are nearest."""
    boxes = prompt.boxes[prompt.labels == label]
    edges = np.array([t.box for t in scene.things])
    return [int(np.abs(edges - box).sum(axis=1).argmin()) for box in boxes]


def test_prompts_have_the_types_that_are_promised(scenes: list[Scene]) -> None:
    rng = np.random.default_rng(0)
    for scene in scenes[:100]:
        for prompt in draw_prompts(scene, rng, 5, dict.fromkeys(KINDS, 1)):
            assert prompt.kind in KINDS
            assert prompt.boxes.shape == (len(prompt.labels), 4)
            assert (prompt.boxes.dtype, prompt.labels.dtype) == (np.float32, np.int64)
            assert prompt.targets.dtype == np.int64
            assert np.all(np.diff(prompt.targets) > 0)
            assert (len(prompt.targets) == 0) == (prompt.kind == "absent")


def test_boxes_are_near_things_and_within_the_picture(scenes: list[Scene]) -> None:
    rng = np.random.default_rng(0)
    for scene in scenes:
        for prompt in draw_prompts(scene, rng, 3, {"exemplar": 1, "negative": 1}):
            height, width = scene.image.shape[:2]
            for x0, y0, x1, y1 in prompt.boxes:
                assert 0 <= x0 < x1 <= width
                assert 0 <= y0 < y1 <= height
            edges = np.array([t.box for t in scene.things])
            for box in prompt.boxes:
                off = np.abs(edges - box).max(axis=1)
                assert np.any(off <= 0.081 * (edges[:, 2:] - edges[:, :2]).max(axis=1))


def test_the_mix_says_how_often_each_kind_comes(scenes: list[Scene]) -> None:
    rng = np.random.default_rng(0)
    mix = {"text": 3, "absent": 1}
    kinds = Counter(p.kind for s in scenes for p in draw_prompts(s, rng, 4, mix))
    assert sum(kinds.values()) == 4 * len(scenes)
    assert set(kinds) == {"text", "absent"}
    assert kinds["text"] == pytest.approx(1500, rel=0.1)


@pytest.mark.parametrize("mix", [{}, {"text": 0}, {"text": -1, "absent": 2}, {"words": 1}])
def test_an_impossible_mix_is_refused(scenes: list[Scene], mix: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="prompts"):
        draw_prompts(scenes[0], np.random.default_rng(0), 1, mix)


def test_equal_seeds_give_equal_prompts(scenes: list[Scene]) -> None:
    one, same = (
        draw_prompts(scenes[3], np.random.default_rng(4), 6, dict.fromkeys(KINDS, 1))
        for _ in range(2)
    )
    assert [p.text for p in one] == [p.text for p in same]
    assert all(np.array_equal(a.boxes, b.boxes) for a, b in zip(one, same, strict=True))


def test_an_exemplar_means_all_things_of_its_colour_and_shape(scenes: list[Scene]) -> None:
    several = 0
    for scene, prompt in prompts_of(scenes, "exemplar"):
        kinds = {scene.things[i].kind for i in boxed(scene, prompt, 1)}
        assert len(kinds) == 1
        assert prompt.text == VISUAL
        assert [t.kind in kinds for t in scene.things] == [
            i in prompt.targets for i in range(len(scene.things))
        ]
        assert len(prompt.labels) < max(2, len(prompt.targets))
        several += len(prompt.targets) > 1
    assert several > 400


def test_a_phrase_with_an_exemplar_has_its_box_on_a_target(scenes: list[Scene]) -> None:
    for scene, prompt in prompts_of(scenes, "text+exemplar"):
        assert prompt.text != VISUAL
        assert prompt.labels.tolist() == [1]
        assert set(boxed(scene, prompt, 1)) <= set(prompt.targets.tolist())


def test_a_negative_box_takes_its_kind_away_and_leaves_others(scenes: list[Scene]) -> None:
    pairs = prompts_of(scenes, "negative")
    assert len(pairs) > 500
    for scene, prompt in pairs:
        (unwanted,) = (scene.things[i].kind for i in boxed(scene, prompt, 0))
        wanted = [scene.things[i].kind for i in prompt.targets]
        assert wanted
        assert unwanted not in wanted
        # The phrase asked for both: they have their shape or their colour in common, or all.
        named = [{k[place] for k in (unwanted, *wanted)} for place in (0, 1)]
        names = [next(iter(n)) for n in named if len(n) == 1]
        everything = len(wanted) + sum(t.kind == unwanted for t in scene.things)
        assert names or everything == len(scene.things)
        assert set(boxed(scene, prompt, 1)) <= set(prompt.targets.tolist())
    with_positive = sum(len(p.labels) == 2 for _, p in pairs)
    assert 0.2 < with_positive / len(pairs) < 0.4


def test_evaluation_asks_for_two_concepts_and_only_for_exemplars_with_others(
    scenes: list[Scene],
) -> None:
    rng = np.random.default_rng(0)
    for scene in scenes:
        prompts = evaluation_prompts(scene, rng)
        kinds = [p.kind for p in prompts]
        repeated = max(Counter(t.kind for t in scene.things).values()) > 1
        varied = len({t.kind for t in scene.things}) > 1
        expected = ["text", "text", "absent"] + ["exemplar"] * repeated + ["negative"] * varied
        assert kinds == expected
        assert prompts[0].text != prompts[1].text
        for prompt in prompts:
            if prompt.kind == "exemplar":
                assert len(prompt.targets) > len(prompt.boxes)
