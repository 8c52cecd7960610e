"""What this machine is, and which packages are here."""

from __future__ import annotations

import pytest

from sam3_tvm import machine

V2 = "SSE3 SSSE3 SSE41 SSE42 POPCNT"
V3 = f"{V2} AVX F16C FMA3 AVX2"


@pytest.mark.parametrize(
    ("arch", "features", "level"),
    [
        ("x86_64", V2, "x86-64-v2"),
        ("AMD64", V3, "x86-64-v3"),
        ("x86_64", f"{V3} AVX512F AVX512CD AVX512VL AVX512BW AVX512DQ", "x86-64-v4"),
        ("x86_64", f"{V3} AVX512F", "x86-64-v3"),
        ("x86_64", "SSE3 AVX AVX2 F16C FMA3", "below x86-64-v2, for which there is no target"),
        ("arm64", "NEON", "aarch64"),
        ("riscv64", "", "riscv64, for which there is no target"),
    ],
)
def test_the_cpu_level_is_the_highest_that_is_complete(arch, features, level):
    assert machine.cpu_level(arch, dict.fromkeys(features.split(), True)) == level


def test_the_cpu_level_is_the_compilers():
    target = pytest.importorskip("sam3_tvm.compiler.targets.cpu")
    assert machine.describe().level == target.CpuTarget.native().level


def test_packages_are_those_of_the_metadata():
    # What compiling pins is asked for twice: a range to run, and the one that compiles.
    assert next(p.extra for p in machine.packages() if p.name == "apache-tvm-ffi") == ""
    found = {p.name: p for p in machine.packages()}
    assert found["apache-tvm"].extra == "compile"
    assert "pytest" not in found
    assert found["numpy"].as_tested


@pytest.mark.parametrize(
    ("tested", "installed", "verdict"),
    [
        ("==2.13.0", "2.13.0+cpu", True),
        ("==0.27.0.post1", "0.27.0", False),
        (">=2.0,<3", "3.0.1", False),
        ("==1.0", None, False),
    ],
)
def test_a_version_is_as_tested_or_it_is_not(tested, installed, verdict):
    assert machine.Package("x", tested, installed, "").as_tested is verdict
