"""The description of the CPU: names, features, and that LLVM believes it."""

from __future__ import annotations

import tarfile
from dataclasses import replace

import numpy as np
import pytest
import tvm
from tvm.script import tirx as T

from sam3_tvm import host
from sam3_tvm.binary import Binary, parse_binary
from sam3_tvm.compiler.targets.cpu import CpuTarget, TargetError
from sam3_tvm.errors import Sam3Error

LEVELS = ["x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64"]


@pytest.mark.parametrize("level", LEVELS)
def test_named_level_does_not_depend_on_this_machine(level):
    target = CpuTarget.parse(level)
    assert target == CpuTarget.parse(level)
    assert target.level == level
    assert target.registers in (16, 32)
    assert target.l1_bytes < target.l2_bytes < target.l3_bytes


def test_native_runs_here_and_is_one_of_the_levels():
    native = CpuTarget.native()
    assert native == replace(CpuTarget.parse("native"), tiles=native.tiles)
    assert native.level in LEVELS
    assert native.runs_here()
    assert native.missing_features() == []
    assert native.cores >= 1


def test_native_is_the_highest_level_that_runs():
    native = CpuTarget.native()
    higher = LEVELS[LEVELS.index(native.level) + 1 :]
    assert not any(CpuTarget.parse(level).runs_here() for level in higher)


def test_a_level_of_another_architecture_says_what_is_missing():
    native = CpuTarget.native()
    other = "x86-64-v2" if native.level == "aarch64" else "aarch64"
    assert not CpuTarget.parse(other).runs_here()
    assert CpuTarget.parse(other).missing_features()


@pytest.mark.parametrize("name", ["", "avx2", "x86-64-v5", "cuda", "Native"])
def test_unknown_name_lists_what_is_accepted(name):
    with pytest.raises(TargetError, match="accepted are: native, x86-64-v2") as caught:
        CpuTarget.parse(name)
    assert isinstance(caught.value, Sam3Error)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name", "attributes"),
    [
        ("x86-64-v3", "x86-64-v3", []),
        ("x86-64-v3+avxvnni", "x86-64-v3+avxvnni", ["+avxvnni"]),
        (
            "x86-64-v4+avx512vnni+avx512bf16+avx512vnni",
            "x86-64-v4+avx512bf16+avx512vnni",
            ["+avx512bf16", "+avx512vnni"],
        ),
        ("aarch64+i8mm+bf16", "aarch64+bf16+i8mm", ["+bf16", "+i8mm"]),
        ("aarch64-macos+dotprod", "aarch64-macos+dotprod", ["+dotprod"]),
    ],
)
def test_features_are_named_in_one_order_and_llvm_gets_them(text, name, attributes):
    target = CpuTarget.parse(text)
    assert target.name == name
    assert CpuTarget.parse(target.name) == target
    assert [str(a) for a in target.tvm_target().attrs.get("mattr", [])] == attributes
    assert all(target.has(a[1:].upper()) for a in attributes)
    level = replace(CpuTarget.parse(target.level), triple=target.triple)
    assert target.needs() == (*level.needs(), *(a[1:].upper() for a in attributes))
    assert target.with_features(()) == level


@pytest.mark.parametrize(
    ("text", "system", "machine"),
    [
        ("x86-64-v3", "Linux", "x86_64"),
        ("aarch64", "Linux", "aarch64"),
        ("aarch64-macos", "Darwin", "aarch64"),
        ("x86-64-v2-macos", "Darwin", "x86_64"),
        ("x86-64-v3-windows", "Windows", "x86_64"),
    ],
)
def test_a_level_is_for_linux_unless_it_says_otherwise(text, system, machine, tmp_path):
    target = CpuTarget.parse(text)
    assert target.name == text
    assert Binary.of_triple(target.triple) == Binary(system, machine)
    # LLVM writes code for it.
    code = tvm.compile(tvm.IRModule({"main": double}), target.tvm_target())
    code.export_library(str(tmp_path / "code.tar"))
    with tarfile.open(tmp_path / "code.tar") as members:
        objects = [members.extractfile(m) for m in members if m.name.endswith(".o")]
        assert objects
        assert all(parse_binary(f.read(4096)) == Binary(system, machine) for f in objects)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("aarch64-apple-macos", "aarch64-macos"),
        ("arm64-apple-darwin+dotprod", "aarch64-macos+dotprod"),
        ("arm64", "aarch64"),
        ("aarch64-unknown-linux-gnu", "aarch64"),
        ("x86_64-windows", "x86-64-v3-windows"),
        ("x86_64-pc-windows-msvc", "x86-64-v3-windows"),
        ("amd64", "x86-64-v3"),
        ("x86-64-v4-linux+avx512bf16", "x86-64-v4+avx512bf16"),
    ],
)
def test_what_other_tools_call_a_machine_is_understood(text, name):
    assert CpuTarget.parse(text) == CpuTarget.parse(name)
    assert CpuTarget.parse(text).name == name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("aarch64-solaris", "levels may be followed by -macos or -windows"),
        ("-macos", "unknown CPU target"),
        ("riscv64-linux-gnu", "unknown CPU target 'riscv64-linux-gnu'"),
        ("native-macos", "unknown CPU target"),
        ("x86-64-v3+avx512bf16", "unknown feature 'avx512bf16' .* of: avxvnni"),
        (
            "x86-64-v4+AVX512BF16",
            "unknown feature 'AVX512BF16' .* of: amxbf16, amxint8, avx512bf16, avx512vnni",
        ),
        ("x86-64-v4-windows+amxbf16", "asks Linux alone .* leave it out for windows"),
        ("x86-64-v4+", "unknown feature ''"),
        ("x86-64-v2+avxvnni", "of: none"),
        ("native+avxvnni", "unknown CPU target"),
    ],
)
def test_a_feature_that_the_level_cannot_have_is_refused(text, says):
    with pytest.raises(TargetError, match=says) as caught:
        CpuTarget.parse(text)
    assert "\n" not in str(caught.value)


def test_native_has_the_features_of_this_machine(monkeypatch):
    v4 = {f for level in LEVELS[:3] for f in host.LEVELS[level].split()}
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(host, "features", lambda: frozenset(v4 | {"AVX512VNNI", "AVX", "OTHER"}))
    assert CpuTarget.native().name == "x86-64-v4+avx512vnni"
    assert CpuTarget.parse("x86-64-v4+avx512bf16").missing_features() == ["AVX512BF16"]
    monkeypatch.setattr(host, "features", lambda: frozenset(v4 - {"AVX512DQ"} | {"AVX512VNNI"}))
    assert CpuTarget.native().name == "x86-64-v3"


def test_code_has_no_features_that_its_target_lacks():
    with pytest.raises(TargetError, match="code for x86-64-v4 uses AVX512BF16, which it lacks"):
        CpuTarget.parse("x86-64-v4").with_features(["AVX512BF16"])


@T.prim_func(s_tir=True)
def double(a: T.Buffer((64,), "float32"), b: T.Buffer((64,), "float32")):
    for i in T.vectorized(64):
        b[i] = a[i] * T.float32(2)


@pytest.mark.parametrize(
    ("level", "register"),
    [("x86-64-v2", "xmm"), ("x86-64-v3", "ymm"), ("x86-64-v4", "zmm"), ("aarch64", "v0.4s")],
)
def test_llvm_uses_the_vectors_that_the_level_promises(level, register):
    # Compiles for CPUs other than this one; only the code is looked at.
    module = tvm.compile(tvm.IRModule({"main": double}), CpuTarget.parse(level).tvm_target())
    assert register in module.mod.inspect_source("asm")


def test_code_for_this_machine_runs():
    module = tvm.compile(tvm.IRModule({"main": double}), CpuTarget.native().tvm_target())
    a = tvm.runtime.tensor(np.arange(64, dtype="float32"))
    b = tvm.runtime.tensor(np.zeros(64, dtype="float32"))
    module["main"](a, b)
    np.testing.assert_array_equal(b.numpy(), 2 * a.numpy())
