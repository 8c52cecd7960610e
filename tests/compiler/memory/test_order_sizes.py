"""Stores of sizes stand in the order of their places, unless one reads what another writes."""

from __future__ import annotations

import tvm
from tvm.script import ir as I
from tvm.script import tirx as T

from sam3_tvm.compiler.memory.order_sizes import OrderSizes


@I.ir_module
class Before:
    @T.prim_func(s_tir=True)
    def sizes(H: T.Buffer((T.int64(5),), "int64")):
        T.func_attr({"tirx.is_host_func": True})
        H[T.int64(4)] = H[T.int64(0)] * H[T.int64(1)]
        H[T.int64(2)] = H[T.int64(0)] * T.int64(3)
        H[T.int64(3)] = H[T.int64(1)] + T.int64(7)

    @T.prim_func(s_tir=True)
    def chained(H: T.Buffer((T.int64(5),), "int64")):
        T.func_attr({"tirx.is_host_func": True})
        H[T.int64(4)] = H[T.int64(0)] * T.int64(3)
        H[T.int64(2)] = H[T.int64(4)] + T.int64(1)

    @T.prim_func(s_tir=True)
    def twice(H: T.Buffer((T.int64(5),), "int64")):
        T.func_attr({"tirx.is_host_func": True})
        H[T.int64(4)] = H[T.int64(0)] * T.int64(3)
        H[T.int64(4)] = H[T.int64(1)]
        H[T.int64(2)] = H[T.int64(0)]

    @T.prim_func(s_tir=True)
    def single(H: T.Buffer((T.int64(5),), "int64")):
        T.func_attr({"tirx.is_host_func": True})
        H[T.int64(4)] = H[T.int64(0)] * T.int64(3)

    @T.prim_func(s_tir=True)
    def kernel(H: T.Buffer((T.int64(5),), "int64")):
        H[T.int64(4)] = H[T.int64(0)] * T.int64(3)
        H[T.int64(2)] = H[T.int64(1)]


@I.ir_module
class Ordered:
    @T.prim_func(s_tir=True)
    def sizes(H: T.Buffer((T.int64(5),), "int64")):
        T.func_attr({"tirx.is_host_func": True})
        H[T.int64(2)] = H[T.int64(0)] * T.int64(3)
        H[T.int64(3)] = H[T.int64(1)] + T.int64(7)
        H[T.int64(4)] = H[T.int64(0)] * H[T.int64(1)]


def test_stores_that_read_none_of_the_others_are_sorted_and_all_else_stays():
    after = OrderSizes()(Before)
    tvm.ir.assert_structural_equal(after["sizes"], Ordered["sizes"])
    for name in ("chained", "twice", "single", "kernel"):
        tvm.ir.assert_structural_equal(after[name], Before[name])
