import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import toy

from sam3_tvm.abi import BATCH, abi
from sam3_tvm.arithmetic import PRECISIONS, storing
from sam3_tvm.components import Component, TensorSpec
from sam3_tvm.runtime.pictures.image import ImageError
from sam3_tvm.sizes import Sizes
from sam3_tvm.sources.base import (
    ClickReferenceResult,
    ClickSpec,
    PromptSpec,
    VideoReferenceFrame,
)
from sam3_tvm.verify import Bounds, VerifyError, VerifyReport, verify
from sam3_tvm.verify.clicks import compare_click
from sam3_tvm.verify.end_to_end import compare_picture, end_to_end_row
from sam3_tvm.verify.functions import compare_function, function_cases, function_row
from sam3_tvm.verify.running import photographs
from sam3_tvm.verify.video import film_of, film_prompts, frame_row, other_choices


@pytest.fixture(scope="module")
def report(tiny_artifact):
    return verify(tiny_artifact)


def test_the_tiny_model_keeps_every_bound(report):
    for row in report.functions:
        print(row.name, row.output, row.case, row.max_error, row.mean_error, row.relative)
    for row in report.end_to_end:
        print(row)
    for row in [*report.clicks, *report.frames, *report.phrase_frames]:
        print(row)
    assert [row for row in report.rows if not row.ok] == []
    assert report.ok


def test_every_function_is_compared_at_its_smallest_and_largest_sizes(report):
    cases = {}
    for row in report.functions:
        cases.setdefault(row.name, set()).add(row.case)
    from sam3_tvm.sources import open_source

    assert set(cases) == set(abi(open_source("random:tiny").sizes))
    assert all(len(found) >= 2 for found in cases.values())
    assert any("boxes=0" in case for case in cases["geometry_encoder"])
    assert any("boxes=64" in case for case in cases["geometry_encoder"])
    assert any("prompt=128" in case for case in cases["detr_encoder"])
    assert {case.split("memories")[1] for case in cases["memory_attention"]} == {
        "=1 pointers=0",
        "=1 pointers=1",
        "=3 pointers=5",
        "=10 pointers=128",
    }


def test_real_photographs_are_segmented_with_words_boxes_and_both(report):
    assert len({row.picture for row in report.end_to_end}) == 3
    assert len({row.prompt for row in report.end_to_end}) == 3
    assert any(row.kept for row in report.end_to_end)


def test_a_picture_that_cannot_be_read_is_refused_before_the_work(tmp_path):
    begun = []
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        verify(
            toy.write_artifact(tmp_path / "toy").path,
            images=[tmp_path / "gone.png"],
            progress=lambda *step: begun.append(step),
        )
    assert begun == []


def test_real_photographs_are_clicked_with_points_boxes_and_masks(report):
    assert len({row.picture for row in report.clicks}) == 3
    assert {row.prompt for row in report.clicks} == {
        "click +",
        "click +, one mask",
        "click ++-",
        "click ++-++-++-",
        "box",
        "click ++, box, one mask",
        "click ++-, refined",
    }
    assert {row.masks for row in report.clicks} == {1, 3}


def test_a_wrong_mask_score_or_number_of_masks_is_seen():
    class Clicked:
        """Answers any click with the same masks."""

        def __init__(self, masks, iou):
            self.masks, self.iou = masks, np.array(iou, np.float32)

        def __len__(self):
            return len(self.masks)

        def click(self, *_):
            return self

    masks = np.zeros((3, 20, 20), bool)
    masks[:, 5:15, 5:15] = True
    wanted = ClickReferenceResult(np.array([0.5, 0.6, 0.7], np.float32), masks)
    click = ClickSpec(((1.0, 2.0),), (1,))

    def row(masks, iou):
        return compare_click(Clicked(masks, iou), "x", None, click, wanted, Bounds())

    assert row(masks, [0.5, 0.6, 0.7]).ok
    assert not row(masks, [0.5, 0.6, 0.702]).ok
    assert not row(masks, [0.5, 0.6, float("nan")]).ok
    assert not row(masks[:1], [0.5]).ok
    other = masks.copy()
    other[1, 5, 5] = False
    assert not row(other, [0.5, 0.6, 0.7]).ok
    assert row(other, [0.5, 0.6, 0.7]).iou_min == pytest.approx(0.99)


def test_objects_of_a_film_are_followed(report):
    assert [row.frame for row in report.frames] == list(range(10))
    # The first is shown on frame 2, and nothing of it before.
    assert [row.objects for row in report.frames] == [[2, 3]] * 2 + [[1, 2, 3]] * 8
    # Neither empty nor full, or there would be nothing to compare.
    assert all(0.01 < area < 0.99 for row in report.frames for area in row.areas)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (300, 451)])
def test_a_picture_of_any_size_makes_a_film(size):
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    film = film_of(rgb, 10)
    assert len(film) == 10
    (height, width, _) = film[0].shape
    assert all(frame.shape == (height, width, 3) for frame in film)
    if size[0] > 5:
        np.testing.assert_array_equal(film[0], rgb[:height, :width])
        np.testing.assert_array_equal(film[-1], rgb[-height:, -width:])
    first, second, third = film_prompts((height, width))
    x0, y0, x1, y1 = first.box
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    assert all(0 <= x <= width and 0 <= y <= height for x, y in second.points)
    assert third.mask.shape == (height, width)
    assert third.mask.any()


def test_wrong_objects_masks_and_scores_of_a_frame_are_seen():
    class Followed:
        """A frame with these objects."""

        def __init__(self, objects, masks, scores):
            self.index, self.objects, self.masks = 4, objects, masks
            self.scores = np.array(scores, np.float32)

    masks = np.zeros((2, 20, 20), bool)
    masks[:, 5:15, 5:15] = True
    wanted = VideoReferenceFrame(4, [1, 2], masks, np.array([0.9, 0.8], np.float32))

    def row(objects, masks, scores):
        return frame_row("x", Followed(objects, masks, scores), wanted, Bounds())

    assert row([1, 2], masks, [0.9, 0.8]).ok
    assert not row([1, 2], masks, [0.9, 0.802]).ok
    assert not row([1, 2], masks, [0.9, float("nan")]).ok
    assert not row([2, 1], masks, [0.9, 0.8]).ok
    assert not row([1], masks[:1], [0.9]).ok
    other = masks.copy()
    other[1, 5, 5] = False
    assert row([1, 2], other, [0.9, 0.8]).ok, "one pixel, by whatever share"
    other[1, 5, 6] = False
    assert not row([1, 2], other, [0.9, 0.8]).ok
    assert row([1, 2], other, [0.9, 0.8]).iou_min == pytest.approx(0.98)


def test_the_next_best_mask_may_be_taken_where_it_is_nearly_as_good():
    best, after = np.zeros((2, 20, 20), bool)
    best[:10], after[10:] = True, True

    narrow = Bounds(iou=0.9, score=0.02, margin=0.02)

    def taken(mask, lead, bounds=narrow):
        scores = np.array([0.9], np.float32)
        leads = np.array([lead], np.float32)
        wanted = VideoReferenceFrame(4, [7], best[None], scores, leads, after[None])
        found = SimpleNamespace(index=4, objects=[7], masks=mask[None], scores=scores)
        others = other_choices(found, wanted, bounds)
        row = frame_row("x", found, wanted, bounds, without=others)
        assert row.ok is (bool(others) or mask is best)
        return [*others]

    assert taken(after, 0.01) == [7]
    assert taken(best, 0.01) == []
    assert taken(after, 0.03) == []
    assert taken(after, 0.01, Bounds()) == []
    assert taken(best ^ after, 0.01) == []  # neither of them


def test_objects_of_phrases_are_found_and_followed(report):
    assert [row.frame for row in report.phrase_frames] == list(range(12))
    assert len({name for row in report.phrase_frames for name in row.objects}) > 4
    assert len({phrase for row in report.phrase_frames for phrase in row.phrases}) == 3
    assert report.left_out == []


def test_functions_can_be_chosen(tiny_artifact):
    report = verify(tiny_artifact, functions=["scoring"])
    assert {row.name for row in report.functions} == {"scoring"}
    assert report.end_to_end == []


def test_parts_can_be_chosen(tiny_artifact, report):
    films = verify(tiny_artifact, frames=3, parts=["films"])
    assert films.ok
    assert {row.film for row in films.rows} == {row.film for row in report.frames} | {
        row.film for row in report.phrase_frames
    }
    assert len(films.frames) == 3
    pictures = verify(tiny_artifact, images=[*photographs()][:1], parts=["pictures"])
    assert pictures.rows == [*pictures.end_to_end, *pictures.clicks] != []


def test_an_unknown_part_says_which_there_are(tiny_artifact, tmp_path):
    with pytest.raises(VerifyError, match="no part 'clicks'; there are functions, pictures, films"):
        verify(tiny_artifact, parts=["clicks"])
    made = toy.write_artifact(tmp_path / "pictures")
    with pytest.raises(VerifyError, match="isn't for video, so there are no films to compare"):
        verify(made.path, parts=["films"])


def test_an_unknown_function_says_which_there_are(tiny_artifact):
    with pytest.raises(VerifyError, match="vision_encoder, text_encoder"):
        verify(tiny_artifact, functions=["decoder"])


@pytest.mark.parametrize("frames", [2, 2001, 10**9])
def test_a_film_that_is_too_short_or_long_is_refused_before_anything_is_opened(tmp_path, frames):
    with pytest.raises(VerifyError, match=rf"a film has 3 to 2000 frames, not {frames}"):
        verify(tmp_path / "nothing", frames=frames)


def test_several_artifacts_share_one_run_of_the_reference(tiny_artifact, tmp_path):
    link = tmp_path / "again"
    link.symlink_to(tiny_artifact, target_is_directory=True)
    steps = []
    first, second = verify(
        [str(tiny_artifact), str(link)],
        functions=["scoring"],
        progress=lambda step, done, total: steps.append((step, done, total)),
    )
    assert (first.artifact, second.artifact) == (str(tiny_artifact), str(link))
    assert first.functions == second.functions
    assert first.ok
    cases = len({row.case for row in first.functions})
    assert [total for _, _, total in steps] == [3 * cases] * (3 * cases + 1)
    assert [done for _, done, _ in steps] == list(range(3 * cases + 1))
    assert sum(step.endswith(": PyTorch") for step, _, _ in steps) == cases
    assert sum(step.endswith(f": {link}") for step, _, _ in steps) == cases


def test_artifacts_of_two_checkpoints_are_refused(tiny_artifact, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_artifact, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["source"]["checkpoint"] = "random:tiny:7"
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(VerifyError, match=r"random:tiny:7, .* has random:tiny: ") as caught:
        verify([tiny_artifact, other])
    assert "\n" not in f"{caught.value}"
    with pytest.raises(VerifyError, match="no artifact"):
        verify([])


def test_frames_of_an_artifact_without_films_are_refused(tmp_path):
    made = toy.write_artifact(tmp_path / "pictures")
    with pytest.raises(VerifyError, match="isn't for video, so no film of 20 frames"):
        verify(made.path, frames=20)


def test_at_the_real_size_pytorch_encodes_two_pictures_once():
    class Source:
        sizes = Sizes(1008, 72, 256, 32, 200, 8)

    (case,) = function_cases("vision_encoder", Source())
    assert case.dims == {"batch": 2}
    assert case.compared == ({"batch": 1}, {"batch": 2})
    assert len(function_cases("detr_encoder", Source())) == 3


def test_fewer_rows_are_compared_with_the_references_first():
    component = Component(
        "twice",
        (TensorSpec("x", "float32", (BATCH, 3)),),
        (TensorSpec("y", "float32", (BATCH, 3)),),
    )
    x = np.arange(6, dtype="float32").reshape(2, 3)
    seen = []

    def call(name, given):
        seen.append(given.shape)
        return [given * 2]

    for batch in (1, 2):
        (row,) = compare_function(call, component, {"batch": batch}, [x], [2 * x], Bounds())
        assert row.ok
        assert row.case == f"batch={batch}"
    assert seen == [(1, 3), (2, 3)]


def test_a_wrong_number_breaks_a_bound():
    """The comparison can fail: by value, by NaN, and by a flipped entry of a mask."""
    good = np.linspace(-1, 1, 1000, dtype="float32")
    off, nan = good.copy(), good.copy()
    off[3] += 2e-4
    nan[3] = np.nan
    row = function_row
    assert row("f", "o", "c", good, good, Bounds()).ok
    assert not row("f", "o", "c", off, good, Bounds()).ok
    assert not row("f", "o", "c", nan, good, Bounds()).ok
    mask, flipped = good > 0, good > 0
    flipped = flipped.copy()
    flipped[:2] = True
    assert row("f", "o", "c", mask, mask, Bounds()).ok
    assert not row("f", "o", "c", flipped, mask, Bounds()).ok


def test_nothing_compared_is_no_success():
    assert not VerifyReport("here", "random:tiny", Bounds()).ok


@pytest.mark.parametrize("precision", PRECISIONS)
def test_narrower_weights_have_wider_bounds_and_scores_explain_other_kept_sets(precision):
    bounds, exact = Bounds.of(storing(precision)), Bounds()
    assert bounds.margin <= bounds.score
    if precision == "float32":
        assert bounds == exact
        assert bounds.margin == 0
    else:
        assert bounds.iou < exact.iou
        assert bounds.function > exact.function


class Found:
    """Some queries of a result, as the runtime hands them out."""

    def __init__(self, queries, scores):
        self.queries = np.array(queries, int)
        self.scores = np.array(scores, "float32")
        self.masks = np.ones((len(self.queries), 2, 2), bool)
        self.boxes = np.zeros((len(self.queries), 4), "float32")

    def __getitem__(self, index):
        return Found(self.queries[index], self.scores[index])


class Wanted:
    scores = np.array([0.6, 0.505, 0.496, 0.3], "float32")
    boxes = np.zeros((4, 4), "float32")

    def masks(self, queries):
        return np.ones((len(queries), 2, 2), bool)


@pytest.mark.parametrize(
    ("found", "margin", "ok"),
    [
        ({0: 0.6, 1: 0.505}, 0.0, True),
        ({0: 0.6}, 0.0, False),  # one is missing
        ({0: 0.6, 1: 0.505, 2: 0.501}, 0.0, False),  # one too many
        ({0: 0.6, 1: 0.497, 2: 0.503}, 0.01, True),  # two near the threshold changed sides
        ({0: 0.6, 2: 0.503}, 0.01, False),  # one fell further than the margin
        ({0: 0.6, 1: 0.505, 3: 0.503}, 0.01, False),  # one rose further
        ({0: 0.6, 1: 0.505, 3: 0.493}, 0.01, True),  # seen below the threshold, not kept
        ({0: 0.585, 1: 0.505}, 0.01, False),  # kept, with a wrong score
    ],
)
def test_kept_queries_may_differ_within_the_margin_alone(found, margin, ok):
    bounds = Bounds(score=max(margin, 1e-4), margin=margin)
    row = end_to_end_row(
        "picture", "prompt", 0.5, Found([*found], [*found.values()]), Wanted(), bounds
    )
    assert row.ok is ok
    assert row.kept == sum(score > 0.5 for score in found.values())


@pytest.mark.parametrize(("margin", "compared"), [(0.0, [0.5, 2e-3]), (5e-3, [0.5])])
def test_scores_that_rounding_cannot_tell_from_none_are_left_out_and_named(margin, compared):
    class Little(Wanted):
        scores = np.array([3.1e-3, 3e-3, 1e-3, 9e-4], "float32")

    class Segmenting:
        def segment(self, image, threshold, **prompt):
            asked.append(threshold)
            kept = Little.scores > threshold
            return Found(np.flatnonzero(kept), Little.scores[kept])

    asked = []
    rows, left_out = compare_picture(
        Segmenting(), "a.jpg", None, [PromptSpec("cat")], [Little()], Bounds(margin=margin)
    )
    assert [row.threshold for row in rows] == pytest.approx(compared)
    assert asked == pytest.approx([threshold - margin for threshold in compared])
    assert all(row.ok for row in rows)
    said = ["'cat' in a.jpg at a threshold of 2.0e-03: scores there are within 0.005 of 0"]
    assert left_out == (said if margin else [])


def test_an_error_of_a_logit_near_zero_is_not_measured_by_that_logit():
    near, far = np.float32([[0.03]]), np.float32([[-40.0]])
    wrong = np.float32([[2e-3]])
    row = function_row("detr_decoder", "presence_logits", "", near + wrong, near, Bounds())
    assert row.relative == pytest.approx(2e-3, rel=1e-3)
    assert not row.ok
    row = function_row("detr_decoder", "presence_logits", "", far + wrong, far, Bounds())
    assert row.relative == pytest.approx(5e-5, rel=1e-2)
    row = function_row("detr_decoder", "boxes", "", near + wrong, near, Bounds())
    assert row.relative == pytest.approx(2e-3 / 0.03, rel=1e-3)
