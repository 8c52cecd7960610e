"""What the machine is, from what systems say of it."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest

from sam3_tvm import host

X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC
flags\t\t: fpu sse avx2 avx_vnni avx512_bf16 avx512f avx512_vnni
bugs\t\t: none

processor\t: 1
flags\t\t: fpu
"""
MAC = "hw.optional.arm.FEAT_DotProd: 1\nhw.optional.arm.FEAT_I8MM: 0\nhw.optional.other: 1\n"


def test_features_beyond_levels_come_from_the_system():
    assert host._of_cpuinfo(X86, {"AVX2", "AVX512F"}) == {"AVXVNNI", "AVX512BF16", "AVX512VNNI"}
    assert host._of_sysctl(MAC) == {"DOTPROD"}
    assert host._of_cpuinfo("", {"AVX2"}) == host._of_sysctl("") == set()


TILES = X86.replace("avx_vnni", "amx_tile amx_bf16 amx_int8")
WITH_AVX512 = {"AVX2": True, "AVX512F": True}


class Kernel:
    """Linux, which grants tile registers or doesn't, and counts who asks."""

    def __init__(self, monkeypatch, cpuinfo, answer):
        self.asked = []
        monkeypatch.setattr(host.platform, "machine", lambda: "x86_64")
        monkeypatch.setattr(host, "_read", {"/proc/cpuinfo": cpuinfo}.__getitem__)
        monkeypatch.setattr(host, "__cpu_features__", WITH_AVX512)
        monkeypatch.setattr(host, "_sysctl", lambda: "")
        host._has_tiles.cache_clear()

        def syscall(*arguments):
            self.asked.append(arguments)
            return answer

        monkeypatch.setattr(host.ctypes, "CDLL", lambda name: SimpleNamespace(syscall=syscall))


@pytest.fixture
def kernel(monkeypatch):
    with monkeypatch.context() as patch:
        yield lambda *arguments: Kernel(patch, *arguments)
    host._has_tiles.cache_clear()


AMX = {"AMXBF16", "AMXINT8"}


def test_tiles_are_a_feature_where_the_system_grants_their_registers(kernel):
    linux = kernel(TILES, 0)
    assert host.features() == {*WITH_AVX512, "AVX512BF16", "AVX512VNNI"} | AMX
    assert host.multiplies_in_tiles()
    assert not host.refused_features()
    # arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), once for all threads.
    assert linux.asked == [(158, 0x1023, 18)]


def test_tiles_that_the_system_refuses_are_no_feature(kernel):
    linux = kernel(TILES, -1)
    assert host.features() == {*WITH_AVX512, "AVX512BF16", "AVX512VNNI"}
    assert not host.multiplies_in_tiles()
    assert host.multiplies_bfloat16()
    assert host.refused_features() == AMX
    assert len(linux.asked) == 1


@pytest.mark.parametrize("cpuinfo", [X86, ""])
def test_nobody_asks_for_tiles_that_the_cpu_lacks(kernel, cpuinfo):
    linux = kernel(cpuinfo, 0)
    assert not host.features() & AMX
    assert not host.refused_features()
    assert not linux.asked


def test_a_system_that_knows_no_such_call_grants_no_tiles(kernel, monkeypatch):
    kernel(TILES, 0)
    monkeypatch.setattr(host.ctypes, "CDLL", lambda name: SimpleNamespace())
    assert not host.features() & AMX
    assert host.refused_features() == AMX


def test_flags_of_another_cpu_are_not_believed():
    # Emulators of user programs show the machine that they run on.
    assert host._of_cpuinfo(X86, {"AVX2"}) == {"AVXVNNI"}
    assert host._of_cpuinfo(X86, set()) == set()


@pytest.mark.parametrize(
    ("vector", "found"),
    [
        ({16: 1 << 20, 26: 0}, {"DOTPROD"}),
        ({16: 0, 26: 3 << 13}, {"I8MM", "BF16"}),
        ({16: 0xFFFFF, 26: 0x1FFF}, set()),
    ],
)
def test_features_of_arm_are_bits_of_the_auxiliary_vector(monkeypatch, vector, found):
    def getauxval(entry):
        return vector[entry]

    monkeypatch.setattr(host.ctypes, "CDLL", lambda name: SimpleNamespace(getauxval=getauxval))
    assert host._of_capabilities() == found
    monkeypatch.setattr(host.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(host, "_read", {"/proc/cpuinfo": X86}.__getitem__)
    assert found <= host.features()
    assert not host.features() & {"AVXVNNI"} - {
        n for n, there in host.__cpu_features__.items() if there
    }


def test_a_system_without_the_auxiliary_vector_tells_nothing(monkeypatch):
    monkeypatch.setattr(host.ctypes, "CDLL", lambda name: SimpleNamespace())
    assert host._of_capabilities() == set()


def test_names_of_a_processor_are_those_of_its_first_entry(monkeypatch):
    monkeypatch.setattr(host, "_read", {"/proc/cpuinfo": X86}.__getitem__)
    assert host.cpu_name() == "AMD EPYC"
    assert host.cpu_model() == "AMD EPYC, cpu family 26, model 2"


def test_this_machine_has_the_features_of_its_level():
    found, level = host.features(), host.level_of(os.uname().machine, host.features())
    assert level is not None
    assert set(host.LEVELS[level].split()) <= found


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("48K", "Data", {1: 48 << 10}),
        ("2M", "Unified", {1: 2 << 20}),
        ("0K", "Data", {}),
        ("48K", "Instruction", {}),
        ("", "Data", {}),
    ],
)
def test_caches_are_what_the_system_tells(monkeypatch, tmp_path, name, content, found):
    index = tmp_path / "index0"
    index.mkdir()
    for file, text in (("type", content), ("level", "1"), ("size", name)):
        (index / file).write_text(f"{text}\n")
    monkeypatch.setattr(host, "_CACHES", tmp_path)
    assert host.caches() == found


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_memory_is_what_the_control_group_grants(monkeypatch):
    monkeypatch.setattr(host, "_read", lambda path: "max\n")
    physical = host.memory_bytes()
    monkeypatch.setattr(host, "_read", lambda path: "4096\n")
    assert host.memory_bytes() == 4096 < physical


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc on this system")
def test_memory_at_hand_is_no_more_than_the_most_there_was():
    assert 2**20 < (host.resident_bytes() or 0) <= host.peak_bytes()
