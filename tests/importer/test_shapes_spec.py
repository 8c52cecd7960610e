"""Sizes declared by a ``ShapesSpec``, which ``torch.export`` takes from torch 2.14 on."""

from __future__ import annotations

import pytest
import torch
from import_harness import check, compile_module

from sam3_tvm.importer import import_module, symbolic_bounds

pytest.importorskip(
    "torch.fx.experimental._spec_binding", reason="torch.export has no ShapesSpec before 2.14"
)

from torch.fx.experimental.dynamic_spec import (
    DictSpec,
    IntVar,
    ParamsSpec,
    SeqSpec,
    ShapesSpec,
    ShapeVar,
    TensorSpec,
    dynamic_spec,
)


class Similar(torch.nn.Module):
    def forward(self, x, y):
        return torch.softmax(x @ y.t(), -1) + 1


def tensors(*sizes: int) -> tuple[torch.Tensor, ...]:
    source = torch.Generator().manual_seed(0)
    return tuple(torch.randn(size, 8, generator=source) for size in sizes)


def names_and_bounds(module, args, spec=None):
    return symbolic_bounds(import_module(module, args, spec)[0])


@pytest.mark.parametrize("kind", [ShapesSpec, ParamsSpec])
def test_variables_give_sizes_their_names_and_bounds(kind):
    batch, other = ShapeVar("batch", min=1, max=64), ShapeVar("other", max=9)
    spec = kind({"x": TensorSpec([batch, None]), "y": TensorSpec([other, 8])})
    assert names_and_bounds(Similar(), tensors(2, 5), spec) == {"batch": (1, 64), "other": (0, 9)}
    check(Similar(), *tensors(2, 5), dynamic_shapes=spec, also=[tensors(1, 9), tensors(64, 1)])


def test_a_size_made_of_another_is_held_to_it():
    batch = ShapeVar("batch", min=1, max=64)
    spec = ShapesSpec({"x": TensorSpec([batch, None]), "y": TensorSpec([2 * batch + 1, None])})
    check(Similar(), *tensors(2, 5), dynamic_shapes=spec, also=[tensors(3, 7)])
    run = compile_module(Similar(), tensors(2, 5), spec)
    with pytest.raises(RuntimeError):
        run(*tensors(3, 6))


def test_what_is_assumed_of_a_size_decides_and_is_held_to():
    class Pairs(torch.nn.Module):
        def forward(self, x):
            if x.shape[0] % 2 == 0:
                x = x + 1
            return x.reshape(x.shape[0] // 2, 2, 8).sum(1)

    batch = ShapeVar("batch", min=2, max=64)
    spec = ShapesSpec({"x": TensorSpec([batch, 8])}, assumptions=[batch % 2 == 0])
    check(Pairs(), *tensors(6), dynamic_shapes=spec, also=[tensors(2), tensors(64)])
    with pytest.raises(RuntimeError, match="5"):
        compile_module(Pairs(), tensors(6), spec)(*tensors(5))


def test_a_number_varies_too():
    class Filled(torch.nn.Module):
        def forward(self, x, count: int):
            return x + 1, torch.zeros(count) + 2

    spec = ShapesSpec({"x": TensorSpec([8, 8]), "count": IntVar("count", min=1, max=12)})
    assert names_and_bounds(Filled(), (*tensors(8), 4), spec) == {"count": (1, 12)}
    check(Filled(), *tensors(8), 4, dynamic_shapes=spec, also=[(*tensors(8), 12)])


def test_sequences_and_mappings_have_specs_of_their_own():
    class Nested(torch.nn.Module):
        def forward(self, pair, named):
            return pair[0].sum() + pair[1] * named["scale"]

    spec = ShapesSpec(
        {
            "pair": SeqSpec([None, TensorSpec([ShapeVar("rows", max=9), None])]),
            "named": DictSpec({"scale": TensorSpec([8])}),
        }
    )
    args = (tensors(3, 4), {"scale": torch.arange(8.0)})
    assert names_and_bounds(Nested(), args, spec) == {"rows": (0, 9)}


def test_what_forward_is_decorated_with_counts():
    class Decorated(torch.nn.Module):
        @dynamic_spec({"x": TensorSpec([ShapeVar("rows", min=1, max=9), None])})
        def forward(self, x):
            return x * 2

    assert names_and_bounds(Decorated(), tensors(4)) == {"rows": (1, 9)}


def test_a_variable_without_a_name_is_named_after_its_input():
    spec = ShapesSpec({"x": TensorSpec([ShapeVar(max=9), None])})

    class Double(torch.nn.Module):
        def forward(self, x):
            return x + 1

    assert names_and_bounds(Double(), tensors(4), spec) == {"x_0": (0, 9)}
