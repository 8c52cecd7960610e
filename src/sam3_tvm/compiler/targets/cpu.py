"""The CPU compiled for: vector width, registers, features and caches, from which kernels take their
tiles and their instructions.

A target is a *level* (a set of instructions that every CPU of that level has) rather than
one CPU model, so that an artifact built here also runs on the neighbour's machine. Levels
are the micro-architecture levels of the x86-64 psABI, and baseline ARMv8-A. To a level features may
be added that some of its CPUs have: ``x86-64-v4+avx512bf16``. Kernels may use these, and LLVM uses
them where a kernel does; all other code is that of the level. It is for Linux, unless a system is
named: ``aarch64-macos+dotprod``.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tvm

from sam3_tvm import host
from sam3_tvm.binary import Binary
from sam3_tvm.compiler.targets import tuning
from sam3_tvm.compiler.targets.tiles import Tiles
from sam3_tvm.errors import Sam3Error

__all__ = ["EXTENSIONS", "CpuTarget", "TargetError"]

_KIB = 1024
_MIB = 1024 * _KIB

EXTENSIONS = {
    "AMXBF16": ("x86-64-v4",),
    "AMXINT8": ("x86-64-v4",),
    "AVX512BF16": ("x86-64-v4",),
    "AVX512VNNI": ("x86-64-v4",),
    "AVXVNNI": ("x86-64-v3", "x86-64-v4"),
    "DOTPROD": ("aarch64",),
    "I8MM": ("aarch64",),
    "BF16": ("aarch64",),
}
"""Features that may be added to a level, and the levels that they can be added to. Targets name
them in small letters, and so does LLVM but for :data:`_LLVM`."""

_LLVM = {"AMXBF16": "amx-bf16", "AMXINT8": "amx-int8"}


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
        features: what kernels may use and the machine must have then, named as by
            :func:`sam3_tvm.host.features`: those of the level, and :data:`EXTENSIONS`.
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
    features: frozenset[str]
    tiles: Tiles = field(default_factory=Tiles)
    tiles_origin: str = field(default="defaults", compare=False)

    @classmethod
    def parse(cls, text: str, tuned: Path | None = None) -> CpuTarget:
        """The target of a name: a level, with a system and features or without, or ``"native"`` for
        this machine. What other tools call a processor and a system does, too:
        ``"arm64-apple-darwin"``, ``"x86_64-pc-windows-msvc"``; x86-64 without a level is v3.

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
            tiles, origin = tuning.find(host.cpu_model(), native.level, tuned)
            return replace(native, tiles=tiles, tiles_origin=origin)
        if tuned is not None:
            raise TargetError(f"tuned tiles are for the target native, not {text!r}")
        name, *added = text.split("+")
        level, ending = _split(name)
        if level not in _LEVELS:
            accepted = ", ".join(["native", *_LEVELS])
            systems = " or ".join(_ENDINGS)
            raise TargetError(
                f"unknown CPU target {text!r}; accepted are: {accepted}; levels may be followed by "
                f"{systems}, for another system than Linux"
            )
        known = {name.lower(): name for name in _extensions(level)}
        if unknown := [name for name in added if name not in known]:
            accepted = ", ".join(known) or "none"
            raise TargetError(
                f"unknown feature {unknown[0]!r} of CPU target {text!r}; "
                f"{level} may be followed by +FEATURE, of: {accepted}"
            )
        if ending and (ungranted := [name for name in added if known[name] in _LLVM]):
            raise TargetError(
                f"feature {ungranted[0]!r} of CPU target {text!r}: the runtime asks Linux alone "
                f"for the registers that it needs; leave it out for {ending[1:]}"
            )
        target = replace(_LEVELS[level], triple=_triple(level, _ENDINGS.get(ending, "Linux")))
        return target.extended(known[name] for name in added)

    @classmethod
    def native(cls) -> CpuTarget:
        """The highest level whose every feature this machine has, with its caches and cores, and
        with all of :data:`EXTENSIONS` that it has.

        Tiles are the defaults; :meth:`parse` finds tuned ones.

        Raises:
            TargetError: a CPU below every level.
        """
        present, caches = host.features(), host.caches()
        level = host.level_of(platform.machine(), present)
        if level is None or not _LEVELS[level].features <= present:
            raise TargetError(
                f"no level of {', '.join(_LEVELS)} runs on this machine ({platform.machine()}); "
                "name the level of the machine that will run the artifact instead of 'native'"
            )
        target = _LEVELS[level]
        return replace(
            target.extended(present.intersection(_extensions(level))),
            triple=_triple(level, platform.system()),
            cores=host.cores(),
            l1_bytes=caches.get(1, target.l1_bytes),
            l2_bytes=caches.get(2, target.l2_bytes),
            l3_bytes=caches.get(3, target.l3_bytes),
        )

    @property
    def extensions(self) -> tuple[str, ...]:
        """The features that the level doesn't have, in alphabetical order."""
        return tuple(sorted(self.features - _LEVELS[self.level].features))

    @property
    def name(self) -> str:
        """What :meth:`parse` takes: the level, its system if it isn't Linux, and the features
        beyond it, in order."""
        system = Binary.of_triple(self.triple).system
        ending = next((word for word, name in _ENDINGS.items() if name == system), "")
        return "+".join([self.level + ending, *(name.lower() for name in self.extensions)])

    def has(self, feature: str) -> bool:
        """Whether kernels may use a feature."""
        return feature in self.features

    def extended(self, features: Iterable[str]) -> CpuTarget:
        """The same with further features."""
        return replace(self, features=self.features.union(features))

    def with_features(self, used: Collection[str]) -> CpuTarget:
        """The level with those of the target's features alone that code uses.

        Raises:
            TargetError: a feature that the target hasn't.
        """
        if lacking := sorted(set(used) - self.features):
            raise TargetError(f"code for {self.name} uses {', '.join(lacking)}, which it lacks")
        return replace(self, features=_LEVELS[self.level].features.union(used))

    def needs(self) -> tuple[str, ...]:
        """All features, in the order in which the levels name them."""
        return (*host.LEVELS[self.level].split(), *self.extensions)

    def runs_here(self) -> bool:
        """Whether this machine has every instruction that the target's code may use."""
        return not self.missing_features()

    def missing_features(self) -> list[str]:
        """The features that this machine lacks."""
        present = host.features()
        return [name for name in self.needs() if name not in present]

    def tvm_target(self) -> Any:
        """The same as a ``tvm.target.Target``."""
        options = {
            "kind": "llvm",
            "mtriple": self.triple,
            "mcpu": self.mcpu,
            "num-cores": self.cores,
        }
        if self.extensions:
            options["mattr"] = [f"+{_LLVM.get(name, name.lower())}" for name in self.extensions]
        return tvm.target.Target(options)


# What follows a level in a name, and the system that it means.
_ENDINGS = {"-macos": "Darwin", "-windows": "Windows"}

# What other tools call these: parts of LLVM's and Rust's triples, uname's and wheels' names of
# processors. Of x86-64 without a level, what any desktop of the last ten years has.
_PROCESSORS = {"arm64": "aarch64", "amd64": "x86-64-v3", "x86_64": "x86-64-v3"}
_SYSTEMS = {
    r"-(apple-)?(macosx?|darwin)$": "-macos",
    r"-((pc|w64|unknown)-)?windows(-msvc|-gnu)?$": "-windows",
    r"-((pc|unknown)-)?linux(-gnu)?$": "",
}


def _split(name: str) -> tuple[str, str]:
    """The level of a name without features, and its ending; the name itself if it has neither."""
    for pattern, ending in _SYSTEMS.items():
        if found := re.search(pattern, name):
            processor = name[: found.start()]
            return _PROCESSORS.get(processor, processor), ending
    return _PROCESSORS.get(name, name), ""


def _triple(level: str, system: str) -> str:
    """LLVM's triple of a level on a system."""
    arch = "aarch64" if level == "aarch64" else "x86_64"
    if system == "Darwin":
        return f"{'arm64' if arch == 'aarch64' else arch}-apple-macosx11.0"
    if system == "Windows":
        # Of two conventions that Python's extension modules can be of: elsewhere MinGW links.
        return f"{arch}-pc-windows-msvc" if sys.platform == "win32" else f"{arch}-w64-windows-gnu"
    return f"{arch}-unknown-linux-gnu"


def _extensions(level: str) -> list[str]:
    return [name for name, levels in EXTENSIONS.items() if level in levels]


def _level(level: str, *, lanes: int, registers: int, l1: int, l2: int, l3: int) -> CpuTarget:
    arm = level == "aarch64"
    return CpuTarget(
        level=level,
        mcpu="generic" if arm else level,
        triple=_triple(level, "Linux"),
        lanes=lanes,
        registers=registers,
        l1_bytes=l1,
        l2_bytes=l2,
        l3_bytes=l3,
        cores=8,
        features=frozenset(host.LEVELS[level].split()),
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
        ),
        _level(
            "x86-64-v3",
            lanes=8,
            registers=16,
            l1=32 * _KIB,
            l2=512 * _KIB,
            l3=16 * _MIB,
        ),
        _level(
            "x86-64-v4",
            lanes=16,
            registers=32,
            l1=32 * _KIB,
            l2=1 * _MIB,
            l3=32 * _MIB,
        ),
        _level(
            "aarch64",
            lanes=4,
            registers=32,
            l1=64 * _KIB,
            l2=1 * _MIB,
            l3=16 * _MIB,
        ),
    )
}
