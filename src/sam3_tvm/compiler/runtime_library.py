"""TVM's runtime library of the machine that an artifact is for, which goes into the artifact.

It is in the wheel of apache-tvm of that platform. This machine's own is in the installed package;
another's is given, found where it was kept the last time, or fetched by pip.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from sam3_tvm.binary import Binary, parse_binary
from sam3_tvm.errors import Sam3Error, UsageError
from sam3_tvm.files import write_whole

__all__ = [
    "RuntimeLibrary",
    "RuntimeLibraryError",
    "find_runtime",
    "import_libraries",
    "kept_runtimes",
]

PACKAGE = "apache-tvm"

NAMES = {
    "Linux": "libtvm_runtime.so",
    "Darwin": "libtvm_runtime.dylib",
    "Windows": "tvm_runtime.dll",
}
"""The library's name, by system."""

# The platforms that wheels of apache-tvm are tagged with, the newest first.
_PLATFORMS = {
    "Linux": ("manylinux_2_28_{0}", "manylinux_2_27_{0}", "manylinux_2_17_{0}"),
    "Darwin": ("macosx_11_0_{0}",),
    "Windows": ("win_{0}",),
}
_ARCHITECTURES = {
    ("Darwin", "aarch64"): "arm64",
    ("Windows", "x86_64"): "amd64",
    ("Windows", "aarch64"): "arm64",
}


# What to do where pip can't.
_ADVICE = {PACKAGE: ": give its wheel, or the library out of it, with --runtime"}


class RuntimeLibraryError(Sam3Error):
    """A runtime library that isn't to be had, or is for another machine or of another version."""


@dataclass(frozen=True)
class RuntimeLibrary:
    """TVM's runtime for a machine.

    Attributes:
        name: its file name.
        content: the file.
        origin: where it is from, in words.
    """

    name: str
    content: bytes
    origin: str


def kept_runtimes() -> Path:
    """Where libraries are kept that pip fetched: below the XDG cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sam3-tvm" / "runtime"


def find_runtime(target: Binary, given: str | os.PathLike[str] | None = None) -> RuntimeLibrary:
    """TVM's runtime library for a machine, of the version that is installed.

    Args:
        target: the machine.
        given: the library, or a wheel of apache-tvm that has it. By default the installed
            package's for this machine, and for another what was kept, or what pip downloads,
            which is kept then.

    Raises:
        RuntimeLibraryError: what is given can't be read, is for something else or a wheel of
            another version; or nothing is given and pip can't download it.
    """
    name, version = NAMES[target.system], metadata.version(PACKAGE)
    if given is not None:
        path = Path(given)
        if path.suffix == ".whl":
            content = _in_wheel(path, PACKAGE, version, f"tvm/lib/{name}")
        else:
            content = _read(path)
        return RuntimeLibrary(name, _checked(content, target, f"{path}"), f"{path}")
    if target == Binary.here():
        # Installed packages lie in folders: metadata finds files, and tvm needn't be imported.
        path = Path(str(metadata.distribution(PACKAGE).locate_file(f"tvm/lib/{name}")))
        return RuntimeLibrary(name, _read(path), f"{PACKAGE} {version}, installed")
    content, origin = _fetched(target, PACKAGE, f"tvm/lib/{name}")
    return RuntimeLibrary(name, content, origin)


def import_libraries(target: Binary) -> dict[str, bytes]:
    """The libraries by name that code can't be linked without: on Windows that of tvm_ffi, whose
    functions it calls. Other systems look for these when code is loaded.

    Raises:
        RuntimeLibraryError: pip can't download it.
    """
    if target.system != "Windows" or target == Binary.here():
        return {}
    content, _ = _fetched(target, "apache-tvm-ffi", "tvm_ffi/lib/tvm_ffi.dll")
    return {"tvm_ffi.dll": content}


def _fetched(target: Binary, package: str, member: str) -> tuple[bytes, str]:
    """A library of another machine's wheel, and where it is from: kept, or downloaded and kept."""
    version = metadata.version(package)
    kept = kept_runtimes() / f"{package}-{version}" / _architecture(target) / Path(member).name
    with contextlib.suppress(RuntimeLibraryError):
        return _checked(_read(kept), target, f"{kept}"), f"{kept}"
    with tempfile.TemporaryDirectory(prefix="sam3-tvm-") as folder:
        wheel = _download(target, package, version, Path(folder))
        content = _checked(_in_wheel(wheel, package, version, member), target, wheel.name)
    with contextlib.suppress(OSError, UsageError):  # keeping it saves time, and no more
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, lambda path: path.write_bytes(content))
    return content, wheel.name


def _architecture(target: Binary) -> str:
    """The end of a wheel's platform, and the name of the folder: "linux_aarch64"."""
    machine = _ARCHITECTURES.get((target.system, target.machine), target.machine)
    return f"{target.system.lower()}_{machine}"


def _download(target: Binary, package: str, version: str, folder: Path) -> Path:
    """The wheel of a platform, by pip, which may be told of mirrors and caches."""
    machine = _ARCHITECTURES.get((target.system, target.machine), target.machine)
    platforms = [name.format(machine) for name in _PLATFORMS[target.system]]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--dest", str(folder)]
    command += [f"--platform={platform}" for platform in platforms]
    done = subprocess.run(
        [*command, f"{package}=={version}"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
        reason = " ".join((errors or said or ["no wheel came"])[-1].split())[:200]
        raise RuntimeLibraryError(
            f"TVM's runtime for {target} isn't here, and pip can't download {package} {version} "
            f"for {platforms[0]} ({reason}){_ADVICE.get(package, '')}"
        )
    return wheels[0]


def _in_wheel(path: Path, package: str, version: str, member: str) -> bytes:
    """The library in a wheel of the package and version."""
    try:
        distribution, found, _, _ = parse_wheel_filename(path.name)
    except InvalidWheelFilename as error:
        raise RuntimeLibraryError(f"{path}: no wheel's name ({error})") from error
    if distribution != package or f"{found}" != version:
        raise RuntimeLibraryError(
            f"{path}: is of {distribution} {found}; the code is {package} {version}'s, and so is "
            "its runtime: give the wheel of that version"
        )
    try:
        with zipfile.ZipFile(path) as wheel:
            return wheel.read(member)
    except KeyError as error:
        raise RuntimeLibraryError(f"{path}: has no {member}: is it for another system?") from error
    except (OSError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise RuntimeLibraryError(f"{path}: cannot be read ({reason})") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RuntimeLibraryError(f"{path}: cannot be read ({error.strerror})") from error


def _checked(content: bytes, target: Binary, what: str) -> bytes:
    """The same, if it is a library for the target."""
    found = parse_binary(content[:4096])
    if found is None:
        raise RuntimeLibraryError(f"{what}: is no library of native code")
    if found != target:
        theirs, ours = found.unlike(target)
        raise RuntimeLibraryError(f"{what}: is for {theirs}, and the target is {ours}")
    return content
