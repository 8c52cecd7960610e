"""Which rotations become a kernel, and that the numbers stay."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from dispatch_testing import TARGET, build, close, kernels, operators, randoms
from tvm import relax, tirx
from tvm.relax import op as R

from sam3_tvm.compiler import pipeline
from sam3_tvm.compiler.dispatch.rotary import DispatchRotary
from sam3_tvm.runtime.execution.workspace import PlannedFunction, Workspace, tensor

PERIOD, SIZE = 7, 10
ANGLES = np.random.default_rng(1).uniform(-3, 3, (PERIOD, SIZE // 2)).repeat(2, axis=1)
TABLES = [f(ANGLES).astype("float32") for f in (np.cos, np.sin)]


def pairwise(emit, x):
    """Neighbours (a, b) as (-b, a)."""
    *rows, _ = x.ty.shape
    pairs = emit(R.reshape(x, [*rows, SIZE // 2, 2]))
    even, odd = (
        emit(R.strided_slice(pairs, [4], [i], [i + 1], [1], assume_inbound=True)) for i in (0, 1)
    )
    both = emit(R.concat([emit(R.negative(odd)), even], axis=4))
    return emit(R.reshape(both, x.ty.shape))


def tables(emit, times):
    if times is None:
        return [relax.const(table.reshape(1, 1, PERIOD, SIZE)) for table in TABLES]
    found = []
    for table in TABLES:
        one = emit(R.reshape(relax.const(table), [1, 1, 1, PERIOD, SIZE]))
        many = emit(R.broadcast_to(one, [1, 1, times, PERIOD, SIZE]))
        found.append(emit(R.reshape(many, [1, 1, times * PERIOD, SIZE])))
    return found


def rotated(emit, x, times=None):
    cosine, sine = tables(emit, times)
    left = emit(R.multiply(x, cosine))
    return emit(R.add(left, emit(R.multiply(pairwise(emit, x), sine))))


def memories_and_others(heads, transposed=False, last=None):
    """``times`` maps of rows are rotated, ``p`` rows behind them aren't."""

    def body(emit, x, times_given, others):
        times, p = times_given.ty.shape[0], others.ty.shape[0]
        if transposed:
            x = emit(R.permute_dims(x, [0, 2, 1, 3]))
        middle, end = times * PERIOD, times * PERIOD + p
        first, rest = (
            emit(R.strided_slice(x, [2], [begin], [stop], [1], assume_inbound=True))
            for begin, stop in ((tirx.const(0, "int64"), middle), (middle, end))
        )
        rest = rest if last is None else last(emit, rest)
        return R.concat([rotated(emit, first, times), rest], axis=2)

    times, p = tirx.Var("t", "int64"), tirx.Var("p", "int64")
    rows = times * PERIOD + p
    shape = ("b", rows, heads, SIZE) if transposed else ("b", heads, rows, SIZE)
    return build([("x", shape), ("times", (times,)), ("others", (p,))], [], body)


def want(x, count):
    angles = ANGLES[np.arange(x.shape[2]) % PERIOD, ::2]
    pairs = x.astype("float64").reshape(*x.shape[:-1], SIZE // 2, 2)
    turned = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(1j * angles)
    both = np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)
    both[:, :, count:] = x[:, :, count:]
    return both


def test_a_rotation_by_constants():
    mod = build([("x", ("b", 3, PERIOD, SIZE))], [], rotated)
    after = DispatchRotary(TARGET)(mod)
    assert kernels(after) == [f"rotary_{PERIOD}x{SIZE}"]
    assert operators(after) == {"call_tir", "reshape"}
    (x,) = randoms((2, 3, PERIOD, SIZE))
    close(lowered(after, x), want(x, PERIOD))


@pytest.mark.parametrize(("heads", "transposed"), [(1, False), (3, False), (1, True), (3, True)])
def test_the_first_rows_of_an_array_by_tables_that_repeat(heads, transposed):
    after = DispatchRotary(TARGET)(memories_and_others(heads, transposed))
    assert kernels(after) == [f"rotary_{PERIOD}x{SIZE}"]
    left = {"permute_dims"} if transposed and heads > 1 else set()
    assert operators(after) == {"call_tir", "reshape", *left}
    for times, others in ((2, 3), (1, 0), (5, 1)):
        rows = times * PERIOD + others
        (x,) = randoms((2, heads, rows, SIZE))
        given = np.ascontiguousarray(x.transpose(0, 2, 1, 3)) if transposed else x
        got = lowered(after, given, np.zeros(times, "float32"), np.zeros(others, "float32"))
        close(got, want(x, times * PERIOD))


def test_rows_that_something_else_was_done_to_are_joined_as_before():
    mod = memories_and_others(2, last=lambda emit, rest: emit(R.exp(rest)))
    after = DispatchRotary(TARGET)(mod)
    assert kernels(after) == [f"rotary_{PERIOD}x{SIZE}"]
    assert {"concat", "exp"} <= operators(after)
    x, times, others = randoms((1, 2, 2 * PERIOD + 3, SIZE), (2,), (3,))
    expected = want(x, 2 * PERIOD)
    expected[:, :, 2 * PERIOD :] = np.exp(x[:, :, 2 * PERIOD :])
    close(lowered(after, x, times, others), expected)


def test_an_end_that_is_counted_from_the_last_row():
    def body(emit, x):
        first, rest = (
            emit(R.strided_slice(x, [2], [begin], [stop], [1], assume_inbound=False))
            for begin, stop in ((0, -3), (-3, PERIOD + 3))
        )
        return R.concat([rotated(emit, first), rest], axis=2)

    mod = build([("x", ("b", 2, PERIOD + 3, SIZE))], [], body)
    (x,) = randoms((2, 2, PERIOD + 3, SIZE))
    close(lowered(DispatchRotary(TARGET)(mod), x), want(x, PERIOD))


def test_tables_that_a_call_brings_are_left_alone():
    def body(emit, x, cosine, sine):
        left = emit(R.multiply(x, cosine))
        return R.add(left, emit(R.multiply(pairwise(emit, x), sine)))

    shapes = [("x", ("b", 2, PERIOD, SIZE)), ("c", (PERIOD, SIZE)), ("s", (PERIOD, SIZE))]
    assert kernels(DispatchRotary(TARGET)(build(shapes, [], body))) == []


def lowered(mod, *arrays):
    """Through all phases, in memory that is planned, as an artifact's functions go."""
    options = pipeline.Options(TARGET, plan_memory=True)
    machine = relax.VirtualMachine(pipeline.build(mod, options), tvm.cpu(), memory_cfg="naive")
    function = PlannedFunction(machine, "main", Workspace(), [])
    (result,) = function([tensor(array) for array in arrays])
    return np.from_dlpack(result)
