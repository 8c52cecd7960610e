"""The machine's peak rate of float32 fused multiply-adds, measured.

A data sheet's peak is at a clock that a loaded machine, or a virtual one, doesn't hold; a
share of peak means something only beside the rate measured in the same minutes. The kernel is
nothing but independent chains ``a = a * x + y``, held in registers, on every thread at once.
Chains hide the latency: 4 cycles on at most two pipes asks for 8; 12 of the 16 registers, or
24 of 32, leave room for ``x`` and ``y``.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import tvm

from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.kernels.emit import (
    accumulators,
    as_index,
    bind,
    kernel,
    load,
    loop,
    parallel,
    splat,
    store,
    tensor,
)
from sam3_tvm.compiler.targets.cpu import CpuTarget
from sam3_tvm.runtime.execution.engine import Engine

__all__ = ["FmaPeak", "fma_kernel"]

_STEPS = 1 << 21  # some 10 to 20 ms a call (November 2026)


def chains(target: CpuTarget) -> int:
    """Independent accumulators of one thread."""
    return 24 if target.registers >= 32 else 12


def fma_kernel(target: CpuTarget, tasks: int, steps: int) -> Any:
    """``out[t, lane] = sum over chains c of (a -> a * x + y, steps times, from a = c)``.

    Args:
        target: its vectors and registers are used.
        tasks: parallel tasks, one a thread.
        steps: multiply-adds of each chain.

    Returns:
        A PrimFunc of ``x_and_y`` float32 ``[2, lanes]`` and ``out`` float32 ``[tasks, lanes]``.
    """
    lanes = target.lanes
    with kernel("fma_peak") as made:
        x_and_y = tensor("x_and_y", (2, lanes))
        out = tensor("out", (tasks, lanes))
        with parallel(tasks) as task:
            rows = accumulators(chains(target), 1, lanes)
            x, y = (bind(load(x_and_y, i, 0, lanes=lanes)) for i in range(2))
            for c, row in enumerate(rows):
                store(row, splat(float(c), lanes), 0)
            with loop(steps):
                for row in rows:
                    store(row, row[as_index(0)] * x + y, 0)
            total = rows[0][as_index(0)]
            for row in rows[1:]:
                total = total + row[as_index(0)]
            store(out, total, task, 0, lanes=lanes)
    return made.func


class FmaPeak:
    """The kernel, compiled for this machine.

    Args:
        threads: how many compute.
    """

    def __init__(self, threads: int) -> None:
        target = CpuTarget.native()
        func = fma_kernel(target, threads, _STEPS).with_attr("global_symbol", "fma_peak")
        mod = generate(tvm.IRModule({"fma_peak": func}), target)
        self._call = mod["fma_peak"]
        # Towards a fixed point, so that nothing becomes infinite or denormal.
        values = np.repeat(np.array([[0.5], [1.0]], np.float32), target.lanes, 1)
        self._arguments = (
            tvm.runtime.tensor(values),
            tvm.runtime.tensor(np.zeros((threads, target.lanes), np.float32)),
        )
        self._flops = 2 * threads * _STEPS * chains(target) * target.lanes
        self._engine = Engine(threads)
        self.rate(seconds=0.02)

    def rate(self, seconds: float = 0.3) -> float:
        """FLOP/s (a multiply-add counts as two) over about this time."""
        calls, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            self._engine.run(lambda: self._call(*self._arguments))
            calls += 1
        return calls * self._flops / elapsed
