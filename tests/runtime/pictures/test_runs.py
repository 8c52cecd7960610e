"""Runs of windows are those that pycocotools makes of whole masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from sam3_tvm.runtime.pictures import runs
from sam3_tvm.runtime.pictures.runs import Window, are_runs, runs_of_window, window_of_runs

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 10_000),
    density=st.sampled_from([0.02, 0.5, 0.98, 1.0]),
)
def test_there_and_back(size, seed, density):
    rng = np.random.default_rng(seed)
    height, width = size
    y0, x0 = int(rng.integers(height)), int(rng.integers(width))
    y1, x1 = int(rng.integers(y0, height)) + 1, int(rng.integers(x0, width)) + 1
    inside = rng.random((y1 - y0, x1 - x0)) < density
    inside[0, 0] = True
    whole = np.zeros(size, bool)
    whole[y0:y1, x0:x1] = inside
    runs = runs_of_window(Window(x0, y0, inside), size)
    wanted = coco.encode(np.asfortranarray(whole, np.uint8))
    assert runs == wanted
    for counts in (runs["counts"], runs["counts"].decode()):
        x, y, mask = window_of_runs(counts, size)
        back = np.zeros(size, bool)
        back[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        np.testing.assert_array_equal(back, whole)
        # No row and no column more than there must be.
        assert mask.any(0)[[0, -1]].all()
        assert mask.any(1)[[0, -1]].all()


def test_an_empty_mask_has_a_window_without_it():
    counts = coco.encode(np.zeros((5, 7), np.uint8, order="F"))["counts"]
    x, y, mask = window_of_runs(counts, (5, 7))
    assert (x, y, mask.tolist()) == (0, 0, [[False]])


def test_a_picture_of_a_thousand_megapixels_takes_no_memory_of_its_size():
    size = (30_000, 40_000)
    runs = runs_of_window(Window(39_990, 29_990, np.ones((10, 10), bool)), size)
    assert coco.area(runs) == 100
    assert window_of_runs(runs["counts"], size)[:2] == (39_990, 29_990)


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 10_000),
    factor=st.integers(1, 5),
)
def test_a_value_may_stand_for_many_pixels(size, seed, factor):
    rng = np.random.default_rng(seed)
    small = rng.random((-(-size[0] // factor), -(-size[1] // factor))) < 0.5
    small[0, 0] = True
    y, x = int(rng.integers(small.shape[0])), int(rng.integers(small.shape[1]))
    small[:y] = small[:, :x] = False
    small[y, x] = True
    whole = small.repeat(factor, 0).repeat(factor, 1)[: size[0], : size[1]]
    window = Window(x * factor, y * factor, small[y:, x:])
    runs = runs_of_window(window, size, factor)
    assert runs == coco.encode(np.asfortranarray(whole, np.uint8))


def compressed(*numbers: int) -> str:
    """Numbers as COCO's runs have them, five bits a letter."""
    letters = []
    for number in numbers:
        more = True
        while more:
            low, number = number & 31, number >> 5
            more = number != (-1 if low & 16 else 0)
            letters.append(chr(48 + (low | 32 if more else low)))
    return "".join(letters)


def test_runs_are_told_from_what_only_adds_up_to_their_size():
    size = (4, 6)
    assert compressed(5, 3, 16) == coco.frPyObjects({"size": size, "counts": [5, 3, 16]}, *size)[
        "counts"
    ].decode("ascii")
    assert are_runs(compressed(5, 3, 16), size)
    assert not are_runs(compressed(5, 3, 15), size)
    assert not are_runs(compressed(5, -3, 22), size)


def test_a_sum_that_comes_round_is_none(monkeypatch):
    lengths = np.array([1 << 62] * 4 + [24])
    assert int(lengths.sum()) == 24
    monkeypatch.setattr(runs, "_lengths", lambda counts: lengths)
    assert not are_runs(compressed(24), (4, 6))
