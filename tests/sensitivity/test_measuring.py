"""Which layers of ``random:tiny`` lose most, from end to end."""

from __future__ import annotations

import numpy as np
import pytest

from sam3_tvm.errors import UsageError
from sam3_tvm.runtime.pictures.image import ImageError
from sam3_tvm.sensitivity import ALL, measure
from sam3_tvm.sensitivity.functions import Layer
from sam3_tvm.sensitivity.measuring import is_named
from sam3_tvm.sensitivity.pictures import Answer, difference
from sam3_tvm.sources.base import PromptSpec


def ask(rgb):
    return [PromptSpec("dog"), PromptSpec(None, ((4.0, 4.0, 40.0, 30.0),), (1,))]


@pytest.fixture(scope="module")
def report(tiny_source, noise):
    return measure(tiny_source, [noise], ask, pattern="*layers.1.*")


def test_every_layer_of_that_name_has_a_row_and_every_function_a_total(report):
    assert [row.function for row in report.totals] == [
        "vision_encoder",
        "text_encoder",
        "memory_attention",
    ]
    assert {row.layer for row in report.totals} == {ALL}
    assert all("layers.1." in row.layer for row in report.rows)
    of_vision = [row for row in report.rows if row.function == "vision_encoder"]
    assert {(row.inputs, row.outputs) for row in of_vision} == {
        (96, 288),
        (96, 96),
        (96, 232),
        (232, 96),
    }
    assert report.prompts == ["'dog'", "visual +"]
    assert report.pictures == ["noise.png"]


def test_those_that_lose_most_come_first_and_all_together_lose_more(report):
    errors = [row.function_error for row in report.rows]
    assert errors == sorted(errors, reverse=True)
    for total in report.totals:
        alone = [row.function_error for row in report.rows if row.function == total.function]
        assert 0 < max(alone) < total.function_error < 0.2


def test_what_a_layer_does_to_scores_and_masks_is_measured(report):
    for row in report.rows + report.totals:
        assert 0 < row.own < 0.1
        assert 0 <= row.score_error < 0.1
        assert 0.5 < row.iou <= 1
    assert any(row.score_error > 0 for row in report.rows if row.function == "text_encoder")
    assert any(row.iou < 1 for row in report.totals if row.function == "memory_attention")


def test_a_layer_whose_result_nobody_reads_is_left_out(tiny_source, noise):
    report = measure(tiny_source, [noise], ask, functions=["text_encoder"], pattern="*projection")
    assert [row.layer for row in report.rows] == ["text_projection"]


def test_progress_counts_to_its_end(tiny_source, noise):
    told = []
    measure(
        tiny_source,
        [noise, noise],
        ask,
        functions=["text_encoder"],
        pattern="*fc1",
        progress=lambda *step: told.append(step),
    )
    assert [done for _, done, _ in told] == list(range(len(told)))
    assert told[-1][2] == len(told)
    assert told[0][0] == "noise.png: PyTorch"


def test_functions_without_such_a_layer_are_not_tried(tiny_source, noise):
    told = []
    report = measure(
        tiny_source, [noise], ask, pattern="text_projection", progress=lambda *s: told.append(s[0])
    )
    assert told == [
        "noise.png: PyTorch",
        "text_encoder text_projection",
        f"text_encoder {ALL}",
    ]
    assert [row.function for row in report.totals] == ["text_encoder"]


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("*.mlp.fc1", False),
        ("*.q_proj", True),
        ("layers.0.attn.{q_proj,k_proj}", True),
        ("*q_proj,k_proj}", True),
        ("attn.in_proj_weight[[]0:64]", False),
        ("*.in_proj", False),
    ],
)
def test_layers_that_are_tried_together_are_found_by_the_name_of_one(pattern, named):
    layer = Layer("f", ("layers.0.attn.q_proj.weight", "layers.0.attn.k_proj.weight"), 64, 128)
    assert is_named(layer, pattern) == named


def test_a_name_with_brackets_is_found_as_it_is_printed():
    layer = Layer("f", ("attn.in_proj_weight[0:64]",), 64, 64)
    assert is_named(layer, layer.name)
    assert not is_named(layer, "attn.in_proj_weight[0:128]")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"functions": ["scoring"]}, "no layer of scoring is in int8; there are those of vision"),
        ({"functions": ["vision_encoder", "typo"]}, "no layer of typo is in int8"),
        ({"pattern": "nothing*"}, r"has a name like 'nothing\*'; others are memory"),
    ],
)
def test_what_is_not_there_is_said_in_a_line(tiny_source, noise, given, message):
    with pytest.raises(UsageError, match=message):
        measure(tiny_source, [noise], ask, **given)


def test_pictures_are_needed_and_read_before_the_work(tiny_source, tmp_path):
    with pytest.raises(UsageError, match="no pictures"):
        measure(tiny_source, [], ask)
    told = []
    with pytest.raises(ImageError, match="no such file"):
        measure(tiny_source, [tmp_path / "x.png"], ask, progress=lambda *a: told.append(a))
    assert told == []


def test_a_difference_is_of_the_worst_score_and_of_every_mask():
    masks = np.zeros((2, 4, 4), bool)
    masks[0, :2] = True
    other = masks.copy()
    other[0, 2] = True
    scores = np.array([0.5, 0.25], np.float32)
    found = difference(
        [Answer(scores, other), Answer(scores + 0.125, masks)],
        [Answer(scores, masks), Answer(scores, masks)],
    )
    assert found.score == 0.125
    assert found.ious == pytest.approx([2 / 3, 1, 1, 1])
