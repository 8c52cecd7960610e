"""COCO's forms of a mask, read safely."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco

from sam3_tvm.evaluate.segmentation import decode, encode, iou, to_rle

MASK = np.random.default_rng(1).random((13, 37)) < 0.4


def as_text(mask: np.ndarray) -> str:
    return encode(mask)["counts"].decode("ascii")


def test_a_mask_survives_every_form():
    size = list(MASK.shape)
    compressed = {"size": size, "counts": as_text(MASK)}
    columns = np.concatenate([[0], MASK.T.ravel().astype(int), [2]])
    edges = np.flatnonzero(np.diff(columns))
    edges[-1] = MASK.size
    counts = np.diff(np.concatenate([[0], edges])).tolist()
    # Counts begin with the zeros, of which there may be none.
    assert not MASK[0, 0]
    for form in (compressed, {"size": size, "counts": counts}):
        assert (decode(to_rle(form, MASK.shape)) == MASK).all()
    assert (decode(encode(MASK)) == MASK).all()


@pytest.mark.parametrize("fill", [0, 1])
def test_uniform_masks_survive_compression(fill):
    mask = np.full((50, 400), bool(fill))
    assert (decode(to_rle({"size": [50, 400], "counts": as_text(mask)}, (50, 400))) == mask).all()


def test_polygons_become_their_pixels_and_several_are_one_object():
    rle = to_rle([[1, 1, 5, 1, 5, 4, 1, 4], [8, 2, 10, 2, 10, 6, 8, 6]], (10, 12))
    wanted = np.zeros((10, 12), bool)
    wanted[1:4, 1:5] = wanted[2:6, 8:10] = True
    assert (decode(rle) == wanted).all()


@pytest.mark.parametrize(
    ("segmentation", "says"),
    [
        (None, "neither polygons nor run-length"),
        ([], "an empty list"),
        ([[1, 1, 2, 2]], "at least three"),
        ([[1, 1, 2, 2, 3, 3, 4]], "x, y pairs"),
        ([1, 1, 2, 2, 3, 3], "x, y pairs"),
        ([[1, 1, 2, 2, 3, float("nan")]], "coordinate nan"),
        ([[1, 1, 2, 2, 3, 10**400]], "coordinate 1000"),
        ([[1, 1, 2, 2, 3, "4"]], "coordinate '4'"),
        ({"size": [5, 4], "counts": [20]}, "of size [5, 4], its picture's is [4, 5]"),
        ({"size": [4, 5]}, "neither COCO's string nor"),
        ({"size": [4, 5], "counts": [-1, 21]}, "neither COCO's string nor"),
        ({"size": [4, 5], "counts": [3, 5]}, "add up to 8 of 20"),
        ({"size": [4, 5], "counts": "35"}, "add up to 8 of 20"),
        ({"size": [4, 5], "counts": ""}, "add up to 0 of 20"),
        ({"size": [4, 5], "counts": "zz"}, "the character 'z'"),
        ({"size": [4, 5], "counts": "5o"}, "end within a number"),
        ({"size": [4, 5], "counts": "O"}, "neither COCO's string nor"),
    ],
)
def test_what_is_no_mask_is_refused(segmentation, says):
    with pytest.raises(ValueError, match=r"^(its|a polygon)") as caught:
        to_rle(segmentation, (4, 5))
    assert says in str(caught.value)


def test_compressed_counts_are_read_as_pycocotools_writes_them():
    rng = np.random.default_rng(2)
    for density in (0.001, 0.02, 0.5, 0.999):
        mask = rng.random((300, 200)) < density
        rle = to_rle({"size": [300, 200], "counts": as_text(mask)}, (300, 200))
        assert rle["counts"] == coco.encode(np.asfortranarray(mask, np.uint8))["counts"]


def test_iou_by_hand_and_for_crowds_by_the_predictions_area():
    a, b = np.zeros((4, 6), bool), np.zeros((4, 6), bool)
    a[:, :3], b[:, 2:] = True, True
    assert iou([encode(a)], [encode(b), encode(a)]).tolist() == [[4 / 24, 1.0]]
    assert iou([encode(a)], [encode(b)], crowd=True).tolist() == [[4 / 12]]
    assert iou([], [encode(a)]).shape == (0, 1)
    assert iou([encode(a)], []).shape == (1, 0)
