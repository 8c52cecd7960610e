"""What results become for other tools, in files, and in notebooks."""

from __future__ import annotations

import io
import json
import os
import re
import sys

import numpy as np
import pytest
import toy
from PIL import Image
from pycocotools import mask as coco

from sam3_tvm.errors import MissingExtraError, ResultError, UsageError
from sam3_tvm.runtime import ClickResult, FrameResult, Result
from sam3_tvm.runtime.pictures.image import ImageError
from sam3_tvm.runtime.pictures.masks import LazyMasks

KINDS = ["found", "clicked", "frame"]


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 81, 3), np.uint8)


@pytest.fixture
def results(toy_artifact, picture) -> dict[str, Result | ClickResult | FrameResult]:
    manifest = toy.with_clicks(toy_artifact.manifest)
    model = toy.make_model(toy_artifact, toy.ToyClickFunctions(), manifest)
    masks = np.zeros((2, 40, 81), bool)
    masks[0, 5:9, 20:50] = True  # the other object is absent
    scores = np.array([0.9, 0.2], np.float32)
    frame = FrameResult(7, [4, 1], scores, LazyMasks((40, 81), None, made=masks), picture)
    return {
        "found": model.segment(picture, "dog", threshold=0),
        "clicked": model.click(picture, [[20, 10]], box=[10, 5, 60, 30]),
        "frame": frame,
    }


@pytest.fixture(params=KINDS)
def result(results, request):
    return results[request.param]


def box_of(mask: np.ndarray) -> list[int]:
    y, x = np.nonzero(mask)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1] if len(x) else [0, 0, 0, 0]


def test_polygons_are_those_of_each_mask(result):
    polygons = result.to_polygons()
    assert len(polygons) == len(result)
    for parts, mask in zip(polygons, result.masks, strict=True):
        rings = [ring for part in parts for ring in (part.outer, *part.holes)]
        twice = [(x * np.roll(y, -1) - np.roll(x, -1) * y).sum() for x, y in (r.T for r in rings)]
        assert sum(twice) / 2 == mask.sum()


def test_a_data_frame_has_a_row_for_each(results):
    pytest.importorskip("pandas", reason="needs pandas, which isn't installed")
    found, clicked, frame = (results[kind] for kind in KINDS)
    place = ["x0", "y0", "x1", "y1"]
    table = found.to_dataframe()
    assert [*table.columns] == ["text", "score", *place, "area"]
    assert table["text"].tolist() == ["dog"] * len(found)
    np.testing.assert_array_equal(table["score"], found.scores)
    np.testing.assert_array_equal(table[place], found.boxes)
    assert table["area"].tolist() == found.masks.sum((1, 2)).tolist()
    table = clicked.to_dataframe()
    assert [*table.columns] == ["mask", "iou", *place, "area"]
    np.testing.assert_array_equal(table[place], [box_of(mask) for mask in clicked.masks])
    table = frame.to_dataframe()
    assert [*table.columns] == ["frame", "object", "score", *place, "area"]
    assert table["object"].tolist() == [4, 1]
    assert table[[*place, "area"]].to_numpy().tolist() == [[20, 5, 50, 9, 120], [0] * 5]
    assert found[:0].to_dataframe().shape == (0, 7)


def test_detections_are_supervisions(results):
    supervision = pytest.importorskip("supervision", reason="needs supervision, not installed")
    found, clicked, frame = (results[kind] for kind in KINDS)
    made = found.to_detections()
    assert isinstance(made, supervision.Detections)
    np.testing.assert_array_equal(made.xyxy, found.boxes)
    np.testing.assert_array_equal(made.mask, found.masks)
    np.testing.assert_array_equal(made.confidence, found.scores)
    assert made["class_name"].tolist() == ["dog"] * len(found)
    np.testing.assert_array_equal(made.area, found.masks.sum((1, 2)))
    assert len(made[made.confidence > 0.5]) == (found.scores > 0.5).sum()
    made = clicked.to_detections()
    np.testing.assert_array_equal(made.xyxy, [box_of(mask) for mask in clicked.masks])
    np.testing.assert_array_equal(made.confidence, clicked.iou)
    made = frame.to_detections()
    assert made.tracker_id.tolist() == [4]  # the absent one is no detection
    assert made.xyxy.tolist() == [[20, 5, 50, 9]]
    assert len(found[:0].to_detections()) == 0
    assert found[:0].to_detections().mask.shape == (0, 40, 81)


@pytest.mark.parametrize(
    ("method", "package"), [("to_dataframe", "pandas"), ("to_detections", "supervision")]
)
def test_a_missing_library_is_named_with_its_extra(result, monkeypatch, method, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError) as caught:
        getattr(result, method)()
    assert f"{method}() needs {package}" in f"{caught.value}"
    assert "pip install 'sam3-tvm[notebook]'" in f"{caught.value}"


def test_saved_as_png_it_is_the_overlay(result, tmp_path):
    result.save(tmp_path / "x.PNG")
    drawn = np.asarray(Image.open(tmp_path / "x.PNG"))
    np.testing.assert_array_equal(drawn, np.asarray(result.overlay()))


def test_saved_as_json_it_is_a_document_with_masks(result, tmp_path):
    path = tmp_path / "x.json"
    path.write_text("an older one")
    result.save(os.fspath(path))
    document = json.loads(path.read_text(encoding="utf-8"))
    assert (document["width"], document["height"]) == (81, 40)
    assert document["objects"] == result.to_coco()
    masks = [coco.decode(one["segmentation"]) for one in document["objects"]]
    np.testing.assert_array_equal(np.array(masks), result.masks)
    said = {"text": "dog"}
    if isinstance(result, FrameResult):
        said = {"frame": 7}
    if isinstance(result, ClickResult):
        assert document["points"] == [[20, 10]]
        said = {"point_labels": [1], "box": [10, 5, 60, 30], "best": result.best}
    assert said.items() <= document.items()
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_saved_as_npz_it_is_its_arrays(result, tmp_path):
    result.save(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["masks"], result.masks)
        assert file["masks"].dtype == bool
        assert file["size"].tolist() == [40, 81]
        wanted = {"text", "boxes", "scores", "queries", "logits"}
        if isinstance(result, FrameResult):
            wanted = {"index", "objects", "scores"}  # it has no logits
            assert "logits" not in file
        if isinstance(result, ClickResult):
            wanted = {"iou", "click_points", "click_labels", "click_box", "logits"}
            np.testing.assert_array_equal(file["click_points"], [[20, 10]])
        assert wanted <= {*file}


@pytest.mark.parametrize("name", ["x.jpg", "x", "x.png.gz", ".png"])
def test_another_form_is_refused_and_the_accepted_are_named(result, tmp_path, name):
    with pytest.raises(ResultError, match=r"give NAME\.png for the overlay, NAME\.json .*npz"):
        result.save(tmp_path / name)
    assert not any(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_to_is_one_line(result, tmp_path):
    with pytest.raises(UsageError, match="its folder does not exist"):
        result.save(tmp_path / "absent" / "x.npz")
    with pytest.raises(ResultError, match="save\\(\\) takes a path, not a int"):
        result.save(3)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x.npz/", "names a folder"),
        ("x.json//.", "names a folder"),
        ("a\0.png", r"a\\x00\.png: no"),
    ],
)
def test_what_is_no_name_of_a_file_is_refused(result, tmp_path, name, says):
    with pytest.raises(ResultError, match=says):
        result.save(f"{tmp_path}/{name}")
    assert not any(tmp_path.iterdir())


def test_half_a_character_is_spelt_out_in_a_notebook(picture):
    masks = LazyMasks((40, 81), None, made=np.ones((1, 40, 81), bool))
    result = Result("dog\ud800", np.zeros((1, 4), np.float32), np.ones(1, np.float32), [0], masks)
    page = result._repr_html_()
    page.encode()
    assert "<td>dog\\ud800</td>" in page


def test_a_notebook_shows_the_overlay_with_a_table_beside_it(result):
    shown = Image.open(io.BytesIO(result._repr_png_()))
    assert shown.format == "PNG"
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(result.overlay()))
    page = result._repr_html_()
    assert page.count('<img src="data:image/jpeg;base64,') == 1
    assert page.count("<tr>") == 1 + len(result)
    for mask in result.masks:
        assert f"<td>{mask.sum()}</td>" in page


def test_a_notebook_keeps_no_large_picture(results):
    large = np.zeros((1000, 1600, 3), np.uint8)
    masks = LazyMasks((1000, 1600), None, made=np.ones((1, 1000, 1600), bool))
    frame = FrameResult(0, [1], np.ones(1, np.float32), masks, large)
    assert Image.open(io.BytesIO(frame._repr_png_())).size == (800, 500)


def test_a_phrase_is_no_markup_and_long_tables_are_cut(picture):
    count = 25
    masks = LazyMasks((40, 81), None, made=np.ones((count, 40, 81), bool))
    boxes, scores = np.zeros((count, 4), np.float32), np.ones(count, np.float32)
    result = Result("<b>&dog", boxes, scores, np.arange(count), masks)
    page = result._repr_html_()
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;dog" in page
    assert len(re.findall("<tr>", page)) == 1 + 20 + 1
    assert "... and 5 more" in page
    # Nothing to draw on is known.
    assert "<img" not in page
    assert result._repr_png_() is None
    with pytest.raises(ImageError):
        result.save("x.png")
