"""The kernels that measure the machine's peaks."""

from __future__ import annotations

import numpy as np
import pytest
import tvm

from sam3_tvm.bench.peak import (
    INSTRUCTIONS,
    Instruction,
    Peak,
    chains,
    find_instructions,
    func_name,
    held_to,
    operands,
    peak_kernel,
)
from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.targets.cpu import CpuTarget

FMA = INSTRUCTIONS[0]


def chosen(target: CpuTarget, arithmetic: str) -> Instruction:
    return find_instructions(target)[arithmetic][0]


def build(target: CpuTarget, instruction: Instruction, tasks: int, steps: int):
    func = peak_kernel(target, instruction, tasks, steps)
    return generate(tvm.IRModule({func_name(instruction): func}), target)


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_every_chain_does_every_step(steps):
    target = CpuTarget.native()
    x, y = np.float32(0.5), np.float32(3.0)
    out = tvm.runtime.tensor(np.zeros((2, target.lanes), np.float32))
    both = np.repeat(np.array([[x], [y]], np.float32), target.lanes, 1)
    build(target, FMA, 2, steps)["fma_peak"](tvm.runtime.tensor(both), out)
    values = np.arange(chains(target, FMA), dtype=np.float32)
    for _ in range(steps):
        values = values * x + y
    np.testing.assert_allclose(out.numpy(), values.sum(), rtol=1e-6)


def added_by_ones(level: str, arithmetic: str, steps: int) -> None:
    """Products of ones: each step adds as many as a word has values."""
    target = CpuTarget.parse(level)
    one = chosen(target, arithmetic)
    lanes = one.width(target)
    out = tvm.runtime.tensor(np.zeros((1, lanes), one.dot.sum))
    run = build(target, one, 1, steps)[func_name(one)]
    run(tvm.runtime.tensor(operands(one, lanes)), out)
    count = chains(target, one)
    total = count * (count - 1) // 2 + count * steps * one.dot.pack
    np.testing.assert_array_equal(out.numpy(), np.full((1, lanes), total))


@pytest.mark.cpu("AVX512F", "AVX512BF16")
def test_every_chain_adds_pairs_where_the_cpu_has_them():
    added_by_ones("x86-64-v4+avx512bf16", "bfloat16", 5)


@pytest.mark.cpu("AVX512F", "AVX512VNNI")
def test_every_chain_adds_bytes_where_the_cpu_has_them():
    added_by_ones("x86-64-v4+avx512vnni", "int8", 5)


@pytest.mark.cpu("AVXVNNI")
def test_every_chain_adds_bytes_where_the_cpu_has_them_in_short_vectors():
    added_by_ones("x86-64-v3+avxvnni", "int8", 5)


@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize(
    ("level", "arithmetic"),
    [
        pytest.param("avx512bf16+amxbf16", "bfloat16", marks=pytest.mark.cpu("AMXBF16")),
        pytest.param("avx512vnni+amxint8", "int8", marks=pytest.mark.cpu("AMXINT8")),
    ],
)
def test_every_chain_adds_tiles_where_the_cpu_has_them(level, arithmetic, steps):
    target = CpuTarget.parse(f"x86-64-v4+{level}")
    one = chosen(target, arithmetic)
    assert (one.dot.matrix is not None, one.width(target), chains(target, one)) == (True, 256, 4)
    out = tvm.runtime.tensor(np.full((2, 1024), 7, one.dot.sum))
    run = build(target, one, 2, steps)[func_name(one)]
    run(tvm.runtime.tensor(operands(one, 256)), out)
    np.testing.assert_array_equal(out.numpy(), np.full((2, 1024), steps * 16 * one.dot.pack))
    # As many as the rate counts: a multiplication and an addition for each.
    assert one.operations(target) == 2 * 256 * 16 * one.dot.pack


@pytest.mark.parametrize(
    ("level", "arithmetic", "register", "instruction"),
    [
        ("x86-64-v3", "float32", "ymm", "vfmadd"),
        ("x86-64-v4", "float32", "zmm", "vfmadd"),
        ("aarch64", "float32", "v", "fmla"),
        ("x86-64-v4+avx512bf16", "bfloat16", "zmm", "vdpbf16ps"),
        ("x86-64-v4+avx512vnni", "int8", "zmm", "vpdpbusd"),
        ("x86-64-v3+avxvnni", "int8", "ymm", "vpdpbusd"),
        ("x86-64-v4+avxvnni", "int8", "ymm", "vpdpbusd"),
        ("x86-64-v4+avx512bf16+amxbf16", "bfloat16", "tmm", "tdpbf16ps"),
        ("x86-64-v4+avx512vnni+amxint8", "int8", "tmm", "tdpbusd"),
    ],
)
def test_the_loop_is_one_instruction_in_registers(level, arithmetic, register, instruction):
    target = CpuTarget.parse(level)
    one = chosen(target, arithmetic)
    assembly = build(target, one, 1, 1000).mod.inspect_source("asm")
    lines = [line.strip().replace("{vex}", "").strip() for line in assembly.splitlines()]
    found = [line for line in lines if line.startswith(instruction) and register in line]
    assert len(found) >= chains(target, one)
    # A chain that were spilled would be loaded for its instruction.
    assert not [line for line in found if "(%rsp)" in line or "[sp" in line]
    # What is given as LLVM's text is inlined.
    assert "sam3_" not in assembly


NAMES = {
    "x86-64-v3": {"float32": ["FMA"], "bfloat16": [], "int8": []},
    "x86-64-v4+avx512bf16+avx512vnni": {
        "float32": ["FMA"],
        "bfloat16": ["vdpbf16ps"],
        "int8": ["vpdpbusd"],
    },
    "x86-64-v4+amxbf16+amxint8+avx512bf16+avx512vnni+avxvnni": {
        "float32": ["FMA"],
        "bfloat16": ["tdpbf16ps", "vdpbf16ps"],
        "int8": ["tdpbusd", "vpdpbusd"],
    },
}


@pytest.mark.parametrize("level", NAMES)
def test_what_a_cpu_has_instructions_for_is_known_and_the_widest_comes_first(level):
    found = find_instructions(CpuTarget.parse(level))
    assert {kind: [one.name for one in ones] for kind, ones in found.items()} == NAMES[level]


@pytest.mark.parametrize(
    ("artifact", "held"),
    [
        ("x86-64-v4+amxbf16+avx512bf16", ("tdpbf16ps", "tdpbusd")),
        ("x86-64-v4+avx512bf16+avx512vnni", ("vdpbf16ps", "vpdpbusd")),
        # What multiplies bytes by other means, to what this CPU could.
        ("x86-64-v3", ("tdpbf16ps", "tdpbusd")),
    ],
)
def test_code_is_held_to_the_widest_instruction_that_it_may_use(artifact, held):
    found = find_instructions(CpuTarget.parse("x86-64-v4+amxbf16+amxint8+avx512bf16+avx512vnni"))
    chosen = held_to(found, CpuTarget.parse(artifact).features)
    assert tuple(chosen[kind].name for kind in ("bfloat16", "int8")) == held
    assert chosen["float32"] is FMA


def test_code_is_held_to_no_peak_that_the_cpu_lacks():
    found = find_instructions(CpuTarget.parse("x86-64-v3"))
    assert list(held_to(found, {"AVX512BF16"})) == ["float32"]


def test_the_widest_instruction_is_taken():
    target = CpuTarget.parse("x86-64-v4+avx512vnni+avxvnni")
    assert chosen(target, "int8").width(target) == 16


def test_the_rate_is_that_of_a_processor():
    assert 1e8 < Peak(threads=1).rate(seconds=0.02) < 1e12
