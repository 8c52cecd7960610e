"""How what was found on clips is held against what is on them."""

from __future__ import annotations

import numpy as np
import pytest

from training.scenes import Thing
from training.tracking.clips import Track
from training.tracking.evaluate import draw_case, figures, measure

FRAMES = 12


def _track(x: int, visible: float = 1.0) -> Track:
    masks = np.zeros((FRAMES, 32, 64), bool)
    for frame in range(FRAMES):
        masks[frame, 10:20, x + frame : x + frame + 10] = True
    thing = Thing("star", "red", "small", True, masks[0], (0.0, 0.0, 1.0, 1.0))
    return Track(thing, masks, np.full(FRAMES, visible, np.float32))


def _found(*rows: tuple[int, Track]):
    return [{name: track.masks[frame] for name, track in rows} for frame in range(FRAMES)]


def test_what_is_found_right_is_perfect() -> None:
    one, other = _track(0), _track(30)
    made = figures([measure([one, other], _found((7, other), (4, one)))])
    assert made["objects"] == 2
    assert made["object_frames"] == 2 * FRAMES
    assert (made["j"], made["switches_per_object"]) == (1.0, 0.0)
    assert made["hota"] == pytest.approx(1.0)


def test_an_object_that_changes_its_id_counts_once_and_loses_half() -> None:
    one = _track(0)
    found = [{0 if frame < 6 else 1: one.masks[frame]} for frame in range(FRAMES)]
    made = figures([measure([one], found)])
    assert made["switches_per_object"] == 1.0
    assert (made["j"], made["j_by_frame"]) == (0.5, 1.0)
    assert (made["found"], made["j_found"]) == (0.5, 1.0)
    assert made["hota"] == pytest.approx(0.5**0.5)


def test_nothing_found_is_nothing() -> None:
    made = figures([measure([_track(0)], [{} for _ in range(FRAMES)])])
    assert (made["j"], made["hota"]) == (0.0, 0.0)
    assert (made["found"], made["j_found"]) == (0.0, 0.0)


def test_what_is_found_beside_costs_hota_alone() -> None:
    one = _track(0)
    made = figures([measure([one], _found((0, one), (1, _track(30))))])
    assert made["j"] == 1.0
    assert made["hota"] < 0.8


def test_nothing_is_held_against_what_is_hardly_seen() -> None:
    one, hardly = _track(0), _track(30, visible=0.05)
    made = figures([measure([one, hardly], _found((0, one), (1, hardly)))])
    assert made["object_frames"] == FRAMES
    assert made["hota"] == pytest.approx(1.0)


def test_cases_are_drawn_from_their_number() -> None:
    one, again = draw_case(3, 0), draw_case(3, 0)
    assert np.array_equal(one.clip.frames, again.clip.frames)
    assert (one.phrase, one.absent) == (again.phrase, again.absent)
    assert one.targets
    assert one.phrase != one.absent
