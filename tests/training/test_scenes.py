from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from training.colours import difference
from training.scenes import COLOURS, HELD_OUT, SHAPES, SIZES, Scene, draw_scene


def test_equal_seeds_give_equal_scenes() -> None:
    one, same, other = (draw_scene(np.random.default_rng(s), 112) for s in (5, 5, 6))
    assert np.array_equal(one.image, same.image)
    assert [t.kind for t in one.things] == [t.kind for t in same.things]
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(one.things, same.things, strict=True))
    assert not np.array_equal(one.image, other.image)


@pytest.mark.parametrize("size", [64, 97, 168, 300])
def test_scenes_have_the_size_asked_for(size: int) -> None:
    scene = draw_scene(np.random.default_rng(size), size)
    assert scene.image.shape == (size, size, 3)
    assert scene.image.dtype == np.uint8
    assert all(t.mask.shape == (size, size) and t.mask.dtype == bool for t in scene.things)


def test_a_picture_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="64 pixels wide at least, not 63"):
        draw_scene(np.random.default_rng(0), 63)


def test_boxes_fit_masks_and_masks_do_not_overlap(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert 1 <= len(scene.things) <= 7
        assert np.sum([t.mask for t in scene.things], axis=0).max() == 1
        for t in scene.things:
            rows, columns = np.nonzero(t.mask)
            assert t.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_every_size_is_clear_from_the_area_even_where_something_is_hidden(
    scenes: list[Scene],
) -> None:
    areas: dict[tuple[str, bool], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for t in (t for scene in scenes for t in scene.things):
        areas[t.shape, t.filled][t.size].append(t.mask.mean())
    for (shape, filled), by_size in areas.items():
        if filled:
            assert set(by_size) == set(SIZES), shape
            for smaller, larger in (("small", "medium"), ("medium", "large")):
                assert max(by_size[smaller]) < min(by_size[larger]), (shape, smaller)


def test_enough_of_every_thing_is_visible_to_have_a_mask(scenes: list[Scene]) -> None:
    areas = [t.mask.mean() for scene in scenes for t in scene.things]
    # The thinnest, a small outline, 80 % of it: some fifteen cells of a grid of 64 x 64.
    assert min(areas) > 0.004


def test_training_scenes_have_kinds_of_all_colours_and_shapes_but_none_held_out(
    training_scenes: list[Scene],
) -> None:
    kinds = Counter(t.kind for scene in training_scenes for t in scene.things)
    assert not HELD_OUT & set(kinds)
    # Some 900 things; one of the 108 kinds may be missing by chance.
    assert len(kinds) > 100
    for place, names in ((0, COLOURS), (1, SHAPES)):
        counts = [sum(n for k, n in kinds.items() if k[place] == name) for name in names]
        assert min(counts) > 0.5 * sum(counts) / len(names)


def test_a_tenth_of_things_is_of_held_out_kinds_where_that_is_wanted(
    held_out_scenes: list[Scene],
) -> None:
    things = [t for scene in held_out_scenes for t in scene.things]
    assert 0.07 < sum(t.kind in HELD_OUT for t in things) / len(things) < 0.14
    assert {t.kind for t in things} >= HELD_OUT


def test_held_out_kinds_are_a_tenth_and_leave_every_colour_and_shape_to_others() -> None:
    assert len(HELD_OUT) == len(COLOURS) * len(SHAPES) // 10
    assert max(Counter(colour for colour, _ in HELD_OUT).values()) == 1
    assert max(Counter(shape for _, shape in HELD_OUT).values()) <= 2
    assert all(colour in COLOURS and shape in SHAPES for colour, shape in HELD_OUT)


def test_many_scenes_have_several_things_of_a_kind_and_many_have_several_kinds(
    training_scenes: list[Scene],
) -> None:
    kinds = [Counter(t.kind for t in scene.things) for scene in training_scenes]
    assert sum(max(k.values()) > 1 for k in kinds) > 0.4 * len(kinds)
    assert sum(len(k) > 1 for k in kinds) > 0.6 * len(kinds)


def test_things_are_painted_where_their_masks_are_in_colours_unlike_their_surroundings(
    scenes: list[Scene],
) -> None:
    for scene in scenes[::5]:
        ground = ~np.any([t.mask for t in scene.things], axis=0)
        for t in scene.things:
            x0, y0, x1, y1 = (int(v) for v in t.box)
            around = np.zeros_like(ground)
            around[max(y0 - 6, 0) : y1 + 6, max(x0 - 6, 0) : x1 + 6] = True
            inside = np.median(scene.image[t.mask], axis=0)
            outside = np.median(scene.image[around & ground], axis=0)
            assert difference(inside, outside) > 20, t.kind


def test_circles_rings_and_crescents_have_no_outlines(scenes: list[Scene]) -> None:
    outlined = {t.shape for scene in scenes for t in scene.things if not t.filled}
    assert outlined == set(SHAPES) - {"circle", "ring", "crescent"}
