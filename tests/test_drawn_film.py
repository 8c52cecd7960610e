"""The drawn film: shapes that come, cross and leave."""

from __future__ import annotations

from itertools import islice

import numpy as np

from sam3_tvm.drawn_film import drawn_film

RED, BLUE, GREEN, ORANGE = (225, 30, 35), (35, 75, 215), (45, 155, 70), (250, 145, 20)


def area(frame, colour) -> int:
    """Pixels of exactly this colour."""
    return int((frame == colour).all(2).sum())


def test_shapes_come_cross_and_leave():
    film = list(drawn_film(24, 24))
    assert all(frame.shape == (180, 240, 3) and frame.dtype == np.uint8 for frame in film)
    red, blue, green, orange = ([area(f, c) for f in film] for c in (RED, BLUE, GREEN, ORANGE))
    assert min(red[0], blue[0], orange[0]) > 500
    assert green[0] == 0 < max(green)  # it comes later
    assert min(red) == min(blue) == min(green[12:]) == 0  # they leave
    assert min(red[2:10]) < red[0] / 2  # the other passes before it
    assert min(orange) < max(orange)  # covered in part


def test_the_film_goes_on_as_long_as_it_is_watched():
    frames = list(islice(drawn_film(10**9, 8), 17))
    np.testing.assert_array_equal(frames[0], frames[8])
    np.testing.assert_array_equal(frames[0], frames[16])
    assert (frames[0] != frames[4]).any()
