"""Work that takes no turn: on threads of its own, for as long as somebody waits for it.

On asyncio's own threads it would let pictures wait, which are read there.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from sam3_tvm.serve.problems import Problem

__all__ = ["Aside"]

_T = TypeVar("_T")

# Seconds that clients are told to wait, at least and at most.
_SOONEST, _LATEST = 1, 60


class Aside:
    """Work of one kind.

    Args:
        name: of the kind, in messages.
        threads: calls at a time.
        most: requests that may be under way at a time.
    """

    def __init__(self, name: str, threads: int, most: int) -> None:
        self._name = name
        self._count = threads
        self._most = most
        self._places = 0
        self._seconds = 1.0
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"sam3-tvm-{name}")

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among the requests that are under way.

        Raises:
            Problem: all are taken (429).
        """
        if self._places >= self._most:
            wait = math.ceil(self._places * self._seconds / self._count)
            raise Problem(
                429,
                f"{self._places} requests of this kind ({self._name}) are under way, as many as "
                "are taken; try again later",
                retry_after=min(max(wait, _SOONEST), _LATEST),
            )
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1

    async def run(self, call: Callable[[Callable[[], bool]], _T]) -> _T:
        """The result of ``call``, which is told how to ask whether nobody waits any more.

        Cancelled before a thread has begun it, it is not made.
        """
        stopped = asyncio.Event()  # the thread only looks at it
        made = partial(self._timed, call, stopped.is_set)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, made)
        finally:
            stopped.set()

    def _timed(self, call: Callable[[Callable[[], bool]], _T], stopped: Callable[[], bool]) -> _T:
        begun = time.perf_counter()
        try:
            return call(stopped)
        finally:
            self._seconds = time.perf_counter() - begun

    def close(self) -> None:
        """Wait for the calls at hand."""
        self._threads.shutdown()
