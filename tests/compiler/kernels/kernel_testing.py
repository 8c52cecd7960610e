"""What the kernel tests share."""

from __future__ import annotations

import numpy as np
import pytest
import tvm

from sam3_tvm import host
from sam3_tvm.arithmetic import BFLOAT16
from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.kernels.product.bfloat16 import Pairs
from sam3_tvm.compiler.kernels.product.dot import FMA, bfloat16_dot, dot_for
from sam3_tvm.compiler.targets.cpu import CpuTarget

LEVELS = list(host.LEVELS)
RUNNABLE = [level for level in LEVELS if CpuTarget.parse(level).runs_here()]
# What a kernel does wrong it mostly does on every level: the highest goes first.
FIRST_HIGHEST = [
    pytest.param(level, marks=() if level == RUNNABLE[-1] else pytest.mark.slow)
    for level in RUNNABLE
]

NATIVE = CpuTarget.parse("native")
# Pairs of bfloat16 by arithmetic that every CPU has, and by instructions where this one has them.
PLAIN_PAIRS = bfloat16_dot("plain", Pairs(NATIVE.lanes), None)
NATIVE_PAIRS = dot_for(NATIVE, BFLOAT16)
MULTIPLIES_BFLOAT16 = NATIVE_PAIRS is not FMA


def bfloat16_bits(values):
    """The nearest bfloat16 of float32, ties to even, as uint16."""
    wide = np.ascontiguousarray(values, "float32").view("uint32")
    nearest = (wide + 0x7FFF + ((wide >> 16) & 1)) >> 16
    return np.where(np.isnan(values), (wide >> 16) | 0x40, nearest).astype("uint16")


def as_bfloat16(values):
    """The same as float64."""
    return (bfloat16_bits(values).astype("uint32") << 16).view("float32").astype("float64")


def quantised(x):
    """Rows in eight bits by the scheme's definition, in float32: int64 and scales [M]."""
    largest = np.abs(x).max(axis=1, initial=0).astype("float32")
    steps = np.float32(127) / np.maximum(largest, np.float32(1e-30))
    return np.rint(x * steps[:, None]).astype("int64"), largest * np.float32(1 / 127)


def compiled(func, target):
    """The kernel as a Python function on arrays and sizes; it returns the last, the result."""
    module = generate(tvm.IRModule({"main": func.with_attr("global_symbol", "main")}), target)

    def call(*arguments):
        given = [
            a if isinstance(a, int) else tvm.runtime.tensor(np.ascontiguousarray(a))
            for a in arguments
        ]
        module["main"](*given)
        return given[-1].numpy()

    return call


def empty(*shape):
    """A result to be: NaN, so that what isn't written shows."""
    return np.full(shape, np.nan, "float32")


def assert_close(got, want, tolerance=2e-6):
    """Compare with a float64 reference: relative to its largest value."""
    assert got.shape == want.shape
    if got.size:
        error = np.abs(got - want).max() / max(1.0, np.abs(want).max())
        assert error <= tolerance, f"max error {error:.2e} of the largest value"
