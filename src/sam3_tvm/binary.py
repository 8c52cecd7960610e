"""For which system and processor a file of native code is: what its header says.

A loader says less: glibc calls a library for another processor a file that isn't there.
"""

from __future__ import annotations

import os
import platform
import struct
from dataclasses import dataclass
from pathlib import Path

from sam3_tvm import system

__all__ = ["Binary", "machine_name", "read_binary"]

_MACHINES = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}
_WORDS = {"x86_64": "x86-64", "aarch64": "AArch64", "Darwin": "macOS"}

# Of ELF (e_machine), Mach-O (cputype) and PE (Machine), as far as a target or a common mistake
# needs them: <elf.h>, <mach/machine.h>, Microsoft's PE format.
_ELF = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv"}
_MACH_O = {0x01000007: "x86_64", 0x0100000C: "aarch64"}
_PE = {0x014C: "i386", 0x8664: "x86_64", 0xAA64: "aarch64"}

_HEADER = 4096


def machine_name(machine: str) -> str:
    """One spelling for a processor's architecture: "AMD64" is "x86_64", and "arm64" "aarch64"."""
    return _MACHINES.get(machine.lower(), machine.lower())


@dataclass(frozen=True)
class Binary:
    """What native code is for.

    Attributes:
        system: "Linux" (every system with ELF), "Darwin" or "Windows", as
            :func:`platform.system` says.
        machine: the architecture, as :func:`machine_name` spells it.
    """

    system: str
    machine: str

    @classmethod
    def here(cls) -> Binary:
        """What this process is."""
        return cls(system.name(), machine_name(platform.machine()))

    @classmethod
    def of_triple(cls, triple: str) -> Binary:
        """What code for LLVM's target triple is."""
        arch, _, rest = triple.lower().partition("-")
        systems = {"darwin": "Darwin", "apple": "Darwin", "windows": "Windows"}
        system = next((name for word, name in systems.items() if word in rest), "Linux")
        return cls(system, machine_name(arch))

    def unlike(self, other: Binary) -> tuple[str, str]:
        """Both in words, with no more than what tells them apart: "AArch64" and "x86-64"."""
        if self.system == other.system:
            return _word(self.machine), _word(other.machine)
        return f"{self}", f"{other}"

    def __str__(self) -> str:
        return f"{_word(self.system)} on {_word(self.machine)}"


def read_binary(path: str | os.PathLike[str]) -> Binary | None:
    """What a library or an object file is for; None for any other file, and for other machines.

    Raises:
        OSError: the file can't be read.
    """
    with Path(path).open("rb") as file:
        return parse_binary(file.read(_HEADER))


def parse_binary(head: bytes) -> Binary | None:
    """The same of a file's first bytes."""
    try:
        if head[:4] == b"\x7fELF":
            order = ">" if head[5] == 2 else "<"
            return _known("Linux", _ELF, struct.unpack_from(f"{order}H", head, 18)[0])
        if head[:4] == b"\xcf\xfa\xed\xfe":
            return _known("Darwin", _MACH_O, struct.unpack_from("<I", head, 4)[0])
        if head[:2] == b"MZ":
            start = struct.unpack_from("<I", head, 0x3C)[0]
            if head[start : start + 4] != b"PE\0\0":
                return None
            return _known("Windows", _PE, struct.unpack_from("<H", head, start + 4)[0])
        # An object file for Windows begins with its machine, and nothing marks it.
        return _known("Windows", _PE, struct.unpack_from("<H", head)[0])
    except (struct.error, IndexError):
        return None


def _known(system: str, machines: dict[int, str], number: int) -> Binary | None:
    return Binary(system, machines[number]) if number in machines else None


def _word(name: str) -> str:
    return _WORDS.get(name, name)
