"""What this machine and this installation are: for ``doctor``, without torch or TVM."""

from __future__ import annotations

import platform
from collections.abc import Container
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement

from sam3_tvm import host
from sam3_tvm.linking import LinkError, find_linker

__all__ = ["Machine", "Package", "cpu_level", "describe", "linker", "packages"]


@dataclass(frozen=True)
class Machine:
    """The machine that this process runs on.

    Attributes:
        system: operating system and its version.
        python: version of the interpreter.
        cpu: the processor's name, as far as the system tells it.
        level: the highest level of CPU targets whose instructions it has.
        bfloat16: whether it multiplies bfloat16, faster than float32.
        int8: whether it multiplies int8, faster than either.
        tiles: whether it multiplies bfloat16 in tiles (AMX), faster than in vectors.
        refused: features that the CPU has and the system doesn't grant, in alphabetical order.
        cores: CPUs that this process may use.
        memory_bytes: physical memory, None where the system does not tell.
    """

    system: str
    python: str
    cpu: str
    level: str
    bfloat16: bool
    int8: bool
    tiles: bool
    refused: tuple[str, ...]
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
        cpu=host.cpu_name(),
        level=cpu_level(platform.machine(), host.features()),
        bfloat16=host.multiplies_bfloat16(),
        int8=host.multiplies_int8(),
        tiles=host.multiplies_in_tiles(),
        refused=tuple(sorted(host.refused_features())),
        cores=host.cores(),
        memory_bytes=host.memory_bytes(),
    )


def cpu_level(machine: str, features: Container[str]) -> str:
    """The highest target level that a machine has every instruction of, in words.

    Args:
        machine: the architecture, as :func:`platform.machine` spells it.
        features: as :func:`sam3_tvm.host.features` names them.
    """
    if (level := host.level_of(machine, features)) is not None:
        return level
    if machine.lower() in ("x86_64", "amd64"):
        return "below x86-64-v2, for which there is no target"
    return f"{machine}, for which there is no target"


def linker() -> tuple[str | None, str]:
    """The compiler that links ``model.so`` here, with its options, and that it works; or None, and
    why there is none."""
    try:
        return f"{find_linker()}", "makes libraries for this machine"
    except LinkError as error:
        return None, f"{error}"


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
