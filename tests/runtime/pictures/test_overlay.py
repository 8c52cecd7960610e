"""What is drawn over a film's frame."""

from __future__ import annotations

import numpy as np
import pytest

from sam3_tvm.runtime.pictures import overlay
from sam3_tvm.runtime.pictures.overlay import draw_tracked, object_colour


@pytest.fixture
def rgb():
    return np.zeros((300, 400, 3), np.uint8)


@pytest.fixture
def masks():
    found = np.zeros((3, 300, 400), np.bool_)
    found[0, 100:140, 10:50] = True
    found[2, 200:240, 200:260] = True
    return found


@pytest.fixture
def written(monkeypatch):
    """Labels that were asked for, longest wording first."""
    asked = []
    label = overlay._label

    def note(draw, box, wordings, *rest):
        asked.append(wordings)
        label(draw, box, wordings, *rest)

    monkeypatch.setattr(overlay, "_label", note)
    return asked


def test_labels_have_the_id_and_the_phrase_if_there_is_one(rgb, masks, written):
    draw_tracked(rgb, [1, 7, 4], masks, [None, "cat", "a\ndog"])
    # The second is not seen, and has no place for a label.
    assert written == [("1",), ("4 a\\ndog", "4")]
    written.clear()
    draw_tracked(rgb, [1, 7, 4], masks)
    assert written == [("1",), ("4",)]


def test_an_id_has_one_colour_whoever_is_beside_it(rgb, masks):
    both = np.asarray(draw_tracked(rgb, [0, 5, 3], masks, ["dog"] * 3, opacity=1, labels=False))
    alone = np.asarray(draw_tracked(rgb, [3], masks[2:], ["dog"], opacity=1, labels=False))
    assert (both[220, 230] == alone[220, 230]).all()
    assert tuple(alone[220, 230]) == object_colour(2)
    assert tuple(both[120, 30]) == object_colour(-1)
    assert len({object_colour(index) for index in range(-1, 40)}) == 41
