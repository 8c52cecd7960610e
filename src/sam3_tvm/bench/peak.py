"""The machine's peak rate in each kind of arithmetic, measured.

A data sheet's peak is at a clock that a loaded machine, or a virtual one, doesn't hold; a share of
peak means something only beside the rate measured in the same minutes. A kernel here is nothing but
independent chains of one instruction, held in registers, on every thread at once: the fused
multiply-add of float32, and where the CPU has them the instructions that multiply pairs of bfloat16
or four bytes and add the products to a wider sum. Chains hide the latency: 4 to 6 cycles on at most
two pipes ask for 8 to 12; 12 of the 16 registers, or 24 of 32, leave room for the operands.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import tirx

from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.kernels.emit import (
    Expr,
    accumulators,
    as_index,
    bind,
    kernel,
    load,
    loop,
    parallel,
    store,
    tensor,
)
from sam3_tvm.compiler.kernels.product.bfloat16 import AVX512_BF16
from sam3_tvm.compiler.kernels.product.dot import FMA, VDPBF16PS, VPDPBUSD, VPDPBUSD_256, Dot
from sam3_tvm.compiler.targets.cpu import CpuTarget
from sam3_tvm.runtime.execution.engine import Engine

__all__ = ["INSTRUCTIONS", "Instruction", "Peak", "find_instructions", "peak_kernel"]

_STEPS = 1 << 21  # some 10 to 20 ms a call (November 2026)


@dataclass(frozen=True)
class Instruction:
    """What a chain is made of.

    Attributes:
        dot: the instruction as kernels take it; its feature is what the CPU must have.
        lanes: words of an instruction; None for the target's vectors.
        registers: that its encoding can name.
    """

    dot: Dot
    lanes: int | None = None
    registers: int = 32

    @property
    def name(self) -> str:
        """As assemblers spell it."""
        return self.dot.name

    @property
    def arithmetic(self) -> str:
        """The kind of arithmetic whose peak it has: dtype of what is multiplied."""
        return self.dot.b

    def width(self, target: CpuTarget) -> int:
        """Lanes of an instruction."""
        return self.lanes or target.lanes


def _multiply_add(sums: Expr, x: Expr, y: Expr) -> Expr:
    # sums + x * y would let LLVM take the product out of the loop, and leave additions.
    return sums * x + y


INSTRUCTIONS = (
    Instruction(replace(FMA, name="FMA", multiply_add=_multiply_add)),
    Instruction(VDPBF16PS, AVX512_BF16.lanes),
    Instruction(VPDPBUSD, 16),
    Instruction(VPDPBUSD_256, 8, registers=16),
)
"""Of each kind of arithmetic the widest first."""


def find_instructions(target: CpuTarget) -> dict[str, Instruction | None]:
    """By kind of arithmetic the widest instruction that a target has for it, or None."""
    found: dict[str, Instruction | None] = {}
    for one in INSTRUCTIONS:
        there = one.dot.feature is None or target.has(one.dot.feature)
        found[one.arithmetic] = found.get(one.arithmetic) or (one if there else None)
    return found


def chains(target: CpuTarget, instruction: Instruction) -> int:
    """Independent accumulators of one thread."""
    return 24 if min(target.registers, instruction.registers) >= 32 else 12


def peak_kernel(target: CpuTarget, instruction: Instruction, tasks: int, steps: int) -> Any:
    """``out[t, lane] = sum over chains c of (a -> dot(a, x, y), steps times, from a = c)``.

    Args:
        target: its vectors and registers are used.
        instruction: makes a step.
        tasks: parallel tasks, one a thread.
        steps: instructions of each chain.

    Returns:
        A PrimFunc of ``x_and_y`` ``[2, lanes]`` words and ``out`` ``[tasks, lanes]`` sums.
    """
    dot, lanes = instruction.dot, instruction.width(target)
    kind, name = dot.sum, func_name(instruction)
    with kernel(name, dot.features, dot.llvm) as made:
        x_and_y = tensor("x_and_y", (2, lanes), dot.word)
        out = tensor("out", (tasks, lanes), kind)
        with parallel(tasks) as task:
            rows = accumulators(chains(target, instruction), 1, lanes, kind)
            x, y = (bind(load(x_and_y, i, 0, lanes=lanes)) for i in range(2))
            for c, row in enumerate(rows):
                store(row, tirx.Broadcast(tirx.const(c, kind), lanes), 0)
            with loop(steps):
                for row in rows:
                    store(row, dot.multiply_add(row[as_index(0)], x, y), 0)
            total = rows[0][as_index(0)]
            for row in rows[1:]:
                total = total + row[as_index(0)]
            store(out, total, task, 0, lanes=lanes)
    return made.func.with_attr("global_symbol", name)


def func_name(instruction: Instruction) -> str:
    """What the compiled kernel is called."""
    return f"{instruction.name.lower()}_peak"


def operands(instruction: Instruction, lanes: int) -> NDArray[Any]:
    """``x_and_y``: ones, whose sums stay finite for the steps of a call; for the multiply-add
    towards a fixed point, so that nothing becomes infinite or denormal."""
    if instruction.arithmetic == "float32":
        return np.repeat(np.array([[0.5], [1.0]], np.float32), lanes, 1)
    ones = {"bfloat16": 0x3F803F80, "int8": 0x01010101}[instruction.arithmetic]
    return np.full((2, lanes), ones, np.int32)


class Peak:
    """The kernels of one kind of arithmetic, compiled for this machine.

    Args:
        threads: how many compute.
        instruction: one that this machine has; by default the fused multiply-add.
    """

    def __init__(self, threads: int, instruction: Instruction = INSTRUCTIONS[0]) -> None:
        target = CpuTarget.native()
        name, lanes = func_name(instruction), instruction.width(target)
        func = peak_kernel(target, instruction, threads, _STEPS)
        self._call = generate(tvm.IRModule({name: func}), target)[name]
        self._arguments = (
            tvm.runtime.tensor(operands(instruction, lanes)),
            tvm.runtime.tensor(np.zeros((threads, lanes), instruction.dot.sum)),
        )
        self._operations = (
            2 * instruction.dot.pack * threads * _STEPS * chains(target, instruction) * lanes
        )
        self._engine = Engine(threads)
        self.rate(seconds=0.02)

    def rate(self, seconds: float = 0.3) -> float:
        """Operations a second (a multiplication and an addition count as two) over about this
        time."""
        calls, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            self._engine.run(lambda: self._call(*self._arguments))
            calls += 1
        return calls * self._operations / elapsed
