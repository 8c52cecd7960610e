"""A root file system and packages of AArch64, for an emulator of user programs: no part of them is
run while they are set up, so it takes no rights and no emulation of a whole machine."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from sam3_tvm.errors import Sam3Error

__all__ = ["SOURCES", "SetupError", "packages", "python_of", "requirements", "root"]

SOURCES = Path(__file__).parents[2] / "src"

# What Python and wheels need; mmdebstrap adds what these depend on.
_DEBIAN = "python3,libstdc++6,libgcc-s1,zlib1g"
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
_STAMP = ".requirements"


class SetupError(Sam3Error):
    """A tool that isn't there, or failed; the message says what to install."""


def root(folder: Path) -> Path:
    """A Debian for arm64 with Python, unpacked into a folder; the one that is there, if one is.

    Raises:
        SetupError: mmdebstrap isn't there, or fails.
    """
    if folder.is_dir() and _pythons(folder):
        return folder
    if shutil.which("mmdebstrap") is None:
        raise SetupError(
            "no root file system for AArch64: install mmdebstrap (Debian, Ubuntu), or unpack one "
            "with Python and name it by --root (docs/cross-compiling.md)"
        )
    if folder.exists():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run(
        "mmdebstrap", "--variant=extract", "--arch=arm64", f"--include={_DEBIAN}", _suite(), folder
    )
    return folder


def python_of(root: Path) -> tuple[Path, str]:
    """The newest Python in a root file system, and its version: "3.11".

    Raises:
        SetupError: there is none, or none that is new enough.
    """
    found = [(version, path) for version, path in _pythons(root) if version >= (3, 10)]
    if not found:
        raise SetupError(f"{root}: has no Python of 3.10 or newer in usr/bin or usr/local/bin")
    (major, minor), path = max(found)
    return path, f"{major}.{minor}"


def _pythons(root: Path) -> list[tuple[tuple[int, int], Path]]:
    found = []
    for path in [*root.glob("usr/bin/python3.*"), *root.glob("usr/local/bin/python3.*")]:
        if match := re.fullmatch(r"python3\.(\d+)", path.name):
            found.append(((3, int(match[1])), path))
    return found


def _suite() -> str:
    """This system's release if it is Debian, else one that is known to do."""
    try:
        about = platform.freedesktop_os_release()
    except OSError:
        about = {}
    return about.get("VERSION_CODENAME", "bookworm") if about.get("ID") == "debian" else "bookworm"


def requirements() -> list[str]:
    """What running artifacts needs, films included, as this package's metadata has it."""
    lines = map(Requirement, metadata.requires("sam3-tvm") or ())
    return sorted(
        f"{one.name}{one.specifier}"
        for one in lines
        if one.marker is None or one.marker.evaluate({"extra": "video"})
    )


def packages(folder: Path, version: str) -> Path:
    """The same packages for AArch64 and a version of Python, as wheels in a folder.

    Raises:
        SetupError: pip fails.
    """
    wanted = requirements()
    stamp = folder / _STAMP
    text = "\n".join([version, *wanted])
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == text:
        return folder
    if folder.exists():
        shutil.rmtree(folder)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--target", f"{folder}"]
    there = ["--only-binary=:all:", "--implementation", "cp", "--python-version", version]
    for abi in (f"cp{version.replace('.', '')}", "abi3", "none"):
        there += ["--abi", abi]
    for name in _PLATFORMS:
        there += ["--platform", f"{name}_aarch64"]
    _run(*pip, *there, *wanted)
    _run(*pip, "--no-deps", SOURCES.parent)  # what it says of itself; its code is read from there
    stamp.write_text(text, encoding="utf-8")
    return folder


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        [*map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        sys.stderr.write(done.stdout)
        raise SetupError(f"{Path(command[0]).name} failed with {done.returncode}: see above")
