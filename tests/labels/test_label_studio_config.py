"""Labelling configurations, and what a labeller draws."""

from __future__ import annotations

import re

import pytest

from sam3_tvm.errors import UsageError
from sam3_tvm.labels.label_studio import prompts
from sam3_tvm.labels.label_studio.config import parse

BRUSH = """
<View>
  <Header value="Shapes"/>
  <Image name="image" value="$photo" zoom="true"/>
  <RectangleLabels name="box" toName="image" smart="true" model_score_threshold="0.7">
    <Label value="Star"/><Label value="Hexagon"/>
  </RectangleLabels>
  <KeyPointLabels name="point" toName="image" smart="true"><Label value="Star"/></KeyPointLabels>
  <BrushLabels name="brush" toName="image">
    <Label value="Star" predicted_values="red star, blue star" background="#f00"/>
  </BrushLabels>
</View>
"""


def test_a_label_is_taken_from_the_tag_that_says_most_of_a_mask():
    interface = parse(BRUSH)
    assert (interface.image, interface.key) == ("image", "photo")
    found = [(control.name, label.value, label.phrases) for control, label in interface.wanted()]
    assert found == [
        ("brush", "Star", ("red star", "blue star")),
        ("box", "Hexagon", ("Hexagon",)),
    ]
    assert [control.threshold for control in interface.controls] == [0.5, 0.7]


def test_a_phrase_finds_the_label_that_it_is_one_of():
    interface = parse(BRUSH)
    assert interface.label_of(" RED star") == "Star"
    assert interface.label_of("hexagon") == "Hexagon"
    assert interface.label_of("cat") is None


def test_tags_of_another_picture_are_left_out():
    other = BRUSH.replace('toName="image"', 'toName="second"', 1)
    assert [control.name for control in parse(other).controls] == ["brush"]


def test_a_tag_may_be_for_several_pictures():
    assert len(parse(BRUSH.replace('toName="image"', 'toName="a, image"')).controls) == 2


@pytest.mark.parametrize(
    ("xml", "said"),
    [
        ("<View>", "no XML"),
        ("<View/>", "no <Image"),
        (BRUSH.replace('"$photo"', '"photo.png"'), "no <Image"),
        (BRUSH.replace("0.7", "high"), "model_score_threshold='high'"),
        (BRUSH.replace("0.7", "2"), "0 to 1"),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + BRUSH, "DOCTYPE"),
    ],
)
def test_what_cannot_be_used_is_named(xml, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        parse(xml)


def region(kind, value, **more):
    return {"type": kind, "value": value, "original_width": 200, "original_height": 100, **more}


def test_what_is_drawn_is_read_in_pixels():
    drawn = prompts.read(
        [
            region("keypointlabels", {"x": 50, "y": 10, "keypointlabels": ["A"]}, is_positive=True),
            region("keypoint", {"x": 100, "y": 100}, is_positive=False),
            region("rectangle", {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}),
            region(
                "ellipselabels", {"x": 50, "y": 50, "radiusX": 10, "radiusY": 60, "labels": "B"}
            ),
            region("choices", {"choices": ["no"]}),
        ],
        (100, 200),
    )
    assert drawn.points == [[100, 10], [199.5, 99.5]]
    assert drawn.point_labels == [1, 0]
    assert drawn.boxes == [pytest.approx(b) for b in ([20, 20, 80, 60], [80, 0, 120, 100])]
    assert drawn.label == "A"
    assert drawn.text is None


def test_an_empty_text_leaves_what_is_drawn_a_click():
    box = region("rectangle", {"x": 0, "y": 0, "width": 50, "height": 50})
    drawn = prompts.read([box, region("textarea", {"text": [""]})], (10, 10))
    assert drawn.text is None
    assert drawn.boxes == [[0, 0, 5, 5]]


def test_a_text_is_read_line_by_line():
    drawn = prompts.read([region("textarea", {"text": ["red ", "star"]})], (10, 10))
    assert drawn.text == "red star"


@pytest.mark.parametrize(
    ("regions", "said"),
    [
        ([], "nothing to go by"),
        ("x", "a list of regions"),
        (["x"], "with a value"),
        ([region("keypoint", {"x": 1})], "the number y"),
        ([region("keypoint", {"x": 1, "y": float("nan")})], "the number y"),
        ([region("keypoint", {"x": 1, "y": 101})], "y=101"),
        ([region("rectangle", {"rotation": 30})], "turned"),
        ([region("textarea", {"text": [" "]})], "nothing to go by"),
    ],
)
def test_what_cannot_be_meant_is_named(regions, said):
    with pytest.raises(UsageError, match=said):
        prompts.read(regions, (10, 10))
