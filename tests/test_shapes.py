"""What the demonstration model finds is what a person would point at.

Pictures are drawn here, not by the generator that the model was trained with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from transformers.models.sam3.modeling_sam3 import Sam3Model

import sam3_tvm
from sam3_tvm.evaluate import ModelDetector, evaluate, read_dataset
from training.dataset import write_dataset

CHECKPOINT = Path(__file__).parents[1] / "checkpoints" / "shapes"

RED, GREEN, BLUE, YELLOW = (215, 30, 35), (30, 150, 50), (35, 70, 210), (245, 215, 30)
SLATE = (92, 90, 100)

Box = tuple[int, int, int, int]


@dataclass
class Drawing:
    """A picture, and the mask of each thing in it."""

    image: Image.Image
    masks: list[NDArray[np.bool_]]
    boxes: list[Box]


def draw(size: tuple[int, int], *things: tuple[str, tuple[int, int, int], Box]) -> Drawing:
    """Things (shape, colour, box) that don't overlap, on slate; smooth at their edges."""
    fine = 4
    large = Image.new("RGB", (size[0] * fine, size[1] * fine), SLATE)
    masks = []
    for shape, colour, box in things:
        alone = Image.new("L", large.size)
        for canvas, ink in ((large, colour), (alone, 255)):
            _shape(ImageDraw.Draw(canvas), shape, [v * fine for v in box], ink)
        masks.append(np.asarray(alone.resize(size, Image.Resampling.BOX)) >= 128)
    image = large.resize(size, Image.Resampling.BOX)
    return Drawing(image, masks, [box for _, _, box in things])


def _shape(canvas: ImageDraw.ImageDraw, shape: str, box: list[int], ink) -> None:
    x0, y0, x1, y1 = box
    if shape == "circle":
        canvas.ellipse(box, fill=ink)
    elif shape == "square":
        canvas.rectangle(box, fill=ink)
    elif shape == "triangle":
        canvas.polygon([(x0, y1), (x1, y1), ((x0 + x1) / 2, y0)], fill=ink)
    else:
        angle = np.arange(10) * np.pi / 5
        radius = np.where(np.arange(10) % 2, 0.4, 1.0)
        x = (x0 + x1) / 2 + radius * np.sin(angle) * (x1 - x0) / 2
        y = (y0 + y1) / 2 - radius * np.cos(angle) * (y1 - y0) / 2
        canvas.polygon([*zip(x.tolist(), y.tolist(), strict=True)], fill=ink)


FOUR = draw(
    (256, 256),
    ("circle", RED, (20, 24, 96, 100)),
    ("square", BLUE, (150, 30, 220, 100)),
    ("triangle", GREEN, (24, 150, 108, 226)),
    ("star", YELLOW, (140, 140, 236, 236)),
)

# Three red circles and two blue ones.
CIRCLES = draw(
    (256, 256),
    ("circle", RED, (20, 24, 84, 88)),
    ("circle", RED, (170, 30, 234, 94)),
    ("circle", RED, (96, 164, 160, 228)),
    ("circle", BLUE, (96, 88, 150, 142)),
    ("circle", BLUE, (184, 150, 238, 204)),
)


@pytest.fixture(scope="module")
def model(shapes_artifact) -> sam3_tvm.Model:
    return sam3_tvm.load(shapes_artifact)


@pytest.fixture(scope="module")
def four(model) -> sam3_tvm.EncodedImage:
    return model.encode_image(FOUR.image)


@pytest.fixture(scope="module")
def circles(model) -> sam3_tvm.EncodedImage:
    return model.encode_image(CIRCLES.image)


def things(result: sam3_tvm.Result, drawing: Drawing) -> list[int]:
    """Which things were found, each at an IoU above 0.7 and once; everything found is one."""
    found = []
    for mask in result.masks:
        ious = [(mask & m).sum() / (mask | m).sum() for m in drawing.masks]
        assert max(ious) > 0.7, (result, ious)
        found.append(int(np.argmax(ious)))
    assert len(set(found)) == len(found), result
    return sorted(found)


@pytest.mark.parametrize(
    ("phrase", "wanted"),
    [
        ("red circle", [0]),
        ("the blue square", [1]),
        ("triangle", [2]),
        ("yellow star", [3]),
        ("everything green", [2]),
    ],
)
def test_a_phrase_finds_the_thing_that_it_names(model, four, phrase, wanted):
    result = model.segment(four, text=phrase)
    assert things(result, FOUR) == wanted
    (box,), (mine,) = result.boxes, [FOUR.boxes[i] for i in wanted]
    assert np.abs(box - mine).max() < 0.06 * 256


@pytest.mark.parametrize("phrase", ["blue star", "red square", "green circle", "purple heart"])
def test_a_phrase_for_what_is_not_there_finds_nothing(model, four, phrase):
    assert len(model.segment(four, text=phrase)) == 0


def test_a_phrase_finds_every_instance(model, circles):
    red, blue, every = model.segment(circles, text=["red circles", "blue circles", "circle"])
    assert things(red, CIRCLES) == [0, 1, 2]
    assert things(blue, CIRCLES) == [3, 4]
    assert things(every, CIRCLES) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("example", "kind"), [(0, [0, 1, 2]), (4, [3, 4])])
def test_a_box_around_one_finds_the_others_of_its_kind(model, circles, example, kind):
    result = model.segment(circles, boxes=[CIRCLES.boxes[example]])
    assert things(result, CIRCLES) == kind


def test_a_negative_box_removes_its_kind(model, circles):
    without = model.segment(circles, text="circle", boxes=[CIRCLES.boxes[3]], box_labels=[0])
    assert things(without, CIRCLES) == [0, 1, 2]


def test_an_encoded_picture_gives_the_same_after_it_was_saved(model, circles, tmp_path):
    circles.save(tmp_path / "circles.enc")
    kept = model.load_image(tmp_path / "circles.enc")
    prompt = {"text": "red circle", "boxes": [CIRCLES.boxes[0]]}
    directly, before, after = (
        model.segment(picture, **prompt) for picture in (CIRCLES.image, circles, kept)
    )
    assert len(before)
    for other in (directly, after):
        assert (other.scores == before.scores).all()
        assert (other.masks == before.masks).all()


def test_masks_have_the_size_of_a_picture_that_is_no_square(model):
    drawing = draw((400, 300), ("square", YELLOW, (40, 60, 150, 170)))
    result = model.segment(drawing.image, text="yellow square")
    assert result.masks.shape == (1, 300, 400)
    assert things(result, drawing) == [0]


def test_the_checkpoint_is_small_and_whole():
    """transformers' own class takes it, without a key too many or too few."""
    sizes = [path.stat().st_size for path in CHECKPOINT.iterdir()]
    assert sum(sizes) < 12 << 20
    _, report = Sam3Model.from_pretrained(CHECKPOINT, output_loading_info=True)
    assert not any(report.values()), report


def test_held_out_scenes_are_understood(shapes_artifact, tmp_path):
    """The bars of the model card's 500 scenes, on forty others."""
    write_dataset(tmp_path / "scenes", 40, 12345, 192)
    dataset = read_dataset(tmp_path / "scenes" / "annotations.json", tmp_path / "scenes")
    found = evaluate({"ours": ModelDetector(sam3_tvm.load(shapes_artifact))}, dataset)["ours"]
    figures = found.figures()
    assert figures["all"].f1 > 0.9
    assert figures["all"].matched_iou > 0.85
    assert figures["absent"].rejected > 0.95
    assert figures["exemplar, others"].f1 > 0.8
    assert figures["negative"].f1 > 0.8
