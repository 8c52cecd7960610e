"""What tiles find becomes objects: seams, doubles, what is larger than a tile."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco

from sam3_tvm.runtime.pictures.arguments import PromptError
from sam3_tvm.runtime.pictures.runs import Window
from sam3_tvm.tiles import Tiling
from sam3_tvm.tiles.layout import Tile
from sam3_tvm.tiles.pieces import joined, piece, with_large

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")

SIZE = (100, 180)
TILES = Tiling(100, 0.2).tiles(SIZE)


def seen(box, tile, score=0.9, tiles=TILES):
    """What a tile sees of a rectangle x0, y0, x1, y1."""
    x0, y0 = max(box[0], tiles[tile].x0), max(box[1], tiles[tile].y0)
    x1, y1 = min(box[2], tiles[tile].x1), min(box[3], tiles[tile].y1)
    window = Window(x0, y0, np.ones((y1 - y0, x1 - x0), bool))
    return piece(window, score, (x0, y0, x1, y1), tiles[tile], tile, SIZE, 2)


def boxes(objects):
    return sorted(tuple(coco.toBbox(one.runs).astype(int).tolist()) for one in objects)


def test_tiles_cover_a_picture_and_lie_in_it():
    assert [Tile(0, 0, 100, 100), Tile(80, 0, 180, 100)] == TILES
    for size in ((1, 1), (99, 1000), (1234, 567)):
        covered = np.zeros(size, int)
        for x0, y0, x1, y1 in Tiling(100, 0.15).tiles(size):
            assert 0 <= x0 < x1 <= size[1]
            assert 0 <= y0 < y1 <= size[0]
            covered[y0:y1, x0:x1] += 1
        assert covered.min() == 1


def test_an_object_on_a_seam_is_one():
    box = (40, 20, 150, 40)
    (one,) = joined([seen(box, 0, 0.7), seen(box, 1, 0.8)], TILES, SIZE, 2)
    assert boxes([one]) == [(40, 20, 110, 20)]
    assert (one.score, one.box) == (0.8, (40, 20, 150, 40))
    assert sorted(member.tile for member in one.members) == [0, 1]


def test_an_object_that_two_tiles_see_whole_is_one_the_better():
    box = (85, 20, 95, 40)
    (one,) = joined([seen(box, 0, 0.7), seen(box, 1, 0.8)], TILES, SIZE, 2)
    assert (one.score, one.tile) == (0.8, 1)


def test_what_an_edge_cuts_is_left_to_a_tile_that_sees_it_whole():
    # The first tile sees a part and takes it for something; the second sees it whole.
    part = seen((90, 50, 120, 60), 0, 0.99)
    assert part.cut
    assert joined([part], TILES, SIZE, 2) == []
    whole = seen((90, 50, 120, 60), 1, 0.6)
    assert joined([part, whole], TILES, SIZE, 2) == [whole]


def test_things_that_a_tile_sees_whole_stay_two_where_another_takes_them_for_one():
    left, right, both = (82, 20, 90, 40), (90, 20, 98, 40), (82, 20, 98, 40)
    things = [seen(left, 0, 0.9), seen(right, 0, 0.8)]
    assert joined([*things, seen(both, 1, 0.7)], TILES, SIZE, 2) == things
    cut = (90, 20, 140, 40)
    assert joined([*things, seen(cut, 0, 0.99)], TILES, SIZE, 2) == things


def test_neighbours_on_a_seam_stay_apart():
    upper, lower = (40, 10, 150, 30), (40, 31, 150, 50)
    found = joined([seen(b, t) for b in (upper, lower) for t in (0, 1)], TILES, SIZE, 2)
    assert boxes(found) == [(40, 10, 110, 20), (40, 31, 110, 19)]


def test_masks_decide_and_not_boxes():
    # Two diagonals with the same box, of which each tile sees one.
    down = np.zeros((60, 20), bool)
    down[np.arange(60), np.arange(60) // 3] = True
    both = (
        piece(Window(80, 0, down), 0.9, (60, 0, 100, 60), TILES[0], 0, SIZE, 2),
        piece(Window(80, 0, down[::-1].copy()), 0.9, (80, 0, 120, 60), TILES[1], 1, SIZE, 2),
    )
    assert len(joined(both, TILES, SIZE, 2)) == 2


def test_the_pictures_own_edge_cuts_nothing():
    assert not seen((0, 0, 30, 100), 0).cut
    assert seen((60, 20, 100, 40), 0).cut
    assert seen((60, 20, 99, 40), 0).cut  # as near as a mask's cell


def speckled(side):
    """A thing in the middle of a tile, and a square of so many pixels at the tile's corner."""
    mask = np.zeros((70, 60), bool)
    mask[:30, :30] = True
    mask[70 - side :, 60 - side :] = True
    return piece(Window(40, 30, mask), 0.9, (40, 30, 70, 60), TILES[0], 0, SIZE, 2)


def test_a_speck_at_an_edge_cuts_nothing_and_stays_in_the_mask():
    one = speckled(4)
    assert (one.cut, one.bounds) == (False, Tile(40, 30, 70, 60))
    assert coco.area(one.runs) == 30 * 30 + 4 * 4


def test_a_part_that_is_no_speck_counts():
    one = speckled(10)
    assert (one.cut, one.bounds) == (True, Tile(40, 30, 100, 100))


def test_of_what_is_larger_than_a_tile_parts_go():
    large = piece(
        Window(0, 0, np.ones((100, 170), bool)), 0.6, (0, 0, 170, 100), Tile(0, 0, 180, 100), 2,
        SIZE, 0,
    )  # fmt: skip
    part, other = seen((70, 10, 100, 90), 0, 0.9), seen((10, 10, 30, 30), 0, 0.9)
    assert part.cut
    assert not other.cut
    assert with_large([part, other], [large]) == [other, large]
    same = seen((0, 0, 165, 100), 0, 0.9)
    whole = piece(
        Window(0, 0, np.ones((100, 165), bool)), 0.5, (0, 0, 165, 100), TILES[0], 0, SIZE, 2
    )
    (kept,) = with_large([whole], [large])
    assert (kept.score, boxes([kept])) == (0.6, [(0, 0, 165, 100)])
    assert with_large([], [large]) == [large]
    assert same.cut


@pytest.mark.parametrize(("tile", "overlap"), [(8, 0.1), (1.5, 0.1), (100, 1), (100, "a")])
def test_what_is_no_tiling_is_refused(tile, overlap):
    with pytest.raises(PromptError):
        Tiling(tile, overlap)
