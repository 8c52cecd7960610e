"""The CPU compiled for: vector width, registers and caches, from which kernels take their tiles.

A target is a *level* (a set of instructions that every CPU of that level has) rather than
one CPU model, so that an artifact built here also runs on the neighbour's machine. Levels
are the micro-architecture levels of the x86-64 psABI, and baseline ARMv8-A.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tvm

# NumPy's own detection: the only one for every system that the base install has, and the one
# that the runtime checks an artifact's ``cpu_features`` with. Its stubs leave it out.
from numpy._core._multiarray_umath import __cpu_features__  # type: ignore[import-not-found]

from sam3_tvm.compiler.targets import tuning
from sam3_tvm.compiler.targets.tiles import Tiles
from sam3_tvm.errors import Sam3Error
from sam3_tvm.host import cpu_model

__all__ = ["CpuTarget", "TargetError"]

_KIB = 1024
_MIB = 1024 * _KIB


class TargetError(Sam3Error, ValueError):
    """A target that does not exist, or that this machine cannot be."""


@dataclass(frozen=True)
class CpuTarget:
    """One CPU level, described by what decides the shape of a kernel.

    Attributes:
        level: "x86-64-v2", "x86-64-v3", "x86-64-v4" or "aarch64".
        mcpu: LLVM's name of the CPU. Always set: without it LLVM emits SSE2.
        triple: LLVM's target triple.
        lanes: float32 values in one vector register.
        registers: vector registers that the instruction set names.
        l1_bytes: first-level data cache of a core.
        l2_bytes: second-level cache of a core.
        l3_bytes: last-level cache, all cores together.
        cores: threads that the kernels are cut for; any number runs.
        cpu_features: what the machine must have, in the names of numpy's
            ``__cpu_features__`` (names that every numpy 2 knows).
        tiles: the sizes that kernels are cut by.
        tiles_origin: where these are from, in words.
    """

    level: str
    mcpu: str
    triple: str
    lanes: int
    registers: int
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    cores: int
    cpu_features: tuple[str, ...]
    tiles: Tiles = field(default_factory=Tiles)
    tiles_origin: str = field(default="defaults", compare=False)

    @classmethod
    def parse(cls, text: str, tuned: Path | None = None) -> CpuTarget:
        """The target of a name: a level, or ``"native"`` for this machine.

        Caches, cores and tiles of a named level are typical ones, so that its code doesn't
        depend on where it was generated; those of ``"native"`` are this machine's.

        Args:
            text: the name.
            tuned: a database of tile sizes for ``"native"``; by default the user's and the
                package's, see :func:`sam3_tvm.compiler.targets.tuning.find`.

        Raises:
            TargetError: any other name, or ``tuned`` for a named level.
            TuningError: a database that can't be read or has nothing for this CPU.
        """
        if text == "native":
            native = cls.native()
            tiles, origin = tuning.find(cpu_model(), native.level, tuned)
            return replace(native, tiles=tiles, tiles_origin=origin)
        if tuned is not None:
            raise TargetError(f"tuned tiles are for the target native, not {text!r}")
        if text not in _LEVELS:
            accepted = ", ".join(["native", *_LEVELS])
            raise TargetError(f"unknown CPU target {text!r}; accepted are: {accepted}")
        return _LEVELS[text]

    @classmethod
    def native(cls) -> CpuTarget:
        """The highest level whose every feature this machine has, with its caches and cores.

        Tiles are the defaults; :meth:`parse` finds tuned ones.

        Raises:
            TargetError: a CPU below every level.
        """
        for target in reversed(_LEVELS.values()):
            if target.runs_here():
                caches = _host_caches()
                return replace(
                    target,
                    triple=_host_triple(target.level),
                    cores=_host_cores(),
                    l1_bytes=caches.get(1, target.l1_bytes),
                    l2_bytes=caches.get(2, target.l2_bytes),
                    l3_bytes=caches.get(3, target.l3_bytes),
                )
        raise TargetError(
            f"no level of {', '.join(_LEVELS)} runs on this machine ({platform.machine()}); "
            "name the level of the machine that will run the artifact instead of 'native'"
        )

    def runs_here(self) -> bool:
        """Whether this machine has every instruction that the target's code may use."""
        return not self.missing_features()

    def missing_features(self) -> list[str]:
        """The features that this machine lacks, in numpy's names."""
        return [f for f in self.cpu_features if not __cpu_features__.get(f, False)]

    @property
    def vector_bytes(self) -> int:
        """Bytes in one vector register."""
        return 4 * self.lanes

    def tvm_target(self) -> Any:
        """The same as a ``tvm.target.Target``."""
        return tvm.target.Target(
            {
                "kind": "llvm",
                "mtriple": self.triple,
                "mcpu": self.mcpu,
                "num-cores": self.cores,
            }
        )


def _level(
    level: str, *, lanes: int, registers: int, l1: int, l2: int, l3: int, features: str
) -> CpuTarget:
    arm = level == "aarch64"
    return CpuTarget(
        level=level,
        mcpu="generic" if arm else level,
        triple="aarch64-unknown-linux-gnu" if arm else "x86_64-unknown-linux-gnu",
        lanes=lanes,
        registers=registers,
        l1_bytes=l1,
        l2_bytes=l2,
        l3_bytes=l3,
        cores=8,
        cpu_features=tuple(features.split()),
    )


# From the lowest to the highest. Caches are those of common CPUs of the level: Nehalem;
# Haswell to Zen 3; Skylake-SP to Zen 5; Neoverse N1 and Apple's cores.
#
# 512-bit vectors are worth it on x86-64-v4 even where the CPU executes them in two halves
# (Zen 4): the peak is that of 256 bits, but an instruction does twice the work, so the front
# end and the load ports are half as busy, and the 32 registers hold twice the values, so a
# register tile reuses what it loads more often. On Intel's server cores and on Zen 5 the peak
# itself doubles. LLVM's "prefer-256-bit" tuning of x86-64-v4 stops its own vectorisers only:
# the kernels here spell their 16-lane vectors out and get zmm registers.
_LEVELS: dict[str, CpuTarget] = {
    t.level: t
    for t in (
        _level(
            "x86-64-v2",
            lanes=4,
            registers=16,
            l1=32 * _KIB,
            l2=256 * _KIB,
            l3=8 * _MIB,
            features="SSE3 SSSE3 SSE41 SSE42 POPCNT",
        ),
        _level(
            "x86-64-v3",
            lanes=8,
            registers=16,
            l1=32 * _KIB,
            l2=512 * _KIB,
            l3=16 * _MIB,
            features="SSE42 POPCNT AVX F16C FMA3 AVX2",
        ),
        _level(
            "x86-64-v4",
            lanes=16,
            registers=32,
            l1=32 * _KIB,
            l2=1 * _MIB,
            l3=32 * _MIB,
            features="SSE42 POPCNT AVX F16C FMA3 AVX2 AVX512F AVX512CD AVX512VL AVX512BW AVX512DQ",
        ),
        _level(
            "aarch64",
            lanes=4,
            registers=32,
            l1=64 * _KIB,
            l2=1 * _MIB,
            l3=16 * _MIB,
            features="NEON NEON_FP16 NEON_VFPV4 ASIMD",
        ),
    )
}


def _host_triple(level: str) -> str:
    arch = "aarch64" if level == "aarch64" else "x86_64"
    system = platform.system()
    if system == "Darwin":
        return f"{'arm64' if arch == 'aarch64' else arch}-apple-macosx"
    if system == "Windows":
        return f"{arch}-pc-windows-msvc"
    return f"{arch}-unknown-linux-gnu"


def _host_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _host_caches() -> dict[int, int]:
    """Data cache sizes in bytes by level, where the system tells them (Linux); else none."""
    found: dict[int, int] = {}
    units = {"K": _KIB, "M": _MIB}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            kind, level, size = (
                (index / name).read_text().strip() for name in ("type", "level", "size")
            )
        except OSError:
            continue
        # A virtual machine may report a size of nothing; then the level's own stands.
        if kind != "Instruction" and size[:-1].isdigit() and size[-1] in units and size[0] != "0":
            found[int(level)] = int(size[:-1]) * units[size[-1]]
    return found
