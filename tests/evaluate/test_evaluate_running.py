"""The whole way from annotations to figures, with models whose answers are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import toy
from PIL import Image
from rectangles import BOXES, HEIGHT, WIDTH, document, prompt, rectangle, write_folder

from sam3_tvm.evaluate import (
    DatasetError,
    Detections,
    ModelDetector,
    check_headers,
    evaluate,
    read_dataset,
)
from sam3_tvm.evaluate.report import ALL, HELD_OUT
from sam3_tvm.evaluate.segmentation import encode
from sam3_tvm.evaluate.sheet import contact_sheet
from sam3_tvm.runtime.pictures.arguments import PromptError


def found(*pairs) -> Detections:
    """Detections of (score, box) pairs."""
    scores = np.array([score for score, _ in pairs], np.float32)
    return Detections(scores, tuple(encode(rectangle(box)) for _, box in pairs))


class Oracle:
    """Answers every prompt by its id; counts pictures."""

    def __init__(self, answers) -> None:
        self.answers = answers
        self.thresholds = []

    def __call__(self, rgb, queries, threshold):
        assert rgb.shape == (HEIGHT, WIDTH, 3)
        self.thresholds.append(threshold)
        return [self.answers[q.id] for q in queries]


@pytest.fixture
def dataset(tmp_path):
    def read(prompts=None):
        made = document() | ({} if prompts is None else {"prompts": prompts})
        folder = write_folder(tmp_path / "data", made)
        return read_dataset(folder / "annotations.json", folder)

    return read


def test_kinds_of_prompts_have_figures_of_their_own(dataset):
    data = dataset(
        [
            prompt(1),
            prompt(2, kind="absent", annotation_ids=[]),
            prompt(3, image=3, kind="absent", annotation_ids=[], held_out=True),
        ]
    )
    oracle = Oracle(
        {
            1: found((0.9, BOXES[0]), (0.8, BOXES[1])),
            2: found(),
            3: found((0.6, BOXES[1])),
        }
    )
    one = evaluate({"x": oracle}, data)["x"]
    figures = one.figures()
    assert list(figures) == ["text", "absent", HELD_OUT, ALL]
    assert (figures["text"].f1, figures["text"].matched_iou) == (1, 1)
    assert (figures["absent"].absent, figures["absent"].rejected) == (2, 0.5)
    assert figures[HELD_OUT].rejected == 0
    assert figures[ALL].precision == pytest.approx(2 / 3)
    assert one.ap is None
    assert oracle.thresholds == [0.5, 0.5]
    assert [o.query.id for o in one.worst(9)] == [3]


def test_scores_at_the_threshold_do_not_count(dataset):
    oracle = Oracle({1: found((0.75, BOXES[0]), (0.5, BOXES[1]))})
    figures = evaluate({"x": oracle}, dataset([prompt(1)]), 0.5)["x"].figures()
    assert (figures["text"].predictions, figures["text"].recall) == (1, 0.5)


def test_the_exemplar_is_the_target_that_the_box_is_around(dataset):
    # Around the second dog, not quite.
    data = dataset([prompt(1, text=None, kind="exemplar", boxes=[[9, 2, 18, 11]], box_labels=[1])])
    only_itself = evaluate({"x": Oracle({1: found((0.9, BOXES[1]))})}, data)["x"].figures()
    assert only_itself["exemplar"].f1 == pytest.approx(2 / 3)
    assert only_itself["exemplar, others"].recall == 0
    assert only_itself["exemplar, others"].predictions == 0
    other = evaluate({"x": Oracle({1: found((0.9, BOXES[0]))})}, data)["x"].figures()
    assert other["exemplar, others"].f1 == 1


def test_a_negative_box_points_at_no_exemplar(dataset):
    data = dataset([prompt(1, kind="negative", boxes=[[20, 10, 29, 19]], box_labels=[0])])
    figures = evaluate({"x": Oracle({1: found((0.9, BOXES[0]))})}, data)["x"].figures()
    assert list(figures) == ["negative", ALL]


def test_plain_annotations_give_ap_from_low_scores_too(dataset):
    """Dogs: in the second picture the crowd swallows one prediction, and the dog has a low score.

    By score: right (0.9), right (0.8), right (0.05): the AP of dogs is 1. The cat is found after
    a false alarm: 1/2.
    """
    answers = [
        [found((0.9, BOXES[0]), (0.8, BOXES[1])), found((0.9, BOXES[0]), (0.7, BOXES[2]))],
        [found((0.95, (1, 1, 9, 9)), (0.05, BOXES[4]))],
    ]

    def detect(rgb, queries, threshold):
        assert threshold < 0.05
        return answers.pop(0)

    one = evaluate({"x": detect}, dataset())["x"]
    assert one.ap.ap == pytest.approx(0.75)
    assert one.ap.ap50 == pytest.approx(0.75)
    counted = one.figures()[ALL]
    # Above the threshold: two dogs, the cat and a false alarm; what lies in the crowd is ignored.
    assert (counted.targets, counted.predictions, counted.matched) == (4, 4, 3)
    assert list(one.figures()) == ["category", ALL]


def test_two_models_are_measured_alike(dataset):
    right, wrong = Oracle({1: found((0.9, BOXES[0]))}), Oracle({1: found()})
    both = evaluate({"a": right, "b": wrong}, dataset([prompt(1, annotation_ids=[0])]))
    assert both["a"].figures()[ALL].f1 == 1
    assert both["b"].figures()[ALL].f1 == 0


def test_a_picture_of_another_size_is_refused(dataset):
    data = dataset([prompt(1)])
    Image.new("RGB", (5, 4)).save(data.pictures[0].path)
    with pytest.raises(DatasetError, match=r"is 5 x 4 pixels, .* says 30 x 20"):
        evaluate({"x": Oracle({1: found()})}, data)


def test_a_report_is_plain_data_with_every_prompt(dataset):
    data = dataset([prompt(1, boxes=[[1, 1, 5, 5]], box_labels=[1]), prompt(2, annotation_ids=[])])
    oracle = Oracle({1: found((0.75, BOXES[0])), 2: found()})
    one = evaluate({"x": oracle}, data)["x"]
    first = one.outcomes[0].to_json()
    assert (first["text"], first["boxes"], first["targets"]) == ("dog", [[1, 1, 5, 5]], 2)
    assert (first["scores"], first["matched_iou"]) == ([0.75], [1.0])
    assert first["quality"] == pytest.approx(2 / 3)
    assert one.to_json()["figures"]["text"]["recall"] == 0.5
    assert math.isnan(one.to_json()["figures"]["text, others"]["precision"])


def test_a_model_gets_all_prompts_of_a_picture_at_once(dataset, tmp_path):
    data = dataset(
        [
            prompt(1, text="dog"),
            prompt(2, text=None, boxes=[[1, 1, 9, 9]], box_labels=[1], annotation_ids=[]),
            prompt(3, text="cat", boxes=[[1, 1, 9, 9], [2, 2, 5, 5]], box_labels=[1, 0]),
            prompt(4, image=3, text="dog", annotation_ids=[4]),
        ]
    )
    functions = toy.ToyFunctions()
    model = toy.make_model(toy.write_artifact(tmp_path / "toy"), functions)
    one = evaluate({"x": ModelDetector(model)}, data, threshold=0.0)["x"]
    assert functions.calls["vision_encoder"] == 2
    # Prompts with and without boxes are kept apart by the model.
    assert functions.calls["detr_decoder"] == 3
    rgb = np.asarray(Image.open(data.pictures[0].path))
    boxes = [[1, 1, 9, 9], [2, 2, 5, 5]]
    wanted = model.segment(rgb, text="cat", boxes=boxes, box_labels=[1, 0], threshold=0.0)
    third = one.outcomes[2].detections
    assert third.scores.tolist() == wanted.scores.tolist()
    assert third.masks == tuple(encode(mask) for mask in wanted.masks)
    alone = model.segment(rgb, boxes=boxes[:1], threshold=0.0)
    assert one.outcomes[1].detections.scores.tolist() == alone.scores.tolist()


def test_a_contact_sheet_shows_the_picture_the_target_and_the_prediction(dataset):
    data = dataset([prompt(1, boxes=[[1, 1, 5, 5]], box_labels=[1])])
    oracle = Oracle({1: found((0.9, BOXES[1]))})
    outcomes = evaluate({"x": oracle}, data)["x"].worst(5)
    sheet = np.asarray(contact_sheet(outcomes * 8).convert("RGB"))
    blank = np.asarray(contact_sheet([*outcomes * 6]).convert("RGB"))
    assert sheet.shape[0] > blank.shape[0]
    assert sheet.shape[1] == blank.shape[1]
    # Scaled by 8 from 30 x 20, at the sheet's margin of 12: inside the missed target, below its
    # frame, the picture is as it was; the edge of the target is white.
    rgb = np.asarray(Image.open(data.pictures[0].path).resize((240, 160)))
    assert (sheet[12:172, 12:252][24:32, 24:32] == rgb[24:32, 24:32]).all()
    assert (sheet[12:172, 12:252][95, 100:120] == 255).all()
    assert not (sheet[12:172, 12:252][50:60, 100:120] == rgb[50:60, 100:120]).all()


def test_what_was_measured_is_kept_when_a_picture_fails(dataset):
    """For all models, so that what is compared is of the same pictures."""
    data = dataset([prompt(1), prompt(2, image=3, annotation_ids=[4])])
    data.pictures[0].path.write_bytes(b"")
    answers = {1: found(), 2: found((0.9, BOXES[4]))}
    both = evaluate({"a": Oracle(answers), "b": Oracle(answers)}, data)
    for one in both.values():
        assert [o.query.id for o in one.outcomes] == [2]
        assert one.figures()[ALL].f1 == 1
        ((path, reason),) = [(f.picture.path.name, f.reason) for f in one.failed]
        assert path == "a.png"
        assert "a.png: cannot be read" in reason
        assert one.unread == 1
        assert one.to_json()["failed"] == [{"picture": "a.png", "prompt": None, "reason": reason}]


def test_a_prompt_that_one_model_refuses_is_named_and_counts_for_none(dataset):
    """The picture's other prompts are measured."""
    data = dataset([prompt(1), prompt(2), prompt(3, image=3, annotation_ids=[4])])

    class Refusing(Oracle):
        def __call__(self, rgb, queries, threshold):
            if any(query.id in (2, 3) for query in queries):
                raise PromptError("box (1, 1, 1.2, 9) is narrower than a pixel")
            return super().__call__(rgb, queries, threshold)

    answers = {1: found((0.9, BOXES[0])), 2: found(), 3: found()}
    both = evaluate({"a": Oracle(answers), "b": Refusing(answers)}, data)
    for one in both.values():
        assert [o.query.id for o in one.outcomes] == [1]
        assert one.unread == 0
        assert [f["prompt"] for f in one.to_json()["failed"]] == [2, 3]
        assert "a.png: prompt 2: box (1, 1, 1.2, 9) is narrower" in one.failed[0].reason
    with pytest.raises(DatasetError, match="none of 1 pictures could be measured"):
        evaluate({"b": Refusing(answers)}, dataset([prompt(2)]))


def test_headers_tell_of_bad_pictures_before_any_is_measured(dataset):
    data = dataset([prompt(1), prompt(2, image=3, annotation_ids=[4])])
    check_headers(data)
    Image.new("RGB", (5, 4)).save(data.pictures[0].path)
    with pytest.raises(DatasetError, match=r"a\.png: is 5 x 4 pixels, .* says 30 x 20; mend"):
        check_headers(data)
    data.pictures[1].path.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"a\.png: is 5 x 4 .*; so are 1 more; mend them"):
        check_headers(data)


@pytest.mark.parametrize("suffix", ["jpg", "tif", "png"])
def test_a_picture_on_its_side_has_the_size_of_the_upright_one(dataset, suffix, tmp_path):
    data = dataset([prompt(1)])
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"turned.{suffix}"
    Image.new("RGB", (HEIGHT, WIDTH)).save(path, exif=exif)
    turned = replace(data, pictures=(replace(data.pictures[0], path=path),))
    check_headers(turned)


def test_pixels_are_not_read_for_a_header(dataset, monkeypatch):
    from PIL import ImageFile

    def fail(self):
        raise AssertionError("the pixels were read")

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    check_headers(dataset([prompt(1)]))
