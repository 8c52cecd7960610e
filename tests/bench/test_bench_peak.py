"""The kernel that measures the machine's peak."""

from __future__ import annotations

import numpy as np
import pytest
import tvm

from sam3_tvm.bench.peak import FmaPeak, chains, fma_kernel
from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.targets.cpu import CpuTarget


def build(target: CpuTarget, tasks: int, steps: int):
    func = fma_kernel(target, tasks, steps).with_attr("global_symbol", "fma_peak")
    return generate(tvm.IRModule({"fma_peak": func}), target)


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_every_chain_does_every_step(steps):
    target = CpuTarget.native()
    x, y = np.float32(0.5), np.float32(3.0)
    out = tvm.runtime.tensor(np.zeros((2, target.lanes), np.float32))
    both = np.repeat(np.array([[x], [y]], np.float32), target.lanes, 1)
    build(target, 2, steps)["fma_peak"](tvm.runtime.tensor(both), out)
    values = np.arange(chains(target), dtype=np.float32)
    for _ in range(steps):
        values = values * x + y
    np.testing.assert_allclose(out.numpy(), values.sum(), rtol=1e-6)


@pytest.mark.parametrize(
    ("level", "register", "instruction"),
    [("x86-64-v3", "ymm", "vfmadd"), ("x86-64-v4", "zmm", "vfmadd"), ("aarch64", "v", "fmla")],
)
def test_the_loop_is_multiply_adds_in_registers(level, register, instruction):
    target = CpuTarget.parse(level)
    lines = build(target, 1, 1000).mod.inspect_source("asm").splitlines()
    found = [line for line in lines if instruction in line and register in line]
    assert len(found) >= chains(target)
    # A chain that were spilled would be loaded for its multiply-add.
    assert not [line for line in found if "(%rsp)" in line or "[sp" in line]


def test_the_rate_is_that_of_a_processor():
    assert 1e8 < FmaPeak(threads=1).rate(seconds=0.02) < 1e12
