"""The locks of the package, and what becomes of them where a process forks.

A forked child has the memory of its parent but only the thread that forked. What another thread
held would stay locked for ever, and a thread that should do the work isn't there. So every lock
is made here, and no other module makes one (a test sees to it). What has threads of a library's
own says here what becomes of it in a child.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar
from weakref import WeakSet

__all__ = ["Lock", "Worker", "never_free", "renew_in_children"]

_T = TypeVar("_T")


class _Renewed(Protocol):
    def _renew(self) -> None: ...


class Lock:
    """A re-entrant lock, used by ``with``, that a forked child finds free.

    If the thread that forks holds it, that thread holds it in the child, too, and releases it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._owner: int | None = None
        self._depth = 0
        renew_in_children(self)

    def __enter__(self) -> None:
        self._lock.acquire()
        self._owner = threading.get_ident()
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None
        self._lock.release()

    def _renew(self) -> None:
        if self._owner != threading.get_ident():
            self._lock = threading.RLock()
            self._owner, self._depth = None, 0


class Worker:
    """One thread that makes calls, in order; a forked child starts one of its own.

    Args:
        name: of the thread.
        begin: what the thread does first, in every process.
    """

    def __init__(self, name: str, begin: Callable[[], object] | None = None) -> None:
        self._name = name
        self._begin = begin
        self._starting = Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._process = 0

    def run(self, call: Callable[[], _T]) -> _T:
        """The result of ``call``, made on the thread. Calls queue up."""
        with self._starting:
            if self._executor is None or self._process != os.getpid():
                executor = ThreadPoolExecutor(1, thread_name_prefix=self._name)
                if self._begin is not None:
                    executor.submit(self._begin).result()
                self._executor, self._process = executor, os.getpid()
            executor = self._executor
        return executor.submit(call).result()


def renew_in_children(held: _Renewed) -> None:
    """Let ``held._renew()`` be called first of all in every forked child; it is held weakly."""
    _renewed.add(held)


def never_free(value: object) -> None:
    """Keep what a child inherited, to its very end: freeing it would wait for threads that
    aren't there, at the interpreter's exit, too."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


_renewed: WeakSet[_Renewed] = WeakSet()


def _renew_all() -> None:
    for held in list(_renewed):
        held._renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
