"""The sizes that a kernel takes stand in the order in which it names them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import relax, te, tirx

from sam3_tvm.importer.operands import ordered_call_tir_inputs


def sizes(names: str, apart: int = 0) -> list[Any]:
    """Variables whose addresses, and so their hashes, are another number of objects apart."""
    made = []
    for name in names:
        made.append(tirx.Var(name, "int64"))
        # The list holds them all until it is returned.
        made.extend(tirx.Var("other", "int64") for _ in range(apart))
    return made[:: apart + 1]


def names(function: Any, *args: Any) -> tuple[list[str], list[str]]:
    """Of the kernel's parameters, and of the operands of its call."""
    func, operands, _ = ordered_call_tir_inputs(function, *args)
    return [p.name for p in func.params], [o.name for o in operands]


def tensor(name: str, *shape: Any) -> relax.Var:
    return relax.Var(name, relax.TensorType(list(shape), "float32"))


def doubled(x: te.Tensor, *_: Any) -> te.Tensor:
    return te.compute(x.shape, lambda i: x[i] * 2, name="out")


@pytest.mark.parametrize("apart", range(7))
def test_sizes_stand_in_the_order_of_the_shapes_that_name_them(apart):
    b, c, a = sizes("bca", apart)
    assert names(doubled, tensor("x", c + a + b)) == (["x", "c", "a", "b", "out"], [*"xcab"])


@pytest.mark.parametrize("apart", range(7))
def test_sizes_that_no_shape_names_stand_behind_in_the_order_of_the_body(apart):
    a, b, c, d = sizes("abcd", apart)

    def scaled(x: te.Tensor, first: Any, second: Any) -> te.Tensor:
        return te.compute(x.shape, lambda i: x[i] * first.astype("float32") + second, name="out")

    found = names(scaled, tensor("x", d + b), c, tirx.Cast("float32", a))
    assert found == (["x", "d", "b", "c", "a", "out"], [*"xdbca"])


@pytest.mark.parametrize("apart", range(7))
def test_sizes_that_the_kernel_does_not_name_stand_last_by_their_names(apart):
    a, b, c, d = sizes("abcd", apart)
    found = names(doubled, tensor("x", d + 1), c, a, b)
    assert found == (["x", "d", "a", "b", "c", "out"], [*"xdabc"])


def test_a_dimension_of_an_input_is_no_parameter_and_a_scalar_keeps_its_place():
    a, b, c = sizes("abc")
    half = tirx.Var("half", "float32")

    def scaled(x: te.Tensor, factor: Any, y: te.Tensor) -> te.Tensor:
        return te.compute(x.shape, lambda i: x[i] * factor + y[0], name="out")

    found = names(scaled, tensor("x", c + a + b), half, tensor("y", a))
    assert found == (["x", "half", "y", "c", "b", "out"], ["x", "half", "y", "c", "b"])


def test_operands_and_parameters_stay_pairs():
    a, b = sizes("ab")
    x, shape = tensor("x", b - a), relax.Var("shape", relax.ShapeType([a, b]))
    builder = relax.BlockBuilder()

    def ends(x: te.Tensor, first: Any, last: Any) -> te.Tensor:
        floats = [tirx.Cast("float32", end) for end in (last, first)]
        return te.compute(x.shape, lambda i: x[i] * floats[0] - floats[1])

    with builder.function("main", [x, shape]):
        func, operands, out_type = ordered_call_tir_inputs(ends, x, a, b)
        call = relax.op.call_tir(builder.add_func(func, "ends"), operands, out_type)
        builder.emit_func_output(builder.emit(call))
    machine = relax.VirtualMachine(tvm.compile(builder.get(), "llvm"), tvm.cpu())
    given = np.array([1, 2, 3], "float32")
    got = machine["main"](tvm.runtime.tensor(given), tvm_ffi.Shape([4, 7])).numpy()
    np.testing.assert_array_equal(got, given * 7 - 4)
