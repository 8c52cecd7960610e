"""The locks of the package, and what becomes of them where a process forks.

A forked child has the memory of its parent but only the thread that forked. What another thread
held would stay locked for ever, and a thread that should do the work isn't there. So every lock
is made here, and no other module makes one (a test sees to it). What has threads of a library's
own says here what becomes of it in a child.
"""

from __future__ import annotations

import ctypes
import heapq
import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

from sam3_tvm import system

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


@dataclass(order=True)
class _Call:
    rank: int
    number: int
    make: Callable[[], Any] = field(compare=False)
    result: Future[Any] = field(compare=False, default_factory=Future)

    def __call__(self) -> None:
        try:
            self.result.set_result(self.make())
        except BaseException as error:  # it is the caller's, who waits
            self.result.set_exception(error)


class Worker:
    """One thread that makes calls; a forked child starts one of its own.

    Of the calls that wait those of the lowest rank come first, and of one rank those that came
    first. A call that is being made may let others pass.

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
        self._numbers = itertools.count()
        self._renew()
        renew_in_children(self)

    def _renew(self) -> None:
        # What the parent's threads asked for is no child's business.
        self._calls: list[_Call] = []
        self._came = threading.Condition()

    def run(self, call: Callable[[], _T], rank: int = 0) -> _T:
        """The result of ``call``, made on the thread. Calls queue up."""
        with self._starting:
            if self._executor is None or self._process != os.getpid():
                executor = ThreadPoolExecutor(1, thread_name_prefix=self._name)
                if self._begin is not None:
                    executor.submit(self._begin).result()
                self._executor, self._process = executor, os.getpid()
            executor = self._executor
        one = _Call(rank, next(self._numbers), call)
        with self._came:
            heapq.heappush(self._calls, one)
            self._came.notify()
        # It makes the first that waits then, which may be another; this one may have passed.
        executor.submit(self._make_first)
        result: _T = one.result.result()
        return result

    def let_pass(self, rank: int, linger: float) -> None:
        """Make the calls that wait and have a lower rank; for a call that is being made.

        Args:
            rank: of the call that lets others pass.
            linger: seconds to wait, behind a call that passed, for another one: what asks for one
                often asks for the next right away.
        """
        seconds = 0.0
        while (one := self._first(rank, seconds)) is not None:
            one()
            seconds = linger

    def _make_first(self) -> None:
        if (one := self._first(None, 0.0)) is not None:
            one()

    def _first(self, below: int | None, seconds: float) -> _Call | None:
        """What is to be made next, of lower rank than ``below`` if that is given."""

        def there() -> bool:
            return bool(self._calls) and (below is None or self._calls[0].rank < below)

        if not seconds and not self._calls:
            return None  # which is asked between any two kernels
        with self._came:
            self._came.wait_for(there, seconds)
            return heapq.heappop(self._calls) if there() else None


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


system.after_fork_in_child(_renew_all)
