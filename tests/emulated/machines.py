"""Emulated machines: a processor of QEMU's, and the Python that runs on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.emulated.system import SOURCES, SetupError

__all__ = ["Machine", "Run", "aarch64", "here", "x86_64"]


# None is what import takes for missing.
_RUN = """
import runpy, sys
sys.modules.update(dict.fromkeys({hidden!r}))
sys.argv[0] = "sam3-tvm"
runpy.run_module("sam3_tvm", run_name="__main__")
"""


@dataclass(frozen=True)
class Run:
    """What a command line did: its exit code, what it printed, and how long it took, seconds."""

    code: int
    printed: str
    seconds: float


@dataclass(frozen=True)
class Machine:
    """A machine that runs this package.

    Attributes:
        name: for tables: "cortex-a72".
        python: the command that starts Python there.
        path: where Python finds this package's requirements, beside its own.
        hidden: packages that are there, and not in an installation of the runtime: whoever looks
            for one doesn't find it.
    """

    name: str
    python: tuple[str, ...]
    path: tuple[str, ...] = field(default=())
    hidden: tuple[str, ...] = field(default=())

    def run(self, *words: str | Path, limit: float = 3600) -> Run:
        """``sam3-tvm WORDS...`` there.

        Raises:
            subprocess.TimeoutExpired: it doesn't end within ``limit`` seconds.
        """
        started = time.monotonic()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCES), *self.path])}
        done = subprocess.run(
            [*self.python, "-c", _RUN.format(hidden=self.hidden), *map(str, words)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=limit,
            check=False,
        )
        return Run(done.returncode, done.stdout, time.monotonic() - started)


def here() -> Machine:
    """This machine, not emulated."""
    return Machine("this machine", (sys.executable,))


def aarch64(cpu: str, root: Path, python: Path, packages: Path) -> Machine:
    """An Arm processor by QEMU's name for it, with a root file system and packages."""
    words = (_emulator("aarch64"), "-cpu", cpu, "-L", f"{root}", f"{python}")
    return Machine(cpu, words, (f"{packages}",))


def x86_64(cpu: str) -> Machine:
    """An x86-64 processor by QEMU's name for it, with this machine's own Python and packages, but
    for torch, which tvm_ffi would import: minutes on an emulator."""
    return Machine(cpu, (_emulator("x86_64"), "-cpu", cpu, sys.executable), hidden=("torch",))


def _emulator(machine: str) -> str:
    names: Sequence[str] = (f"qemu-{machine}-static", f"qemu-{machine}")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise SetupError(f"no {names[0]}: install qemu-user-static (Debian) or qemu-user")
    return found
