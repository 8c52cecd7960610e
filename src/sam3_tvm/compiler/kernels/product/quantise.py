"""Rows of float32 in eight bits: q = round(x / scale), scale = max |x| / 127 of each row.

Symmetric: a zero stays a zero, and -128 isn't used. A value moves by at most half a scale, 1/254 of
its row's largest. A row of zeros has the scale 0; a row with an infinite value or a NaN has that as
its scale, so that all its products are none that could be taken for results.

A row is read twice: for its largest magnitude, found as an integer (the bits of a positive float32
grow with it, those of NaN are the largest), and to be divided. Its second reading is from L1 or L2.
What layer norm writes for such layers alone it quantises itself
(:mod:`~sam3_tvm.compiler.kernels.norm`).
"""

from __future__ import annotations

from collections.abc import Callable

from tvm import s_tir, tirx

from sam3_tvm.compiler.kernels.emit import (
    Expr,
    accumulators,
    as_index,
    bind,
    ceil_div,
    kernel,
    loop,
    parallel,
    size_var,
    splat,
    store,
    tensor,
    vectors,
    when,
)
from sam3_tvm.compiler.kernels.product.int8 import Integers
from sam3_tvm.compiler.kernels.product.stored_weights import INT8_MAX, load_wide
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["ROWS", "quantise_kernel", "quantise_name", "quantise_row", "quantised_width"]

_CHAINS = 4
ROWS = 16
"""Rows of a task: 64 KiB of 1024 values."""


def quantised_width(k: int, integers: Integers) -> int:
    """Columns of the quantised matrix: whole words."""
    return -(-k // integers.pack) * integers.pack


def quantise_name(k: int, integers: Integers, rounded: bool = False) -> str:
    """What a profile lists the kernel as."""
    return f"quantise_{k}{'_of_rounded' if rounded else ''}_{integers.dtype}"


def quantise_kernel(target: CpuTarget, k: int, integers: Integers, rounded: bool = False) -> Expr:
    """The PrimFunc ``(x [M, K], q [M, K'], scale [M] float32)``, M symbolic.

    Args:
        target: the CPU that it is for.
        k: columns, any positive number.
        integers: the dtype of q, what is added to its values, and how many make a word: K' is K
            in whole words, zeros behind it.
        rounded: whether x is bfloat16, its bits as uint16, instead of float32.
    """
    width = quantised_width(k, integers)
    with kernel(quantise_name(k, integers, rounded)) as made:
        m = size_var("m")
        x = tensor("x", (m, k), "uint16" if rounded else "float32")
        q, scales = tensor("q", (m, width), integers.dtype), tensor("scale", (m,))
        with parallel(ceil_div(m, ROWS)) as task, loop(ROWS) as r:
            row = bind(task * as_index(ROWS) + r)
            with when(row < m):

                def values(column: Expr, lanes: int) -> Expr:
                    return load_wide(x, row, column, lanes=lanes)

                quantise_row(values, k, target.lanes, integers, q, scales, row)
    # TVM looks whether a function of one tensor is a reshape, and dies where it finds no block.
    block = s_tir.SBlock([], [], [], "root", made.func.body)
    return made.func.with_body(s_tir.SBlockRealize([], True, block))


def quantise_row(
    values: Callable[[Expr, int], Expr],
    k: int,
    lanes: int,
    integers: Integers,
    q: Expr,
    scales: Expr,
    row: Expr,
) -> None:
    """Emit a row of q and its scale.

    Args:
        values: ``(column, lanes)`` gives the row's float32 values from a column on; asked twice.
        k: how many.
        lanes: of a vector.
        integers: as :func:`quantise_kernel` takes it.
        q: the quantised matrix.
        scales: its scales.
        row: which row.
    """
    largest = _largest_magnitude(values, k, lanes)
    store(scales, largest * _float(1 / INT8_MAX), row)
    # Of zeros all are zeros, by whatever they are multiplied.
    steps = bind(_float(float(INT8_MAX)) / tirx.max(largest, _float(1e-30)))
    for column, w in vectors(k, lanes):
        value = values(column, w) * splat(steps, w)
        store(q, _stored(value, w, integers), row, column, lanes=w)
    for column in range(k, quantised_width(k, integers)):
        store(q, tirx.const(integers.offset, integers.dtype), row, column)


def _float(value: float) -> Expr:
    return tirx.const(value, "float32")


def _largest_magnitude(values: Callable[[Expr, int], Expr], k: int, lanes: int) -> Expr:
    """Of a row of k values; NaN where it has one."""
    [chains] = accumulators(1, _CHAINS, lanes, "int32")
    for u in range(_CHAINS):
        store(chains, _int(0, lanes), u)

    def magnitudes(column: Expr, w: int) -> Expr:
        dtype = "int32" if w == 1 else f"int32x{w}"
        return tirx.reinterpret(dtype, values(column, w)) & _int(0x7FFFFFFF, w)

    step = _CHAINS * lanes
    with loop(k // step) as v:
        for u in range(_CHAINS):
            at = bind(v * as_index(step) + as_index(u * lanes))
            store(chains, tirx.max(chains[as_index(u)], magnitudes(at, lanes)), u)
    a, b, c, d = (chains[as_index(u)] for u in range(_CHAINS))
    [total] = accumulators(1, 1, 1, "int32")
    store(total, _fold(bind(tirx.max(tirx.max(a, b), tirx.max(c, d))), lanes), 0)
    done = k // step * step
    for column, w in vectors(k - done, lanes):
        rest = _fold(bind(magnitudes(column + as_index(done), w)), w)
        store(total, tirx.max(total[as_index(0)], rest), 0)
    return bind(tirx.reinterpret("float32", total[as_index(0)]))


def _int(value: int, lanes: int) -> Expr:
    number = tirx.const(value, "int32")
    return number if lanes == 1 else tirx.Broadcast(number, lanes)


def _fold(vector: Expr, lanes: int) -> Expr:
    """The largest of a vector's lanes."""
    while lanes > 1:
        lanes //= 2
        low, high = (
            tirx.Shuffle([vector], [tirx.const(start + i, "int32") for i in range(lanes)])
            for start in (0, lanes)
        )
        vector = bind(tirx.max(low, high))
    return vector


def _stored(value: Expr, lanes: int, integers: Integers) -> Expr:
    """The nearest integers, ties to even, as they are stored."""
    suffix = "" if lanes == 1 else f"x{lanes}"
    nearest = tirx.nearbyint(value).astype(f"int32{suffix}")
    if integers.offset:
        nearest = nearest + _int(integers.offset, lanes)
    return nearest.astype(f"{integers.dtype}{suffix}")
