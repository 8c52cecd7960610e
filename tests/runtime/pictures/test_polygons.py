"""Outlines of masks: they enclose just the mask's pixels, and are what geometry takes for valid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sam3_tvm.runtime.pictures.polygons import Polygon, mask_polygons


def mask_of(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def as_lists(polygons: list[Polygon]) -> list[tuple[list, list]]:
    return [(p.outer.tolist(), [hole.tolist() for hole in p.holes]) for p in polygons]


def filled(polygon: Polygon, shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie inside, by counting edges to their left."""
    crossings = np.zeros(shape, int)
    for ring in (polygon.outer, *polygon.holes):
        for (x, y), (to_x, to_y) in zip(ring, np.roll(ring, -1, 0), strict=True):
            assert (x == to_x) != (y == to_y), "edges go along rows and columns"
            crossings[min(y, to_y) : max(y, to_y), x:] += x == to_x
    return crossings % 2 == 1


def area(ring: np.ndarray) -> float:
    """Above zero if a ring goes clockwise on a picture."""
    (x, y), (to_x, to_y) = ring.T, np.roll(ring, -1, 0).T
    return float((x * to_y - to_x * y).sum() / 2)


def test_a_pixel_is_a_square_clockwise_from_its_upper_left_corner():
    mask = np.zeros((5, 9), bool)
    mask[3, 7] = True
    ((outer, holes),) = mask_polygons(mask)
    assert outer.tolist() == [[7, 3], [8, 3], [8, 4], [7, 4]]
    assert outer.dtype == np.int32
    assert holes == ()


def test_corners_stand_where_an_outline_turns_and_holes_go_the_other_way():
    found = mask_polygons(mask_of("####", "#..#", "####"))
    assert as_lists(found) == [
        ([[0, 0], [4, 0], [4, 3], [0, 3]], [[[1, 1], [1, 2], [3, 2], [3, 1]]])
    ]


def test_an_island_in_a_hole_is_a_part_of_its_own():
    found = mask_polygons(mask_of("#####", "#...#", "#.#.#", "#...#", "#####", ".....", "..##."))
    assert [len(p.holes) for p in found] == [1, 0, 0]
    assert [p.outer[0].tolist() for p in found] == [[0, 0], [2, 2], [2, 6]]


@pytest.mark.parametrize(
    ("rows", "parts", "holes"),
    [
        (("#.", ".#"), 2, 0),  # pixels that share a corner are two
        ((".#", "#."), 2, 0),
        (("###", "#.#", "##."), 1, 1),  # a hook whose ends meet at a corner
        (("####", "#.##", "##.#", "####"), 1, 2),  # holes that share one
        ((".##.", "##.#", "#.##", ".###"), 2, 0),  # two that touch twice
    ],
)
def test_where_pixels_meet_at_a_corner(rows, parts, holes):
    mask = mask_of(*rows)
    found = mask_polygons(mask)
    assert (len(found), sum(len(p.holes) for p in found)) == (parts, holes)
    check(mask)


def test_nothing_has_no_outline():
    assert mask_polygons(np.zeros((4, 6), bool)) == []
    assert mask_polygons(np.zeros((0, 6), bool)) == []


def check(mask: np.ndarray) -> None:
    total = np.zeros(mask.shape, int)
    for polygon in mask_polygons(mask):
        inside = filled(polygon, mask.shape)
        total += inside
        assert area(polygon.outer) > 0
        assert all(area(hole) < 0 for hole in polygon.holes)
        assert sum(map(area, (polygon.outer, *polygon.holes))) == inside.sum()
        for ring in (polygon.outer, *polygon.holes):
            assert len(np.unique(ring, axis=0)) == len(ring), "a ring touches itself"
            assert ring.tolist()[0][::-1] == min([y, x] for x, y in ring.tolist())
    np.testing.assert_array_equal(total, mask)


@settings(max_examples=200, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.booleans()))
def test_any_mask_is_enclosed_pixel_by_pixel(mask):
    check(mask)


@pytest.mark.parametrize("density", [0.2, 0.5, 0.7])
def test_geometry_takes_the_outlines_of_noise_for_valid(density):
    shapely = pytest.importorskip("shapely", reason="needs shapely, which isn't installed")
    mask = np.random.default_rng(3).random((60, 80)) < density
    check(mask)
    polygons = [shapely.Polygon(p.outer, p.holes) for p in mask_polygons(mask)]
    assert all(p.is_valid for p in polygons)
    together = shapely.MultiPolygon(polygons)
    assert together.area == mask.sum()
    assert together.is_valid
