"""The C compiler that links ``model.so``: which one, with which options, and whether it makes
libraries for the target at all.

TVM takes ``CXX`` as the name of a program and refuses words behind it; here they are words, as in a
makefile: ``aarch64-linux-gnu-g++ -O2``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sam3_tvm.binary import Binary, read_binary
from sam3_tvm.errors import Sam3Error
from sam3_tvm.system import posix_shell

__all__ = ["LinkError", "Linker", "find_linker"]

# As TVM has it: variables first, then what is on the path.
_VARIABLES = ("CXX", "CC")
_PROGRAMS = ("g++", "gcc", "clang++", "clang", "c++", "cc")

# A library of one number, to see what a compiler makes.
_PROBE = "int sam3_tvm_probe = 1;\n"
_PROBE_SECONDS = 60

_LONGEST_REASON = 300


class LinkError(Sam3Error):
    """A C compiler that isn't there, or doesn't make libraries for the target."""


@dataclass(frozen=True)
class Linker:
    """A C or C++ compiler as it is called to link. Calling it links, which is what TVM's
    ``export_library`` takes as ``fcompile``.

    Attributes:
        words: the program and its options.
        target: what its libraries are for.
        origin: where the words are from: "--cxx", a variable of the environment, or "the path".
        libraries: files that are linked with, behind the objects.
    """

    words: tuple[str, ...]
    target: Binary
    origin: str
    libraries: tuple[str, ...] = ()

    def __call__(self, output: str, objects: Sequence[str], options: Sequence[str] = ()) -> None:
        """Link object files into a shared library.

        Raises:
            LinkError: the compiler can't be started, or fails; with what it said, in a line.
        """
        self._run(output, [*options, *objects, *self.libraries], None)

    def _run(self, output: str, rest: Sequence[str], seconds: float | None) -> None:
        command = [*self.words, "-shared"]
        if self.target.system != "Windows":
            command += ["-fPIC"]
        if self.target.system == "Darwin":
            # What the library lacks is in the process, which has loaded TVM's runtime.
            command += ["-undefined", "dynamic_lookup"]
        command += ["-o", output, *rest]
        try:
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
            )
        except OSError as error:
            raise LinkError(f"{self}: cannot be started ({error.strerror})") from error
        except subprocess.TimeoutExpired as error:
            raise LinkError(f"{self}: did not end within {seconds} s") from error
        if done.returncode != 0:
            said = " ".join(done.stdout.split())[:_LONGEST_REASON]
            raise LinkError(f"{self}: {said or f'ended with {done.returncode}'}")

    def check(self) -> None:
        """Link a library of one number, and see what it is for.

        Raises:
            LinkError: that fails, or it is for another processor or system.
        """
        with tempfile.TemporaryDirectory(prefix="sam3-tvm-") as folder:
            source, library = Path(folder) / "probe.c", Path(folder) / "probe.so"
            source.write_text(_PROBE, encoding="utf-8")
            self._run(str(library), [str(source)], _PROBE_SECONDS)
            try:
                made = read_binary(library)
            except OSError as error:
                raise LinkError(f"{self}: made no library") from error
        if made is None:
            raise LinkError(f"{self}: what it makes is no library that is known here")
        if made != self.target:
            theirs, ours = made.unlike(self.target)
            raise LinkError(f"{self}: makes libraries for {theirs}, not {ours}")

    def __str__(self) -> str:
        return f"{shlex.join(self.words)} ({self.origin})"


def find_linker(
    target: Binary | None = None,
    cxx: str | None = None,
    environment: Mapping[str, str] = os.environ,
    *,
    crossing: bool = False,
) -> Linker:
    """The compiler to link with, which was seen to make libraries for the target.

    Args:
        target: what they are to be for; by default this machine.
        cxx: the program and its options, as for a shell; nothing else is tried then. By default
            ``CXX``, ``CC``, and the usual names on the path: for another machine than this those of
            cross compilers.
        environment: where variables are looked up.
        crossing: whether variables may mean another machine than the target, and are passed over
            then. They always may where the target is another machine than this.

    Raises:
        LinkError: there is none, or it makes libraries for something else; says what to do.
    """
    here = Binary.here()
    target = target or here
    if cxx is not None:
        return _checked(_words(cxx, "--cxx"), target, "--cxx")
    failed = []
    for name in _VARIABLES:
        if not (text := environment.get(name, "")).strip():
            continue
        try:
            return _checked(_words(text, name), target, name)
        except LinkError as error:
            if target == here and not crossing:
                raise LinkError(f"{error}; correct {name}, or give --cxx") from error
            failed.append(f"{error}")
    native = [(program,) for program in _PROGRAMS]
    for program, *options in native if target == here else _cross_compilers(target):
        if found := shutil.which(program):
            try:
                return _checked((found, *options), target, "the path")
            except LinkError as error:
                failed.append(f"{error}")
    if target == here:
        reason = failed[0] if failed else "there is none on the path"
        raise LinkError(f"no C compiler to link with ({reason}): install gcc or clang, or give one")
    reason = f" ({failed[0]})" if failed else ""
    raise LinkError(
        f"no compiler here links for {target}{reason}: install one ({_advice(target)}), "
        'or name one, with its options: --cxx "PROGRAM OPTIONS"'
    )


def _words(text: str, origin: str) -> tuple[str, ...]:
    """A command line's words, of which the first is a program that is there."""
    try:
        words = shlex.split(text, posix=posix_shell())
        if not posix_shell():  # a backslash is a part of a path there, and quotes stay
            words = [word.strip('"') for word in words]
    except ValueError as error:
        raise LinkError(f"{origin} is no command line ({error}): {text!r}") from error
    if not words:
        raise LinkError(f"{origin} names no program")
    if shutil.which(words[0]) is None:
        # Of variables the caller says what to do.
        advice = "; give one that is installed" if origin == "--cxx" else ""
        raise LinkError(f"{origin} names {words[0]!r}, and there is no such program{advice}")
    return tuple(words)


def _checked(words: tuple[str, ...], target: Binary, origin: str) -> Linker:
    linker = Linker(words, target, origin)
    linker.check()
    return linker


def _cross_compilers(target: Binary) -> list[tuple[str, ...]]:
    """What compilers for a machine are usually called, with the options that they need."""
    if target.system == "Darwin":
        machine = "arm64" if target.machine == "aarch64" else target.machine
        # Without Apple's libraries: what code calls is in every process on macOS.
        options = (f"--target={machine}-apple-macosx11.0", "-fuse-ld=lld", "-nostdlib")
        return [(name, *options) for name in ("clang++", "clang")]
    if target.system == "Windows":
        return [(f"{target.machine}-w64-mingw32-{name}",) for name in ("g++", "gcc", "clang")]
    prefixes = [f"{target.machine}-linux-gnu", f"{target.machine}-unknown-linux-gnu"]
    return [(f"{prefix}-{name}",) for prefix in prefixes for name in ("g++", "gcc", "clang++")]


def _advice(target: Binary) -> str:
    if target.system == "Linux":
        return f"Debian: g++-{target.machine.replace('_', '-')}-linux-gnu"
    if target.system == "Windows":
        return "Debian: g++-mingw-w64-x86-64"
    return "Debian: clang and lld"
