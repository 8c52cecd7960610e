"""Vocabulary of the kernel generators: a thin layer over TVM's IRBuilder.

A kernel here is a Python function that emits TIR statement by statement. Compared with
TVMScript this lets kernels share pieces that are ordinary Python functions (a register tile,
an exponential), unrolled by ordinary Python loops; compared with schedules it says exactly
which values live in registers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import tvm
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T

__all__ = [
    "EXACT_BUFFERS",
    "FEATURES",
    "OPAQUE",
    "Expr",
    "accumulators",
    "as_index",
    "bind",
    "ceil_div",
    "fill",
    "kernel",
    "load",
    "loop",
    "parallel",
    "prefetch",
    "quotient",
    "ramp",
    "remainder",
    "scalar",
    "scratch",
    "size_var",
    "splat",
    "spread",
    "store",
    "tensor",
    "vectors",
    "when",
]

# TVM ships no types; an expression, a buffer and a PrimFunc are all opaque to mypy.
Expr = Any


def as_index(value: Expr | int) -> Expr:
    """An int64 expression. All index arithmetic is in int64: SAM 3's tensors reach 2^27
    values, and a symbolic product of dimensions gives TVM no bound to narrow by."""
    return tirx.const(value, "int64") if isinstance(value, int) else value


def size_var(name: str) -> Expr:
    """A symbolic dimension."""
    return tirx.Var(name, "int64")


def ceil_div(a: Expr | int, b: int) -> Expr:
    """Smallest integer not below ``a / b``, of Python ints or index expressions."""
    return -(-a // b) if isinstance(a, int) else (a + as_index(b - 1)) // as_index(b)


def quotient(a: Expr, b: Expr | int) -> Expr:
    """``a // b`` of an index that isn't negative and a positive one.

    It is truncated, which is the same. TVM can't prove that where the divisor varies: it lowers a
    floored quotient to choices between expressions that hold the next one, and going through those
    took nearly all of the time that a kernel took to compile. By a constant ``//`` is simplified
    better.
    """
    return tirx.truncdiv(a, as_index(b))


def remainder(a: Expr, b: Expr | int) -> Expr:
    """``a % b`` of an index that isn't negative and a positive one; see :func:`quotient`."""
    return tirx.truncmod(a, as_index(b))


class _Kernel:
    """A PrimFunc under construction; :attr:`func` is there once the block has ended."""

    func: Expr = None


@contextmanager
def kernel(name: str, features: Collection[str] = (), llvm: str = "") -> Iterator[_Kernel]:
    """Everything emitted inside becomes the body of one PrimFunc, left in ``.func``.

    The function is marked as scheduled and opaque, so that TVM's fusion and default schedules
    leave it as it is, and its arguments as not aliasing each other.

    Args:
        name: what a profile lists it as.
        features: those beyond the target's level whose instructions it uses.
        llvm: definitions in LLVM's language of what it calls by ``call_pure_extern``; inlined.
    """
    made = _Kernel()
    with IRBuilder() as builder, T.prim_func(is_private=True, s_tir=True):
        T.func_name(name)
        T.func_attr(
            {
                "op_pattern": OPAQUE,
                "tirx.noalias": True,
                "tirx.is_scheduled": True,
                EXACT_BUFFERS: True,
                **({FEATURES: sorted(features)} if features else {}),
            }
        )
        yield made
    made.func = builder.get()
    if llvm:
        imported = ("pragma_import_llvm", tvm.ir.StringImm(llvm))
        body = tirx.AttrStmt(tirx.const(0, "int32"), *imported, made.func.body)
        made.func = made.func.with_body(body)


EXACT_BUFFERS = "sam3_tvm.exact_buffers"
"""Attribute of a function none of whose buffers is larger than what is used of it."""

FEATURES = "sam3_tvm.features"
"""Attribute of a function: the features beyond the target's level that its instructions need."""

OPAQUE = 8
"""relax's OpPatternKind of a function that is never fused with its neighbours."""


def tensor(name: str, shape: tuple[Expr | int, ...], dtype: str = "float32") -> Expr:
    """The next tensor argument of the kernel: compact, row-major."""
    return T.arg(name, T.buffer(tuple(map(as_index, shape)), dtype))


def scalar(name: str) -> Expr:
    """The next argument of the kernel, an int64 before its result: a size that no tensor has."""
    return T.arg(name, tirx.Var(name, "int64"))


def loop(extent: Expr | int, start: Expr | int = 0) -> Expr:
    """``with loop(n) as i``: a serial loop over ``start .. start + n - 1``."""
    if isinstance(start, int) and start == 0:
        return T.serial(as_index(0), as_index(extent))
    return T.serial(as_index(start), as_index(start) + as_index(extent))


def parallel(extent: Expr | int) -> Expr:
    """``with parallel(n) as i``: iterations shared among the threads, in contiguous runs."""
    return T.parallel(as_index(0), as_index(extent))


@contextmanager
def when(condition: Expr) -> Iterator[None]:
    """Statements that run only where the condition holds."""
    with T.If(condition), T.Then():
        yield


def bind(value: Expr) -> Expr:
    """A name for a value, so that it is computed once."""
    return T.Bind(value)


def scratch(size: int, dtype: str = "float32") -> Expr:
    """A flat workspace of the current task, 64-byte aligned, taken from TVM's pool.

    Flat on purpose: TVM compacts a multi-dimensional buffer to the region that is used, and
    would take the padding out that keeps rows in different cache sets.
    """
    return T.alloc_buffer((as_index(size),), dtype)


def accumulators(rows: int, vectors: int, lanes: int, dtype: str = "float32") -> list[Expr]:
    """One small buffer per row of a register tile; ``tile[r][j]`` reads vector j of row r.

    One buffer per row because TVM puts a buffer on the stack, where LLVM can promote it to
    registers, only below 1 KiB; a larger one would come from the heap and every update would
    be stored.
    """
    return [
        T.alloc_buffer((as_index(vectors),), f"{dtype}x{lanes}" if lanes > 1 else dtype)
        for _ in range(rows)
    ]


def ramp(start: Expr | int, lanes: int) -> Expr:
    """Consecutive indices from ``start``: a vector load or store."""
    start = as_index(start)
    return start if lanes == 1 else tirx.Ramp(start, as_index(1), lanes)


def splat(value: Expr | float, lanes: int) -> Expr:
    """The same float32 in every lane."""
    if isinstance(value, float | int):
        value = tirx.const(value, "float32")
    return value if lanes == 1 else tirx.Broadcast(value, lanes)


def spread(value: Expr | None, lanes: int) -> Expr | None:
    """The same in every lane of a value that may not be there."""
    return None if value is None else splat(value, lanes)


def load(buffer: Expr, *indices: Expr | int, lanes: int = 1) -> Expr:
    """``lanes`` consecutive values along the last axis."""
    *outer, last = indices
    return buffer[(*map(as_index, outer), ramp(last, lanes))]


def store(buffer: Expr, value: Expr, *indices: Expr | int, lanes: int = 1) -> None:
    """The inverse of :func:`load`."""
    *outer, last = indices
    T.buffer_store(buffer, value, [*map(as_index, outer), ramp(last, lanes)])


def fill(buffer: Expr, value: float, size: Expr, lanes: int) -> None:
    """Set the first ``size`` values of flat scratch, a multiple of ``lanes``."""
    number = splat(tirx.const(value, f"{buffer.dtype}"), lanes)
    with loop(size // as_index(lanes)) as v:
        store(buffer, number, v * as_index(lanes), lanes=lanes)


def vectors(extent: int, lanes: int) -> Iterator[tuple[Expr, int]]:
    """Loops over ``extent`` values: ``(first index, lanes)`` of whole vectors, then of the rest.

    The rest is done in vectors of half the size, a quarter and so on, down to single values.
    """
    start = 0
    while lanes >= 1:
        count = (extent - start) // lanes
        if count:
            with loop(count) as v:
                yield bind(as_index(start) + v * as_index(lanes)), lanes
        start += count * lanes
        lanes //= 2


def prefetch(buffer: Expr, *indices: Expr | int, level: int = 2) -> None:
    """Ask for the cache line of one value, to be read soon, in the cache of ``level`` (1 to 3).

    The index may lie past the end of the buffer: a prefetch never faults.
    """
    address = tirx.address_of(buffer[tuple(map(as_index, indices))])
    read, locality, data = (tirx.const(v, "int32") for v in (0, 4 - level, 1))
    T.evaluate(tirx.call_intrin("void", "tirx.prefetch", address, read, locality, data))
