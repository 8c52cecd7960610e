"""Masks as outlines that are edited by hand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sam3_tvm.labels.outlines import mask_outlines
from sam3_tvm.runtime.pictures.polygons import mask_polygons


def filled(rings, shape) -> np.ndarray:
    """Pixels whose centres lie inside, by four times as many to the side."""
    image = Image.new("1", (shape[1] * 4, shape[0] * 4))
    for ring in rings:
        ImageDraw.Draw(image).polygon([tuple(p) for p in (ring * 4 - 0.5).tolist()], fill=1)
    return np.asarray(image)[2::4, 2::4]


def disk(shape, centre, radius) -> np.ndarray:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def test_an_outline_has_few_corners_and_stays_near_the_mask():
    mask = disk((120, 160), (60, 80), 40)
    (ring,) = mask_outlines(mask, "serve")
    (part,) = mask_polygons(mask)
    assert len(ring) < len(part.outer) / 2
    again = filled([ring], mask.shape)
    assert (again & mask).sum() / (again | mask).sum() > 0.98


@pytest.mark.parametrize("radius", [3, 12.5, 40])
def test_no_corner_of_the_masks_edge_is_further_away_than_is_said(radius):
    shapely = pytest.importorskip("shapely")
    mask = disk((120, 160), (60, 80), radius)
    (ring,) = mask_outlines(mask, "serve")
    (part,) = mask_polygons(mask)
    corners = shapely.MultiPoint(part.outer)
    assert shapely.LinearRing(ring).buffer(0.75 + 1e-6).covers(corners)


def test_a_rectangle_is_exact():
    mask = np.zeros((20, 30), bool)
    mask[4:9, 6:25] = True
    (ring,) = mask_outlines(mask, "serve")
    assert sorted(ring.tolist()) == [[6, 4], [6, 9], [25, 4], [25, 9]]


def test_each_part_has_its_outline_and_holes_are_filled():
    mask = disk((60, 90), (30, 25), 20) & ~disk((60, 90), (30, 25), 8)
    mask[50:55, 70:80] = True
    rings = mask_outlines(mask, "serve")
    assert len(rings) == 2
    assert filled(rings, mask.shape)[30, 25]


def test_a_line_one_pixel_wide_keeps_its_outline():
    mask = np.zeros((5, 9), bool)
    mask[2, 3:7] = True
    (ring,) = mask_outlines(mask, "serve")
    assert len(ring) == 4


def test_specks_are_left_out():
    mask = disk((60, 90), (30, 25), 20)
    mask[50:52, 70:72] = True
    assert len(mask_outlines(mask, "serve")) == 1
