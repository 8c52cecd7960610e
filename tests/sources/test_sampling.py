"""Examples of inputs are what the contract says they hold."""

from __future__ import annotations

import pytest
import torch

from sam3_tvm.components import Component, Dim, TensorSpec
from sam3_tvm.sources.sampling import dynamic_shapes, example_sizes, sample_inputs
from sam3_tvm.values import (
    Alternating,
    Binary,
    Boxes,
    Choice,
    Integers,
    Normal,
    Padding,
    TokenIds,
    Uniform,
)

ROWS = Dim("rows", 1, 8, example=6)
THINGS = Dim("things", 0, 40, example=30)
FULL = {"rows": 6, "things": 30}


def drawn(rule, dtype, shape=(ROWS, THINGS), dims=FULL, seed=1):
    component = Component("f", (TensorSpec("x", dtype, shape, values=rule),), ())
    (values,) = sample_inputs(component, dims, vocabulary=50, seed=seed)
    assert str(values.dtype) == f"torch.{dtype}"
    return values


@pytest.mark.parametrize(
    ("rule", "dtype", "least", "most"),
    [
        (Uniform(), "float32", 0, 1),
        (Integers(3, 7), "int64", 3, 6),
        (Choice((-10, 0, 2)), "int64", -10, 2),
        (TokenIds(), "int64", 0, 49),
        (Binary(), "float32", 0, 1),
    ],
)
def test_values_fill_the_range_of_their_rule(rule, dtype, least, most):
    values = drawn(rule, dtype)
    assert values.shape == (6, 30)
    assert least <= values.min() < least + 1
    assert most - 1 < values.max() <= most
    assert torch.equal(values, drawn(rule, dtype))
    assert not torch.equal(values, drawn(rule, dtype, seed=2))


def test_choices_are_those_named_and_features_are_normal():
    assert set(drawn(Choice((-10, 0, 2)), "int64").flatten().tolist()) == {-10, 0, 2}
    features = drawn(Normal(), "float32")
    assert abs(features.mean()) < 0.2
    assert abs(features.std() - 1) < 0.2


def test_boxes_lie_in_the_picture_at_their_centre_and_have_a_side():
    boxes = drawn(Boxes(), "float32", (ROWS, THINGS, 4))
    assert boxes[..., :2].min() >= 0.2
    assert boxes[..., :2].max() <= 0.8
    assert boxes[..., 2:].min() >= 0.02


@pytest.mark.parametrize("dtype", ["bool", "int64"])
def test_padding_follows_what_counts_and_the_first_row_is_full(dtype):
    mask = drawn(Padding(), dtype).long()
    assert mask[0].all()
    assert (mask.sum(1) >= 1).all()
    assert len(set(mask.sum(1).tolist())) > 1
    assert (mask.diff(dim=1) <= 0).all()
    assert drawn(Padding(), dtype, dims={"rows": 6, "things": 0}).shape == (6, 0)


def test_options_alternate_by_row():
    assert drawn(Alternating(), "bool", (ROWS,)).tolist() == [True, False] * 3


def test_a_rule_of_another_kind_than_the_dtype_is_refused():
    with pytest.raises(TypeError, match=r"f: x: int64\[rows, things\] is not drawn as Normal"):
        drawn(Normal(), "int64")


def test_a_size_is_integers_and_is_traced_as_such():
    component = Component("f", (TensorSpec("size", "shape", (ROWS, THINGS)),), ())
    assert example_sizes(component) == FULL
    assert sample_inputs(component, FULL, 50) == ((6, 30),)
    assert dynamic_shapes(component) == ((torch.export.Dim.DYNAMIC,) * 2,)
