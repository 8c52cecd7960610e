"""What an operator becomes is the same wherever its sizes lie in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tvm
from tvm import relax, tirx
from tvm.relax import block_builder

from sam3_tvm.compiler import legalizing
from sam3_tvm.compiler.legalizing import LegalizeInOrder
from sam3_tvm.compiler.targets.cpu import CpuTarget


def module(apart: int, operator: Callable[[Any], Any] = relax.op.nn.relu) -> tvm.IRModule:
    """Two sums of sizes that are no dimensions, whose variables are so many objects apart."""
    kept: list[Any] = []
    builder = relax.BlockBuilder()
    for function, order in (("first", "abc"), ("second", "bca")):
        sizes = {}
        for name in order:
            sizes[name] = tirx.Var(name, "int64")
            kept.extend(tirx.Var("other", "int64") for _ in range(apart))
        total = sizes["a"] + sizes["b"] + sizes["c"]
        x = relax.Var("x", relax.TensorType([total], "float32"))
        shape = relax.Var("shape", relax.ShapeType([*sizes.values()]))
        with builder.function(function, [x, shape]):
            builder.emit_func_output(builder.emit(operator(x)))
    return builder.get()


@pytest.mark.parametrize("apart", range(7))
def test_equal_operators_share_a_kernel_that_takes_its_sizes_in_the_order_of_their_use(apart):
    made = LegalizeInOrder()(module(apart))
    assert {gvar.name_hint for gvar in made.get_global_vars()} == {"first", "second", "relu"}
    assert [p.name for p in made["relu"].params][1:-1] == ["a", "b", "c"]


@pytest.mark.parametrize("operator", [relax.op.argsort, relax.op.sort, relax.op.cumsum])
def test_sorts_and_scans_take_theirs_in_that_order(operator):
    orders = set()
    for apart in range(7):
        with CpuTarget.native().tvm_target():
            made = LegalizeInOrder()(module(apart, operator))
        for function in made.functions.values():
            if isinstance(function, tirx.PrimFunc):
                names = [p.name for p in function.params if p.name in "abc"]
                orders.add(tuple(names))
    assert len(orders - {()}) == 1


def test_tvm_is_as_it_was_afterwards_and_after_an_error(monkeypatch):
    before = block_builder.gen_call_tir_inputs
    LegalizeInOrder()(module(0))
    assert block_builder.gen_call_tir_inputs is before

    def fail(*_: Any, **__: Any) -> Any:
        raise ValueError("no such kernel")

    monkeypatch.setattr(legalizing, "ordered_call_tir_inputs", fail)
    with pytest.raises(ValueError, match="no such kernel"):
        LegalizeInOrder()(module(0))
    assert block_builder.gen_call_tir_inputs is before
