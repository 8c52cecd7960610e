"""What serves an operator: a converter of ours, torch's decomposition, or one clear error."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from import_harness import Wrap, check
from torch import fx
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from sam3_tvm.importer import UnsupportedOperators, import_module
from sam3_tvm.importer.decompositions.registry import present
from sam3_tvm.importer.errors import RandomOperators
from sam3_tvm.importer.registry import convert_map, has_converter


def test_no_converter_of_tvms_is_left_once_the_table_is_in_place() -> None:
    importer = ExportedProgramImporter()
    stock = dict(importer.convert_map)
    table = convert_map()
    importer.update_convert_map(table)
    assert set(stock) <= set(table)
    assert [
        name for name, function in importer.convert_map.items() if function is not table[name]
    ] == []


def test_an_operator_that_only_tvm_converts_is_refused() -> None:
    """Also where the checks before conversion are passed by."""
    target = torch.ops.aten.add_.Tensor
    assert target.__name__ in ExportedProgramImporter().convert_map
    assert not has_converter(target)
    node = fx.Graph().call_function(target, (1, 2))
    with pytest.raises(UnsupportedOperators, match=r"aten\.add_\.Tensor"):
        convert_map()["add_.Tensor"](node, SimpleNamespace(env={}))


@torch.library.custom_op("otherlib::relu", mutates_args=())
def relu_of_another_library(x: torch.Tensor) -> torch.Tensor:
    return x - 1


@relu_of_another_library.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


def test_an_operator_of_another_library_is_not_taken_for_torchs_of_that_name() -> None:
    with pytest.raises(UnsupportedOperators, match=r"otherlib\.relu\.default"):
        import_module(Wrap(torch.ops.otherlib.relu), (torch.ones(3),))


RANDOM: dict[str, Callable[[torch.Tensor], Any]] = {
    "rand": lambda x: x + torch.rand(3),
    "rand_like": torch.rand_like,
    "randn": lambda x: x + torch.randn(3),
    "randn_like": torch.randn_like,
    "randint": lambda x: x + torch.randint(5, (3,)),
    "randperm": lambda x: x[torch.randperm(3)],
    "normal": lambda x: torch.normal(x, 1.0),
    "multinomial": lambda x: torch.multinomial(x, 2),
    "bernoulli": torch.bernoulli,
    "bernoulli with p": lambda x: torch.bernoulli(x, 0.5),
    "poisson": torch.poisson,
    "uniform_": lambda x: torch.empty_like(x).uniform_(),
    "normal_": lambda x: torch.empty_like(x).normal_(),
    "exponential_": lambda x: torch.empty_like(x).exponential_(),
    "geometric_": lambda x: torch.empty_like(x).geometric_(0.5),
    "dropout": lambda x: F.dropout(x, 0.5, training=True),
    "dropout1d": lambda x: F.dropout1d(x.reshape(1, 3, 1), 0.5, training=True),
    "alpha_dropout": lambda x: F.alpha_dropout(x, 0.5, training=True),
    "feature_alpha_dropout": lambda x: F.feature_alpha_dropout(x[None], 0.5, training=True),
    "rrelu": lambda x: F.rrelu(x, training=True),
    "gumbel_softmax": lambda x: F.gumbel_softmax(x, dim=0),
    "attention": lambda x: F.scaled_dot_product_attention(
        x.reshape(1, 3, 1), x.reshape(1, 3, 1), x.reshape(1, 3, 1), dropout_p=0.5
    ),
    "in a branch": lambda x: torch.cond(x.sum() > 0, torch.rand_like, torch.neg, (x,)),
}


@pytest.mark.parametrize("draw", RANDOM.values(), ids=RANDOM)
def test_what_draws_random_numbers_is_refused_in_one_line(
    draw: Callable[[torch.Tensor], Any],
) -> None:
    with pytest.raises(RandomOperators, match="draws no random numbers") as caught:
        import_module(Wrap(draw), (torch.ones(3),))
    assert "\n" not in str(caught.value)


def test_what_could_draw_but_does_not_is_imported() -> None:
    def still(x: torch.Tensor) -> Any:
        return (
            F.dropout(x, 0.5, training=False),
            F.dropout(x, 0.0, training=True),
            F.alpha_dropout(x, 0.5),
            torch.native_dropout(x, 0.5, False),
            F.scaled_dot_product_attention(x[None], x[None], x[None], dropout_p=0.0),
        )

    check(still, torch.randn(3, 4))


def test_tables_that_torch_computes_need_no_converter() -> None:
    check(
        lambda x: (
            x * torch.hamming_window(8),
            x * torch.hamming_window(8, False, 0.5, 0.4),
            x * torch.hann_window(8),
            x * torch.kaiser_window(8),
        ),
        torch.randn(2, 8),
    )


def test_a_branch_names_the_operator_that_is_missing() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return torch.cond(x.sum() > 0, torch.ops.otherlib.relu, torch.neg, (x,))

    with pytest.raises(UnsupportedOperators, match=r"otherlib\.relu\.default"):
        import_module(Wrap(forward), (torch.ones(3),))


def test_an_operator_that_this_torch_has_not_is_passed_over() -> None:
    names = ("add.Tensor", "add.no_such_overload", "no_such_operator.default")
    assert [*present(*names)] == [torch.ops.aten.add.Tensor]
