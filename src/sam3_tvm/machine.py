"""What this machine and this installation are: for ``doctor``, without torch or TVM."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

# NumPy's own CPU detection, with which an artifact's needs are checked; its stubs leave it out.
from numpy._core._multiarray_umath import __cpu_features__  # type: ignore[import-not-found]
from packaging.requirements import Requirement

from sam3_tvm.host import cpu_name

__all__ = ["Machine", "Package", "cpu_level", "describe", "linker", "packages"]

# What each micro-architecture level of the x86-64 psABI adds, as far as NumPy detects it.
_X86_LEVELS = {
    "x86-64-v2": "SSE3 SSSE3 SSE41 SSE42 POPCNT",
    "x86-64-v3": "AVX F16C FMA3 AVX2",
    "x86-64-v4": "AVX512F AVX512CD AVX512VL AVX512BW AVX512DQ",
}


@dataclass(frozen=True)
class Machine:
    """The machine that this process runs on.

    Attributes:
        system: operating system and its version.
        python: version of the interpreter.
        cpu: the processor's name, as far as the system tells it.
        level: the highest level of CPU targets whose instructions it has.
        cores: CPUs that this process may use.
        memory_bytes: physical memory, None where the system does not tell.
    """

    system: str
    python: str
    cpu: str
    level: str
    cores: int
    memory_bytes: int | None


@dataclass(frozen=True)
class Package:
    """A distribution that this project depends on.

    Attributes:
        name: its name.
        tested: the versions that were tested, as a specifier.
        installed: the version that is here, or None.
        extra: the extra that brings it; empty for the base installation.
    """

    name: str
    tested: str
    installed: str | None
    extra: str

    @property
    def as_tested(self) -> bool:
        """Whether the installed version is among the tested ones."""
        if self.installed is None:
            return False
        return Requirement(f"{self.name}{self.tested}").specifier.contains(
            self.installed, prereleases=True
        )


def describe() -> Machine:
    """This machine."""
    return Machine(
        system=platform.platform(terse=True),
        python=platform.python_version(),
        cpu=cpu_name(),
        level=cpu_level(platform.machine(), __cpu_features__),
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        memory_bytes=_memory_bytes(),
    )


def cpu_level(machine: str, features: Mapping[str, bool]) -> str:
    """The highest target level that a machine has every instruction of.

    Args:
        machine: the architecture, as :func:`platform.machine` spells it.
        features: NumPy's CPU detection.
    """
    if machine.lower() in ("aarch64", "arm64"):
        return "aarch64"
    if machine.lower() not in ("x86_64", "amd64"):
        return f"{machine}, for which there is no target"
    found = "below x86-64-v2, for which there is no target"
    for level, added in _X86_LEVELS.items():
        if not all(features.get(feature, False) for feature in added.split()):
            break
        found = level
    return found


def linker() -> str | None:
    """The compiler that TVM links ``model.so`` with, or None; it looks in this order."""
    names = (os.environ.get("CXX"), "g++", "gcc", "clang++", "clang", "c++", "cc")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def packages(extras: tuple[str, ...] = ("", "video", "compile")) -> list[Package]:
    """What the package's metadata asks for, the base installation first, and what is installed."""
    found = []
    for line in metadata.requires("sam3-tvm") or ():
        requirement = Requirement(line)
        for extra in extras:
            marker = requirement.marker
            wanted = marker is None if extra == "" else "extra" in f"{marker}"
            if wanted and (marker is None or marker.evaluate({"extra": extra})):
                found.append(
                    Package(
                        requirement.name,
                        f"{requirement.specifier}",
                        _installed(requirement.name),
                        extra,
                    )
                )
    return sorted(found, key=lambda p: extras.index(p.extra))


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _memory_bytes() -> int | None:
    """Physical memory, or what the control group grants if that is less (Linux, version 2)."""
    if sys.platform == "win32":
        return None
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None
    try:
        granted = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return physical
    return min(physical, int(granted)) if granted.isdigit() else physical
