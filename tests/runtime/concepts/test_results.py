from __future__ import annotations

import json

import numpy as np
import pytest
import toy
from PIL import Image
from pycocotools import mask as coco

from sam3_tvm.errors import ResultError
from sam3_tvm.runtime.concepts.results import Result
from sam3_tvm.runtime.pictures.arguments import PromptError
from sam3_tvm.runtime.pictures.colours import Colours, object_colour
from sam3_tvm.runtime.pictures.kept_picture import keep_picture
from sam3_tvm.runtime.pictures.masks import LazyMasks

SIZE = (48, 80)


def make(count=3, size=SIZE, picture=None, resize=toy.ToyFunctions.resize_masks) -> Result:
    """Objects side by side: the n-th mask is the n-th eighth of the picture's columns."""
    logits = np.full((count, 8, 8), -1.0, np.float32)
    for n in range(count):
        logits[n, :, n % 8] = 1
    left = np.arange(count, dtype=np.float32) % 8 * size[1] / 8
    ones = np.ones(count, np.float32)
    boxes = np.stack([left, 0 * ones, left + size[1] / 8, size[0] * ones], 1)
    scores = np.linspace(0.93, 0.55, count).astype(np.float32)
    queries = np.arange(count)[::-1]
    kept = None if picture is None else keep_picture(picture)[1]
    return Result("dog", boxes, scores, queries, LazyMasks(size, logits, resize), kept)


def test_masks_are_at_the_pictures_size_and_computed_once():
    calls = []

    def resize(logits, size):
        calls.append(len(logits))
        return toy.ToyFunctions.resize_masks(logits, size)

    result = make(resize=resize)
    assert calls == []
    masks = result.masks
    assert (masks.shape, masks.dtype) == ((3, *SIZE), np.bool_)
    for n, mask in enumerate(masks):
        assert mask[:, n * 10 : n * 10 + 10].all()
        assert mask.sum() == 480
    assert result.masks is masks
    assert result[1:].masks.base is masks
    result.to_coco()
    assert calls == [3]


def test_many_masks_are_resized_in_groups():
    calls = []

    def resize(logits, size):
        calls.append(len(logits))
        return np.broadcast_to(logits[:, :1, :1] > 0, (len(logits), *size))

    result = make(12, size=(2000, 2000), resize=resize)
    assert result.masks.sum((1, 2)).tolist() == [4_000_000 * (n % 8 == 0) for n in range(12)]
    assert calls == [4, 4, 4]


@pytest.mark.parametrize(
    ("index", "chosen"),
    [
        (0, [0]),
        (-1, [2]),
        (np.int64(1), [1]),
        (slice(1, None), [1, 2]),
        (slice(None, None, -1), [2, 1, 0]),
        (np.array([True, False, True]), [0, 2]),
        ([2, 0], [2, 0]),
        ([], []),
        (np.zeros(3, bool), []),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_indexing_gives_results(index, chosen, masked):
    result = make()
    whole = make().masks
    if masked:
        assert len(result.masks) == 3
    part = result[index]
    assert isinstance(part, Result)
    assert len(part) == len(chosen)
    np.testing.assert_array_equal(part.boxes, result.boxes[chosen])
    np.testing.assert_array_equal(part.scores, result.scores[chosen])
    np.testing.assert_array_equal(part.queries, result.queries[chosen])
    np.testing.assert_array_equal(part.masks, whole[chosen])


def test_indices_outside_are_errors_and_loops_end():
    result = make()
    for index in (3, -4):
        with pytest.raises(IndexError):
            result[index]
    with pytest.raises(IndexError):
        result[np.array([True])]
    assert [len(r) for r in result] == [1, 1, 1]
    assert [float(r.scores[0]) for r in result] == result.scores.tolist()


def test_the_repr_tells():
    assert repr(make()) == "Result('dog': 3 objects, best 0.93, 80x48)"
    assert repr(make()[0]) == "Result('dog': 1 object, best 0.93, 80x48)"
    assert repr(make()[:0]) == "Result('dog': 0 objects, 80x48)"


def test_nothing_found_is_a_result_too():
    empty = make(0, picture=np.zeros((*SIZE, 3), np.uint8))
    assert empty.masks.shape == (0, *SIZE)
    assert list(empty) == empty.to_coco() == []
    assert not np.asarray(empty.overlay()).any()


# pycocotools 2.0.11 has an __array__ in the style of NumPy 1.
@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_coco_entries_decode_to_the_masks():
    result = make()
    entries = result.to_coco()
    for entry, mask, box, score in zip(
        entries, result.masks, result.boxes, result.scores, strict=True
    ):
        assert isinstance(entry["segmentation"]["counts"], str)
        assert entry["segmentation"]["size"] == list(SIZE)
        np.testing.assert_array_equal(coco.decode(entry["segmentation"]), mask)
        x, y, w, h = entry["bbox"]
        np.testing.assert_allclose([x, y, x + w, y + h], box)
        assert entry["score"] == float(score)
        assert entry["area"] == mask.sum()
        assert set(entry) == {"segmentation", "bbox", "score", "area"}
    assert (
        result.to_coco(image_id=7, category_id=0)[0].items()
        >= {
            "image_id": 7,
            "category_id": 0,
        }.items()
    )


def on_grey(index: int) -> tuple[int, int, int]:
    """The colour of the n-th object on the grey picture of these tests."""
    colours = Colours()
    return [colours.next((120, 120, 120)) for _ in range(index + 1)][-1]


class TestOverlay:
    grey = np.full((480, 800, 3), 120, np.uint8)

    def draw(self, **options) -> np.ndarray:
        image = make(3, (480, 800), self.grey).overlay(**options)
        assert (image.mode, image.size) == ("RGB", (800, 480))
        return np.asarray(image).astype(int)

    def test_masks_are_tinted_in_their_own_colours(self):
        drawn = self.draw(boxes=False, labels=False)
        for n in range(3):
            middle = drawn[240, 100 * n + 50]
            np.testing.assert_allclose(middle, 0.55 * 120 + 0.45 * np.array(on_grey(n)), atol=1)
        assert (drawn[:, 320:] == 120).all()

    def test_outlines_are_stronger_than_the_fill(self):
        drawn = self.draw(boxes=False, labels=False)
        colour = np.array(on_grey(1))
        rim, inside = drawn[240, 100], drawn[240, 150]
        assert np.abs(rim - colour).sum() < np.abs(inside - colour).sum() / 3

    def test_opacity_0_leaves_the_inside_as_it_was(self):
        assert (self.draw(opacity=0, boxes=False, labels=False)[240, 50] == 120).all()

    def test_boxes_and_labels_can_be_left_out(self):
        plain = self.draw(boxes=False, labels=False)
        assert (self.draw(boxes=True, labels=False) != plain).any()
        assert (self.draw(boxes=False, labels=True) != plain).any()

    def test_labels_never_cover_each_other_or_most_of_a_small_picture(self):
        def plates(size):
            result = make(8, size, np.zeros((*size, 3), np.uint8))
            result.logits[:] = -1  # no masks: what is drawn is labels alone
            return np.asarray(result.overlay(boxes=False)).any(2)

        assert plates((480, 800)).any()
        assert plates((75, 100)).mean() < 0.5
        assert not plates((20, 20)).any()

    def test_the_given_picture_is_not_drawn_on(self):
        self.draw()
        assert (self.grey == 120).all()

    def test_boxes_beyond_the_edges_are_drawn_at_the_edges(self):
        result = make(1, (480, 800), self.grey)
        result.boxes[:] = [-500, -20, 5000, 9000]
        drawn = np.asarray(result.overlay(labels=False)).astype(int)
        for edge in (drawn[0, 400], drawn[-1, 400], drawn[240, 0], drawn[240, -1]):
            np.testing.assert_array_equal(edge, on_grey(0))

    @pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (75, 100), (3000, 4000)])
    def test_every_size_can_be_drawn(self, size):
        picture = Image.new("RGB", size[::-1], (200, 30, 90))
        drawn = make(2, size, picture).overlay()
        assert drawn.size == size[::-1]

    def test_an_empty_mask_draws_nothing(self):
        result = make(1, (480, 800), self.grey)
        result.logits[:] = -1
        assert (np.asarray(result.overlay(boxes=False, labels=False)) == 120).all()

    def test_colours_of_neighbours_differ(self):
        colours = np.array([object_colour(n) for n in range(30)])
        steps = np.abs(np.diff(colours, axis=0)).sum(1)
        assert steps.min() > 100
        assert len({tuple(c) for c in colours}) == 30


@pytest.mark.parametrize(
    "index",
    [
        *(True, np.bool_(True), np.array(True), [[0, 1], [1, 2]], (0, 1), None, [0.0], 1.0, "0"),
        *(3, -4, [0, 3], [None], slice("a", None), [[0], [1, 2]], np.zeros((3, 3), bool), [True]),
    ],
)
def test_what_numpy_does_not_take_for_one_axis_is_no_index(index):
    with pytest.raises(IndexError):
        make()[index]


@pytest.mark.parametrize(
    "index",
    [
        *(-1, np.int8(1), np.array(2), [], [2, 0, 0], np.array([-1, 0]), slice(None, None, -1)),
        *([True, False, True], np.array([False, False, False]), slice(5, 9)),
    ],
)
def test_indices_choose_what_numpy_chooses(index):
    result = make()
    wanted = np.atleast_1d(np.arange(3)[index])
    np.testing.assert_array_equal(result[index].boxes, result.boxes[wanted])
    result.masks  # noqa: B018 - made once, and then chosen from
    np.testing.assert_array_equal(result[index].masks, result.masks[wanted])


@pytest.mark.parametrize("opacity", [5, -0.1, float("nan"), float("inf"), True, "0.5", None])
def test_an_opacity_is_a_number_from_0_to_1(opacity):
    with pytest.raises(ResultError, match="opacity is a number from 0"):
        make(picture=np.zeros((*SIZE, 3), np.uint8)).overlay(opacity=opacity)


def test_flags_and_ids_are_what_they_should_be():
    result = make(picture=np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(ResultError, match="boxes says whether to draw them"):
        result.overlay(boxes=result.boxes)
    for number in (1.5, True, "7"):
        with pytest.raises(ResultError, match="image_id is an integer"):
            result.to_coco(image_id=number)
    assert json.dumps(result[:0].to_coco(np.int64(7))) == "[]"


def overlapping(*columns: tuple[int, int], resize=toy.ToyFunctions.resize_masks) -> Result:
    """Objects, best first, each covering these columns of eight."""
    count = len(columns)
    logits = np.full((count, 8, 8), -1.0, np.float32)
    for n, (first, last) in enumerate(columns):
        logits[n, :, first:last] = 1
    scores = np.linspace(0.9, 0.5, count).astype(np.float32)
    boxes = np.tile(np.array([0, 0, 80, 48], np.float32), (count, 1))
    return Result("dog", boxes, scores, np.arange(count), LazyMasks(SIZE, logits, resize))


def by_hand(masks: np.ndarray, iou: float) -> list[int]:
    """Greedy suppression, each pair counted pixel by pixel."""
    kept: list[int] = []
    for n, mask in enumerate(masks):
        shares = [(mask & masks[k]).sum() / max((mask | masks[k]).sum(), 1) for k in kept]
        if not any(share > iou for share in shares):
            kept.append(n)
    return kept


def test_nms_leaves_the_better_of_two_masks_and_looks_at_masks_alone():
    # The boxes are all the same: they play no part.
    result = overlapping((0, 4), (4, 8), (0, 3), (3, 7), (5, 5))
    assert result.nms(0.7).queries.tolist() == [0, 1, 3, 4]  # 0 and 2 share three quarters
    assert result.nms(0.75).queries.tolist() == [0, 1, 2, 3, 4]  # which is not more than that
    assert result.nms(0.59).queries.tolist() == [0, 1, 4]
    assert result.nms(0).queries.tolist() == [0, 1, 4]  # an empty mask overlaps nothing
    assert result.nms(1) == result
    for iou in np.linspace(0, 1, 21):
        assert result.nms(iou).queries.tolist() == by_hand(result.masks, iou)


def test_what_is_suppressed_suppresses_nothing():
    # 1 goes because of 0; 2 overlaps 1 as much, and 0 hardly.
    assert overlapping((0, 4), (1, 5), (2, 6)).nms(0.5).queries.tolist() == [0, 2]


def test_nms_of_nothing_is_nothing():
    assert len(make(0).nms(0.5)) == 0


@pytest.mark.parametrize("iou", [-0.1, 1.1, float("nan"), True, "0.5", None, [0.5]])
def test_nms_takes_a_share(iou):
    with pytest.raises(PromptError, match=r"nms is the IoU of masks .* 0 to 1, not"):
        make().nms(iou)
