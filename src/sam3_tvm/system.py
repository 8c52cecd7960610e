"""What operating systems do differently, in one place: locks, signals, process groups, memory.

Nothing else names what only some of them have (tests/test_system.py sees to it); what the machine
*is* stands in :mod:`sam3_tvm.host`. Where a system lacks something, the function says so by its
result and callers do without: no caller asks which system it is.
"""

from __future__ import annotations

import mmap
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = [
    "after_fork_in_child",
    "asks_for_an_end",
    "descriptor_of_folder",
    "end_group",
    "finding_libraries",
    "huge_pages",
    "lock",
    "most_resident_bytes",
    "name",
    "own_group",
    "posix_shell",
    "signals_wake_pipes",
    "was_killed",
    "what_ended",
]


def name() -> str:
    """The system in the words of :func:`platform.system`: ``Linux``, ``Darwin``, ``Windows``."""
    return platform.system()


def posix_shell() -> bool:
    """Whether command lines are written as for a POSIX shell (elsewhere than on Windows)."""
    return os.name != "nt"


def lock(descriptor: int) -> bool | None:
    """Lock an open file or folder until it is closed, if nobody else has; whether it is locked now.

    None where there are no locks: some network file systems, Windows.
    """
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, AttributeError, OSError):
        return None
    return True


def descriptor_of_folder(path: Path) -> int | None:
    """A folder as a descriptor, to be locked; None on systems that open files alone (Windows).

    Raises:
        OSError: it isn't there, or may not be read.
    """
    try:
        return os.open(path, os.O_RDONLY)
    except PermissionError:
        if hasattr(os, "O_DIRECTORY"):
            raise
        return None


def asks_for_an_end() -> list[int]:
    """The signals by which a person or a system asks a program to end: Ctrl-C, SIGTERM, and SIGHUP
    where there is one."""
    every = (getattr(signal, known, None) for known in ("SIGINT", "SIGTERM", "SIGHUP"))
    return [number for number in every if number is not None]


def signals_wake_pipes() -> bool:
    """Whether :func:`signal.set_wakeup_fd` takes a pipe (Windows: sockets alone)."""
    return sys.platform != "win32"


def after_fork_in_child(call: Callable[[], object]) -> None:
    """Have ``call`` made first of all in every forked child, on systems that fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)


def own_group() -> dict[str, Any]:
    """What :class:`subprocess.Popen` is given for a process that begins a group of its own."""
    if sys.platform == "win32":
        return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    return {"start_new_session": True}


def end_group(process: subprocess.Popen[Any], patience: float) -> int:
    """Wait for a process of :func:`own_group`, end what is left of its group, and return its code.

    Args:
        process: one whose code hasn't been asked for yet.
        patience: seconds that it has to end by itself.
    """
    if not hasattr(os, "killpg"):  # no groups: the process alone
        try:
            return process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
    if hasattr(os, "waitid"):
        # Until it is waited for, no other process gets its number.
        until, ended = time.monotonic() + patience, os.WEXITED | os.WNOWAIT | os.WNOHANG
        while os.waitid(os.P_PID, process.pid, ended) is None and time.monotonic() < until:
            time.sleep(0.005)
        # macOS refuses to signal a group of which nothing but what has ended is left.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait()
    # macOS before Python 3.13: the group goes after the process was waited for. Its number stays
    # taken as long as it has members, and without any there is nothing to end.
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def was_killed(code: int) -> bool:
    """Whether an exit code of :mod:`subprocess` is of a process that was killed outright, as the
    system does it for want of memory. Windows doesn't tell."""
    return hasattr(signal, "SIGKILL") and code == -signal.SIGKILL


def what_ended(code: int) -> str | None:
    """The name of the signal that ended a process with this exit code, or None."""
    try:
        return signal.Signals(-code).name if code < 0 else None
    except ValueError:
        return None


def most_resident_bytes() -> int | None:
    """The most memory that this process held at once by the system's count, or None (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def huge_pages(length: int) -> mmap.mmap | None:
    """Memory of no file that the system may give in huge pages, or None where programs can't ask
    for them (elsewhere than on Linux). It is cleared."""
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if advice is None:
        return None
    block = mmap.mmap(-1, length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block.madvise(advice)
    return block


@contextmanager
def finding_libraries(*folders: Path) -> Iterator[None]:
    """Let libraries that are loaded within find those that they need in these folders.

    On Windows, which looks for them in no folder of Python's packages; elsewhere libraries name
    the place, or what is in the process serves.
    """
    add = getattr(os, "add_dll_directory", None)
    with ExitStack() as until_loaded:
        for folder in folders:
            if add is not None and folder.is_dir():
                until_loaded.callback(add(f"{folder.resolve()}").close)
        yield
