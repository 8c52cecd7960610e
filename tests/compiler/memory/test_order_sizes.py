"""Stores of sizes stand in the order of their places, unless one reads what another writes."""

from __future__ import annotations

import pytest
import tvm
from tvm.script import tirx as T

from sam3_tvm.compiler.memory.order_sizes import OrderSizes


@T.prim_func(s_tir=True)
def sizes(h: T.Buffer((T.int64(5),), "int64")):
    T.func_attr({"tirx.is_host_func": True})
    h[T.int64(4)] = h[T.int64(0)] * h[T.int64(1)]
    h[T.int64(2)] = h[T.int64(0)] * T.int64(3)
    h[T.int64(3)] = h[T.int64(1)] + T.int64(7)


@T.prim_func(s_tir=True)
def ordered(h: T.Buffer((T.int64(5),), "int64")):
    T.func_attr({"tirx.is_host_func": True})
    h[T.int64(2)] = h[T.int64(0)] * T.int64(3)
    h[T.int64(3)] = h[T.int64(1)] + T.int64(7)
    h[T.int64(4)] = h[T.int64(0)] * h[T.int64(1)]


@T.prim_func(s_tir=True)
def chained(h: T.Buffer((T.int64(5),), "int64")):
    T.func_attr({"tirx.is_host_func": True})
    h[T.int64(4)] = h[T.int64(0)] * T.int64(3)
    h[T.int64(2)] = h[T.int64(4)] + T.int64(1)


@T.prim_func(s_tir=True)
def twice(h: T.Buffer((T.int64(5),), "int64")):
    T.func_attr({"tirx.is_host_func": True})
    h[T.int64(4)] = h[T.int64(0)] * T.int64(3)
    h[T.int64(4)] = h[T.int64(1)]
    h[T.int64(2)] = h[T.int64(0)]


@T.prim_func(s_tir=True)
def single(h: T.Buffer((T.int64(5),), "int64")):
    T.func_attr({"tirx.is_host_func": True})
    h[T.int64(4)] = h[T.int64(0)] * T.int64(3)


@T.prim_func(s_tir=True)
def kernel(h: T.Buffer((T.int64(5),), "int64")):
    h[T.int64(4)] = h[T.int64(0)] * T.int64(3)
    h[T.int64(2)] = h[T.int64(1)]


@pytest.mark.parametrize(
    ("before", "after"),
    [(sizes, ordered), *((one, one) for one in (ordered, chained, twice, single, kernel))],
)
def test_stores_that_read_none_of_the_others_are_sorted_and_all_else_stays(before, after):
    made = OrderSizes()(tvm.IRModule({"main": before}))["main"]
    tvm.ir.assert_structural_equal(
        made.without_attr("global_symbol"), after.without_attr("global_symbol")
    )
