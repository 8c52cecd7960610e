"""What the kernel tests share."""

from __future__ import annotations

import numpy as np
import pytest
import tvm

from sam3_tvm import host
from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.targets.cpu import CpuTarget

LEVELS = list(host.LEVELS)
RUNNABLE = [level for level in LEVELS if CpuTarget.parse(level).runs_here()]
# What a kernel does wrong it mostly does on every level: the highest goes first.
FIRST_HIGHEST = [
    pytest.param(level, marks=() if level == RUNNABLE[-1] else pytest.mark.slow)
    for level in RUNNABLE
]


def compiled(func, target):
    """The kernel as a Python function on NumPy arrays; it returns the last, the result."""
    module = generate(tvm.IRModule({"main": func.with_attr("global_symbol", "main")}), target)

    def call(*arrays):
        tensors = [tvm.runtime.tensor(np.ascontiguousarray(a)) for a in arrays]
        module["main"](*tensors)
        return tensors[-1].numpy()

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
