"""Prompts of a verification as a model takes them."""

from __future__ import annotations

from sam3_tvm.sources.base import PromptSpec


def test_what_a_prompt_does_not_have_is_not_given():
    assert PromptSpec("dog").arguments == {
        "text": "dog",
        "boxes": None,
        "box_labels": None,
        "points": None,
        "point_labels": None,
    }


def test_boxes_and_points_go_with_their_labels():
    prompt = PromptSpec(None, ((1, 2, 3, 4),), (0,), ((5, 6),), (1,))
    assert prompt.arguments == {
        "text": None,
        "boxes": [(1, 2, 3, 4)],
        "box_labels": [0],
        "points": [(5, 6)],
        "point_labels": [1],
    }
