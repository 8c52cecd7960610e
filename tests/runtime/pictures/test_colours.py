"""Colours of masks: they stand out on what they cover, and from each other."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sam3_tvm.runtime.pictures.colours import Colours, object_colour, oklab
from sam3_tvm.runtime.pictures.overlay import draw_overlay

SURFACES = {
    "sky": (135, 190, 235),
    "grass": (90, 140, 50),
    "grey": (128, 128, 128),
    "snow": (245, 245, 245),
    "night": (15, 15, 20),
    "skin": (220, 170, 140),
    "brick": (200, 40, 40),
    "sand": (235, 200, 40),
    **{f"palette {n}": object_colour(n) for n in range(15)},
}


def distance(a, b) -> float:
    return float(np.linalg.norm(oklab(a) - oklab(b)))


def test_oklab_is_that_of_its_page():
    # White is L 1, and grey has no colour.
    np.testing.assert_allclose(oklab([255, 255, 255]), [1, 0, 0], atol=1e-4)
    np.testing.assert_allclose(oklab([255, 0, 0]), [0.62796, 0.22486, 0.12585], atol=1e-4)
    np.testing.assert_allclose(oklab([[0, 0, 255]]), [[0.45201, -0.03246, -0.31153]], atol=1e-4)
    assert np.abs(oklab([90, 90, 90])[1:]).max() < 1e-4


@pytest.mark.parametrize("covers", SURFACES.values(), ids=SURFACES)
def test_colours_stand_out_on_what_they_cover_and_from_each_other(covers):
    colours = Colours()
    given = [colours.next(covers) for _ in range(5)]
    assert min(distance(colour, covers) for colour in given) >= 0.2
    apart = [distance(a, b) for n, a in enumerate(given) for b in given[:n]]
    assert min(apart) >= 0.12
    again = Colours()
    assert [again.next(covers) for _ in range(5)] == given


def test_where_the_first_colour_does_it_is_taken():
    assert Colours().next((20, 20, 20)) == object_colour(0)
    assert Colours().next(None) == object_colour(0)
    # A blue on the sky would not be seen.
    assert Colours().next(SURFACES["sky"]) != object_colour(0)


def test_dozens_of_colours_are_all_different():
    colours = Colours()
    given = [colours.next((128, 128, 128)) for _ in range(60)]
    assert len(set(given)) == 60


def test_a_mask_on_its_own_colour_is_painted_in_another():
    first = object_colour(0)
    picture = np.full((40, 60, 3), first, np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[10:30, 10:50] = True
    drawn = np.asarray(draw_overlay(picture, [mask], None, None, opacity=0.45))
    assert distance(drawn[20, 30], first) > 0.1
    # An object of a film keeps its colour, whatever it covers.
    kept = draw_overlay(picture, [mask], None, None, opacity=0.45, colours=[0])
    assert isinstance(kept, Image.Image)
    np.testing.assert_array_equal(np.asarray(kept), picture)
