"""The machine's peak rate in each kind of arithmetic, measured.

A data sheet's peak is at a clock that a loaded machine, or a virtual one, doesn't hold; a share of
peak means something only beside the rate measured in the same minutes. A kernel here is nothing but
independent chains of one instruction, held in registers, on every thread at once: the fused
multiply-add of float32, and where the CPU has them the instructions that multiply pairs of bfloat16
or four bytes and add the products to a wider sum, in vectors and in tiles of a matrix unit. Chains
hide the latency: 4 to 6 cycles on at most two pipes ask for 8 to 12; 12 of the 16 registers, or 24
of 32, leave room for the operands. Of eight tiles four hold sums: an instruction takes 16 cycles,
and its sum is there after 52.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import tirx
from tvm.tirx.script.builder import ir as T

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
from sam3_tvm.compiler.kernels.product.dot import (
    FMA,
    TDPBF16PS,
    TDPBUSD,
    VDPBF16PS,
    VPDPBUSD,
    VPDPBUSD_256,
    Dot,
)
from sam3_tvm.compiler.kernels.product.matrix import Matrix
from sam3_tvm.compiler.targets.cpu import CpuTarget
from sam3_tvm.runtime.execution.engine import Engine

__all__ = ["INSTRUCTIONS", "Instruction", "Peak", "find_instructions", "held_to", "peak_kernel"]

_STEPS = 1 << 21  # some 10 to 20 ms a call (November 2026)
_MATRIX_STEPS = 1 << 18


@dataclass(frozen=True)
class Instruction:
    """What a chain is made of.

    Attributes:
        dot: the instruction as kernels take it, by its matrix unit where it has one; its features
            are what the CPU must have.
        lanes: words of an instruction's vectors; None for the target's.
        registers: that its encoding can name.
    """

    dot: Dot
    lanes: int | None = None
    registers: int = 32

    @property
    def name(self) -> str:
        """As assemblers spell it."""
        return self.dot.name if self.dot.matrix is None else self.dot.matrix.instruction

    @property
    def arithmetic(self) -> str:
        """The kind of arithmetic whose peak it has: dtype of what is multiplied."""
        return self.dot.b

    def width(self, target: CpuTarget) -> int:
        """Sums of an instruction, and words of each operand: a vector's, or a tile's."""
        side = 0 if self.dot.matrix is None else self.dot.matrix.side
        return side * side or self.lanes or target.lanes

    def operations(self, target: CpuTarget) -> int:
        """What one does: a multiplication and an addition count as two."""
        depth = 1 if self.dot.matrix is None else self.dot.matrix.side
        return 2 * self.dot.pack * depth * self.width(target)

    @property
    def steps(self) -> int:
        """Of each chain in a call."""
        return _STEPS if self.dot.matrix is None else _MATRIX_STEPS


def _multiply_add(sums: Expr, x: Expr, y: Expr) -> Expr:
    # sums + x * y would let LLVM take the product out of the loop, and leave additions.
    return sums * x + y


INSTRUCTIONS = (
    Instruction(replace(FMA, name="FMA", multiply_add=_multiply_add)),
    Instruction(TDPBF16PS),
    Instruction(VDPBF16PS, AVX512_BF16.lanes),
    Instruction(TDPBUSD),
    Instruction(VPDPBUSD, 16),
    Instruction(VPDPBUSD_256, 8, registers=16),
)
"""Of each kind of arithmetic the widest first."""


def find_instructions(target: CpuTarget) -> dict[str, list[Instruction]]:
    """By kind of arithmetic the instructions that a target has for it, the widest first; of two of
    one name, in longer and shorter vectors, the former."""
    found: dict[str, dict[str, Instruction]] = {}
    for one in INSTRUCTIONS:
        known = found.setdefault(one.arithmetic, {})
        if all(map(target.has, one.dot.features)):
            known.setdefault(one.name, one)
    return {kind: list(known.values()) for kind, known in found.items()}


def held_to(
    found: Mapping[str, Sequence[Instruction]], features: Collection[str]
) -> dict[str, Instruction]:
    """By kind of arithmetic the instruction whose peak code is held to that may use ``features``:
    the widest that it may use, or where there is none the widest that was found."""
    chosen = {}
    for kind, ones in found.items():
        usable = [one for one in ones if set(one.dot.features) <= set(features)]
        if ones:
            chosen[kind] = (usable or ones)[0]
    return chosen


def chains(target: CpuTarget, instruction: Instruction) -> int:
    """Independent accumulators of one thread."""
    if instruction.dot.matrix is not None:
        return _TILES
    return 24 if min(target.registers, instruction.registers) >= 32 else 12


def peak_kernel(target: CpuTarget, instruction: Instruction, tasks: int, steps: int) -> Any:
    """``out[t, lane] = sum over chains c of (a -> dot(a, x, y), steps times, from a = c)``.

    Args:
        target: its vectors and registers are used.
        instruction: makes a step.
        tasks: parallel tasks, one a thread.
        steps: instructions of each chain.

    Returns:
        A PrimFunc of ``x_and_y`` ``[2, lanes]`` words and ``out`` ``[tasks, lanes]`` sums; of a
        matrix unit, of two tiles and ``out`` ``[tasks, chains * 256]``, the chains themselves, from
        zero.
    """
    if instruction.dot.matrix is not None:
        return _matrix_kernel(instruction, instruction.dot.matrix, tasks, steps)
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


_TILES = 4


def _matrix_kernel(instruction: Instruction, matrix: Matrix, tasks: int, steps: int) -> Any:
    dot, name, words = instruction.dot, func_name(instruction), matrix.side**2
    chained = f"sam3_{matrix.instruction}_chains"
    with kernel(name, dot.features, dot.llvm + _chains_llvm(chained, matrix)) as made:
        x_and_y = tensor("x_and_y", (2, words), dot.word)
        out = tensor("out", (tasks, _TILES * words), dot.sum)
        with parallel(tasks) as task:
            starts = (x_and_y, (as_index(0),) * 2), (out, (task, as_index(0)))
            places = [tirx.address_of(buffer[at]) for buffer, at in starts]
            matrix.begin()
            T.evaluate(tirx.call_extern("void", chained, *places, tirx.const(steps, "int32")))
            matrix.end()
    return made.func.with_attr("global_symbol", name)


def _chains_llvm(name: str, matrix: Matrix) -> str:
    """The loop, in LLVM's language: sums in registers 0 to 3, what is multiplied in 4 and 5."""

    def of_tiles(call: str) -> str:
        return "\n".join(f"  call void @llvm.x86.{call.format(t=t)}" for t in range(_TILES))

    tile = 4 * matrix.side**2
    stored = "\n".join(
        f"  %p{t} = getelementptr i8, ptr %out, i64 {t * tile}\n"
        f"  call void @llvm.x86.tilestored64(i8 {t}, ptr %p{t}, i64 {4 * matrix.side})"
        for t in range(_TILES)
    )
    return f"""
define void @{name}(ptr %x, ptr %out, i32 %steps) alwaysinline {{
entry:
  %y = getelementptr i8, ptr %x, i64 {tile}
  call void @llvm.x86.tileloadd64(i8 4, ptr %x, i64 {4 * matrix.side})
  call void @llvm.x86.tileloadd64(i8 5, ptr %y, i64 {4 * matrix.side})
{of_tiles("tilezero(i8 {t})")}
  br label %loop
loop:
  %k = phi i32 [ 0, %entry ], [ %next, %body ]
  %more = icmp slt i32 %k, %steps
  br i1 %more, label %body, label %done
body:
{of_tiles(matrix.instruction + "(i8 {t}, i8 4, i8 5)")}
  %next = add i32 %k, 1
  br label %loop
done:
{stored}
  ret void
}}
"""


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
    """The kernel of an instruction, compiled for this machine.

    Args:
        threads: how many compute.
        instruction: one that this machine has; by default the fused multiply-add.
    """

    def __init__(self, threads: int, instruction: Instruction = INSTRUCTIONS[0]) -> None:
        target = CpuTarget.native()
        name, lanes = func_name(instruction), instruction.width(target)
        func = peak_kernel(target, instruction, threads, instruction.steps)
        self._call = generate(tvm.IRModule({name: func}), target)[name]
        count = chains(target, instruction)
        sums = lanes if instruction.dot.matrix is None else count * lanes
        self._arguments = (
            tvm.runtime.tensor(operands(instruction, lanes)),
            tvm.runtime.tensor(np.zeros((threads, sums), instruction.dot.sum)),
        )
        self._operations = instruction.operations(target) * threads * instruction.steps * count
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
