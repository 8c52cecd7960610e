"""Results as plain data: equal by value, and the same in another process."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import elsewhere
import numpy as np
import pytest
import toy
from PIL import Image

import sam3_tvm
from sam3_tvm.errors import ResultError
from sam3_tvm.runtime import ClickResult, FrameResult, Result
from sam3_tvm.runtime.pictures.kept_picture import keep_picture
from sam3_tvm.runtime.pictures.masks import LazyMasks
from sam3_tvm.runtime.pictures.values import same

HEIGHT, WIDTH = 40, 81  # no whole number of bytes
KINDS = ["found", "clicked", "frame"]


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture
def clicking(toy_artifact):
    manifest = toy.with_clicks(toy_artifact.manifest)
    return toy.make_model(toy_artifact, toy.ToyClickFunctions(), manifest)


@pytest.fixture
def results(clicking, picture) -> dict[str, Result | ClickResult | FrameResult]:
    found = clicking.segment(picture, "dog", threshold=0)
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((2, 8, 8)).astype(np.float32)
    masks = LazyMasks((HEIGHT, WIDTH), logits, clicking._clicker._resize)
    frame = FrameResult(7, [4, 1], np.array([0.9, 0.2], np.float32), masks, picture)
    clicked = clicking.click(picture, [[20, 10]], box=[10, 5, 60, 30])
    return {"found": found, "clicked": clicked, "frame": frame}


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickled_result_equals_what_it_was(results, kind):
    result = results[kind]
    again = pickle.loads(pickle.dumps(result))
    assert type(again) is type(result)
    assert again == result
    assert repr(again) == repr(result)
    np.testing.assert_array_equal(again.masks, result.masks)
    assert again.masks.dtype == bool
    np.testing.assert_array_equal(np.asarray(again.overlay()), np.asarray(result.overlay()))
    assert again.to_coco() == result.to_coco()
    assert again == result, "also with masks made"
    assert pickle.loads(pickle.dumps(again)) == result
    assert copy.deepcopy(result) == result


def test_results_work_in_another_process(compiled, results, picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "p.png")
    model = sam3_tvm.load(compiled.path, threads=1)  # whose resize is compiled
    sent = [
        model.segment(picture, "dog", threshold=0),
        model.segment(tmp_path / "p.png", "cat", [[6, 4, 30, 24]], threshold=0),
        *results.values(),
    ]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        looked = other.submit(elsewhere.look_at, sent).result(timeout=60)
    for result, (again, masks, drawn) in zip(sent, looked, strict=True):
        assert again == result
        np.testing.assert_array_equal(masks, result.masks)
        np.testing.assert_array_equal(drawn, np.asarray(result.overlay()))


@pytest.mark.parametrize("kind", KINDS)
def test_pickling_keeps_no_masks_on_either_side(results, kind):
    result = results[kind]
    again = pickle.loads(pickle.dumps(result))
    assert again == result
    assert result._masks._made is None
    assert again._masks._made is None
    areas = [int(mask.sum()) for mask in again._masks]
    assert again._masks._made is None
    assert areas == result.masks.sum((1, 2)).tolist()


def test_a_pickled_picture_is_a_path_or_the_array(clicking, tmp_path):
    large = np.random.default_rng(2).integers(0, 256, (300, 400, 3), np.uint8)
    Image.fromarray(large).save(tmp_path / "p.png")
    # A part of a larger array goes without the rest.
    sizes = {
        where: len(pickle.dumps(keep_picture(given)[1]))
        for where, given in {"path": tmp_path / "p.png", "part": large[:30, :40]}.items()
    }
    assert sizes["path"] < 500 + len(f"{tmp_path}")
    assert 3600 <= sizes["part"] < 4200
    for given in (tmp_path / "p.png", large):
        result = clicking.segment(given, "dog", threshold=0)
        again = pickle.loads(pickle.dumps(result))
        assert again.overlay() == result.overlay()


def test_what_is_chosen_of_an_unpickled_result_is_what_it_was(results):
    again = pickle.loads(pickle.dumps(results["found"]))
    for index in (0, slice(1, None), [2, 0], again.scores > 0.5):
        chosen, wanted = again[index], results["found"][index]
        assert chosen == wanted
        np.testing.assert_array_equal(chosen.masks, wanted.masks)
        assert pickle.loads(pickle.dumps(wanted)) == wanted
    assert again._masks._made is None
    assert results["found"][:0] == pickle.loads(pickle.dumps(results["found"][:0]))


@pytest.mark.parametrize("kind", KINDS)
def test_another_value_of_any_kind_makes_another_result(results, kind):
    result = results[kind]
    for name, value in vars(result).items():
        other = copy.copy(result)
        assert other == result
        changed = [*value, 1] if isinstance(value, list | tuple) else None
        setattr(other, name, changed if not isinstance(value, np.ndarray) else value + 1)
        assert other != result, name
    logits = result.logits.copy()
    logits[-1, 0, 0] += 1
    other = copy.copy(result)
    other._masks = LazyMasks(result.size, logits, result._masks._resize)
    assert other != result
    assert result != result.to_dict()


@pytest.mark.parametrize("kind", KINDS)
def test_results_have_no_hash_like_the_arrays_they_hold(results, kind):
    with pytest.raises(TypeError, match="unhashable type"):
        hash(results[kind])


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("found", {"text", "text_read", "boxes", "scores", "queries"}),
        ("clicked", {"click", "iou", "object_score"}),
        ("frame", {"index", "objects", "phrases", "scores"}),
    ],
)
def test_a_dictionary_has_the_attributes_as_plain_data(results, kind, names):
    result = results[kind]
    plain = result.to_dict()
    assert plain.keys() == names | {"size", "logits", "masks"}
    for name, value in plain.items():
        if name == "click":
            assert value.keys() == {"points", "labels", "box", "mask"}
            assert all(same(value[key], getattr(result.click, key)) for key in value)
        else:
            assert same(value, getattr(result, name))
    assert same(pickle.loads(pickle.dumps(plain)), plain)


def test_a_corrected_frame_has_the_other_ones_objects(results, picture):
    frame = results["frame"]
    logits = np.full((1, 8, 8), 3, np.float32)
    masks = LazyMasks(frame.size, logits, frame._masks._resize)
    by = FrameResult(7, [1], np.array([0.7], np.float32), masks, picture)
    corrected = frame.corrected(by)
    assert corrected.objects == [4, 1]
    np.testing.assert_allclose(corrected.scores, [0.9, 0.7])
    np.testing.assert_array_equal(corrected.masks[0], frame.masks[0])
    assert corrected.masks[1].all()
    np.testing.assert_array_equal(corrected.logits, [frame.logits[0], logits[0]])
    np.testing.assert_allclose(frame.scores, [0.9, 0.2])


@pytest.mark.parametrize("kind", ["found", "clicked", "nothing", "another size"])
def test_a_frame_is_not_corrected_by_what_is_no_frame_of_it(results, kind):
    frame = results["frame"]
    rgb = np.zeros((2, 3, 3), np.uint8)
    none = LazyMasks((2, 3), None, made=np.zeros((0, 2, 3), np.bool_))
    others = {
        "nothing": None,
        "another size": FrameResult(7, [], np.zeros(0, np.float32), none, rgb),
    }
    says = "corrected by another FrameResult|81x40 cannot be corrected by one of 3x2"
    with pytest.raises(ResultError, match=says):
        frame.corrected(results.get(kind, others.get(kind)))


def test_masks_alone_are_equal_by_themselves_and_have_no_logits(picture):
    def frame(on: int) -> FrameResult:
        made = np.zeros((1, HEIGHT, WIDTH), np.bool_)
        made[0, on] = True
        masks = LazyMasks((HEIGHT, WIDTH), None, made=made)
        return FrameResult(0, [1], np.ones(1, np.float32), masks, picture)

    assert frame(3) == frame(3)
    assert frame(3) != frame(4)
    assert pickle.loads(pickle.dumps(frame(3))) == frame(3)
    assert frame(3).to_dict()["logits"] is None
    with pytest.raises(ResultError, match="no logits"):
        frame(3).logits  # noqa: B018 - the property is what raises


def test_an_encoded_picture_can_go_to_another_process(clicking, picture):
    image = clicking.encode_image(picture)
    again = pickle.loads(pickle.dumps(image))
    assert again == image
    assert again != clicking.encode_image(picture[::-1])
    assert clicking.segment(again, "dog", threshold=0) == clicking.segment(
        image, "dog", threshold=0
    )


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        (np.array([1.0, np.nan]), np.array([1.0, np.nan]), True),
        (np.array([1.0]), np.array([1.0], np.float32), False),
        (np.zeros((2, 1)), np.zeros((1, 2)), False),
        (np.array(["a"]), np.array(["a"]), True),
        (np.zeros(1), [0.0], False),
        ([np.zeros(2), "x"], [np.zeros(2), "x"], True),
        ({"a": np.zeros(2)}, {"a": np.ones(2)}, False),
        ({"a": 1}, {"b": 1}, False),
        (float("nan"), float("nan"), True),
        ("dog", "cat", False),
        (None, np.zeros(1), False),
    ],
)
def test_values_are_the_same_by_what_they_hold(a, b, wanted):
    assert same(a, b) is wanted
    assert same(b, a) is wanted
