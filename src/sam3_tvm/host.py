"""Which machine this is: its processor, what that can do, its cores, caches and memory.

The only reader of such facts, for the compiler, for the check of artifacts, for ``doctor`` and for
reports. Systems tell different parts of it; what one doesn't tell is left out, never guessed.
"""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from collections.abc import Container
from functools import cache
from pathlib import Path

# NumPy's own detection of instruction sets, which works on every system that the base install
# runs on. Its stubs leave it out.
from numpy._core._multiarray_umath import __cpu_features__  # type: ignore[import-not-found]

from sam3_tvm import system

__all__ = [
    "LEVELS",
    "available_bytes",
    "caches",
    "cores",
    "cpu_model",
    "cpu_name",
    "features",
    "level_of",
    "memory_bytes",
    "multiplies_bfloat16",
    "multiplies_in_tiles",
    "multiplies_int8",
    "peak_bytes",
    "physical_cores",
    "refused_features",
    "resident_bytes",
]

LEVELS = {
    "x86-64-v2": "SSE3 SSSE3 SSE41 SSE42 POPCNT",
    "x86-64-v3": "SSE42 POPCNT AVX F16C FMA3 AVX2",
    "x86-64-v4": "SSE42 POPCNT AVX F16C FMA3 AVX2 AVX512F AVX512CD AVX512VL AVX512BW AVX512DQ",
    "aarch64": "NEON NEON_FP16 NEON_VFPV4 ASIMD",
}
"""The features of every CPU of a level, from the lowest: the micro-architecture levels of the
x86-64 psABI and baseline ARMv8-A, as far as NumPy detects their instructions."""

# What tells models of one name apart, on x86 and on Arm: a virtual machine's processor is often
# called no more than "AMD EPYC".
_MODEL = ("cpu family", "model", "CPU implementer", "CPU part")

# What some CPUs of a level have beyond it, as Linux and macOS call it. NumPy knows a part. Of x86
# each goes with what NumPy must have found as well: an emulator may show its host's /proc/cpuinfo.
_FLAGS = {
    "avx512_bf16": ("AVX512BF16", "AVX512F"),
    "avx512_vnni": ("AVX512VNNI", "AVX512F"),
    "avx_vnni": ("AVXVNNI", "AVX2"),
    "amx_bf16": ("AMXBF16", "AVX512F"),
    "amx_int8": ("AMXINT8", "AVX512F"),
}
# Linux hands the registers of these out to processes that ask (arch_prctl, <asm/prctl.h>): without
# that the first instruction kills them.
_ON_REQUEST = {"AMXBF16", "AMXINT8"}
_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XTILEDATA = 158, 0x1023, 18
# Of Arm, bits of two entries of the auxiliary vector (Linux, <asm/hwcap.h>), which an emulator has
# to make anew for each process.
_HWCAP, _HWCAP2 = 16, 26
_CAPABILITIES = {
    "DOTPROD": (_HWCAP, 1 << 20),
    "I8MM": (_HWCAP2, 1 << 13),
    "BF16": (_HWCAP2, 1 << 14),
}
_SYSCTL = {
    "hw.optional.arm.FEAT_DotProd": "DOTPROD",
    "hw.optional.arm.FEAT_I8MM": "I8MM",
    "hw.optional.arm.FEAT_BF16": "BF16",
}

_UNITS = {"K": 1 << 10, "M": 1 << 20}
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def cpu_name() -> str:
    """The processor's name, as far as the system tells it."""
    return _cpuinfo(_read("/proc/cpuinfo")).get("model name") or (
        platform.processor() or platform.machine()
    )


def cpu_model() -> str:
    """The processor's name with the numbers of its model, the same on all of its kind."""
    info = _cpuinfo(_read("/proc/cpuinfo"))
    numbers = [f"{key} {info[key]}" for key in _MODEL if key in info]
    return ", ".join([cpu_name(), *numbers])


def features() -> frozenset[str]:
    """The instruction sets that this process may use: those of NumPy's ``__cpu_features__`` under
    its names, and those beyond a level that a CPU target may name."""
    found = {name for name, there in __cpu_features__.items() if there}
    if platform.machine() == "aarch64":
        return frozenset(found | _of_capabilities())
    more = _of_cpuinfo(_read("/proc/cpuinfo"), found)
    if more & _ON_REQUEST and not _has_tiles():
        more -= _ON_REQUEST
    return frozenset(found | more | _of_sysctl(_sysctl()))


def refused_features() -> frozenset[str]:
    """What the CPU has and the system doesn't grant this process: AMX's, whose registers Linux may
    refuse, or an older one doesn't know. Not among :func:`features`."""
    if platform.machine() == "aarch64":
        return frozenset()
    basis = {name for name, there in __cpu_features__.items() if there}
    tiled = _of_cpuinfo(_read("/proc/cpuinfo"), basis) & _ON_REQUEST
    return frozenset(tiled if tiled and not _has_tiles() else ())


def level_of(machine: str, present: Container[str]) -> str | None:
    """The highest level that a machine has every instruction of; None if it has none's.

    Args:
        machine: the architecture, as :func:`platform.machine` spells it.
        present: its features, named as by :func:`features`.
    """
    if machine.lower() in ("aarch64", "arm64"):
        return "aarch64"
    if machine.lower() not in ("x86_64", "amd64"):
        return None
    found, needed = None, set[str]()
    for level, names in LEVELS.items():
        needed |= set(names.split())
        if level == "aarch64" or not all(name in present for name in needed):
            break
        found = level
    return found


def multiplies_bfloat16() -> bool:
    """Whether the CPU has instructions that multiply bfloat16 and add in float32."""
    return not features().isdisjoint({"AVX512BF16", "BF16"})


def multiplies_in_tiles() -> bool:
    """Whether it has instructions that multiply tiles of bfloat16, several times as many at once,
    and the system lets this process use them."""
    return {"AMXBF16", "AVX512BF16"} <= features()


def multiplies_int8() -> bool:
    """Whether the CPU has instructions that multiply int8 and add in int32."""
    return not features().isdisjoint({"AVX512VNNI", "AVXVNNI", "DOTPROD"})


def cores() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def physical_cores() -> int:
    """Cores that this process may use: where the system tells (Linux) as many as there are apart
    from second threads on the same one, and as its control group grants whole ones (version 2)."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    found = {_read(topology.format(cpu)) or f"{cpu}" for cpu in os.sched_getaffinity(0)}
    return min(len(found), _cpu_quota())


def _cpu_quota() -> int:
    """Whole CPUs that the control group grants: no limit where it has none."""
    try:
        quota, period = _read("/sys/fs/cgroup/cpu.max").split()
        return max(1, int(quota) // int(period))
    except ValueError:
        return 1 << 16


def caches() -> dict[int, int]:
    """Data cache sizes in bytes by level, where the system tells them (Linux); else none."""
    found: dict[int, int] = {}
    for index in sorted(_CACHES.glob("index*")):
        kind, level, size = (_read(index / name).strip() for name in ("type", "level", "size"))
        # A virtual machine may report a size of nothing; then the target's own stands.
        if kind in ("Data", "Unified") and size[:-1].isdigit() and size[-1] in _UNITS:
            found[int(level)] = int(size[:-1]) * _UNITS[size[-1]]
    return {level: size for level, size in found.items() if size}


def memory_bytes() -> int | None:
    """Physical memory, or what the control group grants if that is less (Linux, version 2); None
    where the system doesn't tell."""
    if sys.platform == "win32":
        return None
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None
    granted = _read("/sys/fs/cgroup/memory.max").strip()
    return min(physical, int(granted)) if granted.isdigit() else physical


def available_bytes() -> int | None:
    """Memory that can be had without swapping (Linux), else None."""
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def resident_bytes() -> int | None:
    """The memory that this process has at hand now, mapped files included (Linux), else None."""
    pages = _read("/proc/self/statm").split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if pages else None


def peak_bytes() -> int | None:
    """The most memory that this process held at once, mapped files included, where the system
    tells (not on Windows), else None.

    Linux hands ``ru_maxrss`` of a parent on to the child it starts, so a small process of a
    large parent would look large; its own mark is in ``/proc``.
    """
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return system.most_resident_bytes()


def _read(path: str | Path) -> str:
    """A file of the system; nothing where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def _cpuinfo(text: str) -> dict[str, str]:
    """What Linux says of the first processor."""
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _of_cpuinfo(text: str, found: Container[str]) -> set[str]:
    """Features that Linux lists as ``flags`` on x86, of those that the found ones bear out."""
    listed = _cpuinfo(text).get("flags", "").split()
    known = [_FLAGS[flag] for flag in listed if flag in _FLAGS]
    return {name for name, basis in known if basis in found}


@cache
def _has_tiles() -> bool:
    """Asks for tile registers, for all threads of this process; says whether it has them."""
    if sys.maxsize < 1 << 32:
        return False  # the call has another number there
    try:
        call = ctypes.CDLL(None).syscall
    except (AttributeError, OSError, TypeError):  # no such function, or no such system
        return False
    arguments = (_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XTILEDATA)
    call.argtypes, call.restype = [ctypes.c_long] * 3, ctypes.c_long
    return bool(call(*arguments) == 0)


def _of_capabilities() -> set[str]:
    """Features that Linux tells a process on Arm of."""
    try:
        value = ctypes.CDLL(None).getauxval
    except (AttributeError, OSError, TypeError):  # no such function, or no such system
        return set()
    value.argtypes, value.restype = [ctypes.c_ulong], ctypes.c_ulong
    return {name for name, (entry, bit) in _CAPABILITIES.items() if value(entry) & bit}


def _of_sysctl(text: str) -> set[str]:
    """Features that macOS lists, a line ``name: 1`` each."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {_SYSCTL[key] for key, _, value in pairs if key in _SYSCTL and value.strip() == "1"}


def _sysctl() -> str:
    if sys.platform != "darwin":
        return ""
    command = ["sysctl", *_SYSCTL]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""
