"""What tiles cut, or aren't sure of, is looked at again in windows of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pycocotools import mask as coco

from sam3_tvm.runtime.pictures.runs import Window
from sam3_tvm.tiles.again import look_again
from sam3_tvm.tiles.layout import Tile
from sam3_tvm.tiles.pieces import piece

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")

SIZE = (300, 400)
TILE, MARGIN = 100, 2


def seen(box, tile, score):
    """What a tile or a window sees of a rectangle x0, y0, x1, y1."""
    x0, y0 = max(box[0], tile.x0), max(box[1], tile.y0)
    x1, y1 = min(box[2], tile.x1), min(box[3], tile.y1)
    window = Window(x0, y0, np.ones((y1 - y0, x1 - x0), bool))
    return piece(window, score, (x0, y0, x1, y1), tile, 0, SIZE, MARGIN)


class Scene:
    """Answers windows with things, in each side with other scores."""

    def __init__(self, things):
        self.things = things  # of each prompt: a box and its scores by the window's side
        self.asked = []

    def __call__(self, window, prompts):
        self.asked.append((window, [*prompts]))
        side = window.x1 - window.x0
        return {
            prompt: [
                seen(box, window, scores[side])
                for box, scores in self.things[prompt]
                if window.overlaps(Tile(*box)) and scores[side] > 0.2
            ]
            for prompt in prompts
        }


def look(objects, things):
    scene = Scene(things)
    return look_again(objects, scene, TILE, SIZE, MARGIN, 0.5), scene.asked


TILED = Tile(100, 100, 200, 200)
PART = seen((180, 140, 220, 160), TILED, 0.95)  # of which the tile sees the left half


def test_what_was_cut_is_what_a_window_sees():
    assert PART.cut
    (found,), asked = look([[PART]], [[((180, 140, 220, 160), {80: 0.8})]])
    (one,) = found
    assert coco.toBbox(one.runs).tolist() == [180, 140, 40, 20]
    assert one.score == 0.8
    assert not one.cut
    assert asked == [(Tile(150, 110, 230, 190), [0])]


def test_what_was_cut_and_no_window_sees_is_gone():
    (found,), asked = look([[PART]], [[]])
    assert found == []
    # As a thing that fits a window may be larger than its part, both are asked.
    assert [window.x1 - window.x0 for window, _ in asked] == [80, 100]


def test_a_window_of_a_tiles_size_has_a_say_where_the_smaller_one_sees_nothing():
    things = [[((180, 140, 220, 160), {80: 0.1, 100: 0.9})]]
    (found,), _ = look([[PART]], things)
    assert [one.score for one in found] == [pytest.approx((0.95 + 0 + 0.9) / 3)]


def test_what_is_unsure_has_the_mean_score_and_keeps_its_mask():
    box = (120, 120, 150, 150)
    unsure = seen(box, TILED, 0.6)
    (found,), _ = look([[unsure]], [[((121, 121, 150, 150), {80: 0.8})]])
    assert [(one.score, one.runs) for one in found] == [(pytest.approx(0.7), unsure.runs)]
    (found,), _ = look([[unsure]], [[(box, {80: 0.3, 100: 0.3})]])
    assert found == []


def test_what_a_tile_sees_whole_and_is_sure_of_is_not_looked_at_again():
    sure = seen((120, 120, 150, 150), TILED, 0.95)
    (found,), asked = look([[sure]], [[]])
    assert found == [sure]
    assert asked == []


def test_what_is_too_large_for_a_window_stays():
    large = seen((100, 100, 200, 200), TILED, 0.6)
    assert large.cut
    (found,), asked = look([[large]], [[]])
    assert found == [large]
    assert asked == []


def test_a_window_serves_neighbours_and_only_prompts_that_are_in_doubt():
    first, second = seen((120, 120, 140, 140), TILED, 0.6), seen((130, 120, 150, 140), TILED, 0.6)
    things = [[((120, 120, 140, 140), {80: 0.9})], [], [((130, 120, 150, 140), {80: 0.9})]]
    found, asked = look([[first], [], [second]], things)
    assert [len(of) for of in found] == [1, 0, 1]
    assert [prompts for _, prompts in asked] == [[0, 2]]


RIGHT = Tile(200, 100, 300, 200)
UPPER, LOWER = (180, 110, 220, 128), (180, 132, 220, 150)


def put_together(*members):
    corners = np.array([one.bounds for one in members])
    around = Tile(*corners[:, :2].min(0).tolist(), *corners[:, 2:].max(0).tolist())
    runs = coco.merge([one.runs for one in members])
    return replace(members[0], runs=runs, bounds=around, members=members)


def test_joined_pieces_are_looked_at_each_by_itself():
    # A tile took two neighbours for one, and so all of their pieces were joined.
    both = seen((180, 110, 220, 150), RIGHT, 0.8)
    one = put_together(seen(UPPER, TILED, 0.9), seen(LOWER, TILED, 0.9), both)
    things = [[(UPPER, {80: 0.8, 100: 0.1}), (LOWER, {80: 0.7, 100: 0.1})]]
    (found,), _ = look([[one]], things)
    boxes = [coco.toBbox(one.runs).tolist() for one in found]
    assert boxes == [[180, 110, 40, 18], [180, 132, 40, 18]]


def test_what_no_window_holds_stays_unless_one_sees_a_thing_in_it():
    wide = put_together(
        seen((150, 140, 220, 160), TILED, 0.9), seen((190, 140, 290, 160), RIGHT, 0.9)
    )
    thing = (152, 140, 190, 160)
    (found,), _ = look([[wide]], [[(thing, {80: 0.1, 100: 0.1})]])
    assert found == [wide]
    (found,), _ = look([[wide]], [[(thing, {80: 0.8, 100: 0.1})]])
    assert [coco.toBbox(one.runs).tolist() for one in found] == [[152, 140, 38, 20]]


def test_two_parts_of_a_thing_become_one():
    other = seen((180, 140, 220, 160), Tile(200, 100, 300, 200), 0.9)
    assert other.cut
    (found,), _ = look([[PART, other]], [[((180, 140, 220, 160), {80: 0.8})]])
    assert len(found) == 1


def test_windows_lie_in_the_picture_and_are_asked_from_top_to_bottom():
    corner = seen((380, 0, 400, 10), Tile(300, 0, 400, 100), 0.6)
    low = seen((0, 290, 20, 300), Tile(0, 200, 100, 300), 0.6)
    _, asked = look([[low, corner]], [[]])
    windows = [window for window, _ in asked]
    assert windows[:2] == [Tile(320, 0, 400, 80), Tile(0, 220, 80, 300)]
    assert windows[2:] == [Tile(300, 0, 400, 100), Tile(0, 200, 100, 300)]
