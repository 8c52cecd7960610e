"""Who computes next: clicks before prompts, prompts before pictures and frames.

The model uses every core for one call, so calls take turns. What comes before others doesn't wait
for the end of their turn: it has one within it, and the other call goes on afterwards, from
the kernel that it had come to (:func:`sam3_tvm.runtime.giving_way`). A turn that has begun is never
broken off: native code can't be. What waits can be given up at any time, and costs nothing then.

All of it lives in the event loop's thread, but for the calls themselves.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from sam3_tvm.runtime import giving_way
from sam3_tvm.serve.metrics import Metrics
from sam3_tvm.serve.problems import Problem

__all__ = ["Kind", "Turns"]

_T = TypeVar("_T")

# Seconds that clients are told to wait, at least and at most.
_SOONEST, _LATEST = 1, 60

# How much the latest turn counts in the mean of their seconds.
_LATEST_COUNTS = 0.2


class Kind(Enum):
    """What a turn is for; the value is its name in metrics and messages."""

    CLICK = "click"
    PROMPT = "segment"
    PICTURE = "encode"
    FRAME = "frame"


# Ranks, too, in which calls give way to each other.
# A film's next frame is asked for when the one before is done, so that pictures and films go by
# turns.
_PRIORITY = {Kind.CLICK: 0, Kind.PROMPT: 1, Kind.PICTURE: 2, Kind.FRAME: 2}


@dataclass(order=True)
class _Waiting:
    priority: int
    number: int
    granted: asyncio.Future[None] = field(compare=False)


class Turns:
    """Hands out turns to compute.

    Args:
        most: requests of each kind that may be under way at a time.
        metrics: what is counted.
    """

    def __init__(self, most: dict[Kind, int], metrics: Metrics) -> None:
        self._most = most
        self._metrics = metrics
        self._places = dict.fromkeys(Kind, 0)
        self._seconds: dict[Kind, float] = {}
        self._heap: list[_Waiting] = []
        self._numbers = itertools.count()
        # Of the turns that are taken, one within the other: each gave way to the next.
        self._taken: list[int] = []
        self._threads = ThreadPoolExecutor(
            len(set(_PRIORITY.values())), thread_name_prefix="sam3-tvm-serve"
        )

    @contextmanager
    def place(self, kind: Kind) -> Iterator[None]:
        """A place among the requests that are under way, from their first byte to the last.

        Raises:
            Problem: all are taken (429).
        """
        if self._places[kind] >= self._most[kind]:
            # As long as those before this one take, if they take as long as others did.
            wait = math.ceil(self._places[kind] * (self.seconds(kind) or 1.0))
            raise Problem(
                429,
                f"{self._places[kind]} requests of this kind ({kind.value}) are under way, as many "
                "as are taken; try again later",
                retry_after=min(max(wait, _SOONEST), _LATEST),
            )
        self._places[kind] += 1
        try:
            yield
        finally:
            self._places[kind] -= 1

    async def run(self, kind: Kind, call: Callable[[], _T]) -> _T:
        """The result of ``call``, made on a thread when its turn has come.

        Cancelled before that, it is not made; after that, its result is dropped.
        """
        await self.take(kind)
        begun = time.perf_counter()

        def made() -> _T:
            with self.giving_way(kind):
                return call()

        def over(done: asyncio.Future[_T]) -> None:
            self.give_back(kind, time.perf_counter() - begun)
            if not done.cancelled():
                done.exception()  # which nobody may be left to ask for

        making = asyncio.get_running_loop().run_in_executor(self._threads, made)
        making.add_done_callback(over)
        return await asyncio.shield(making)

    @staticmethod
    def giving_way(kind: Kind) -> AbstractContextManager[None]:
        """A block for the calls of a turn that was taken, on the thread that makes them."""
        return giving_way(_PRIORITY[kind])

    async def take(self, kind: Kind) -> None:
        """Wait for a turn, which :meth:`give_back` ends."""
        asked, priority = time.perf_counter(), _PRIORITY[kind]
        if self._may_begin(priority):
            self._taken.append(priority)
        else:
            loop = asyncio.get_running_loop()
            one = _Waiting(priority, next(self._numbers), loop.create_future())
            heapq.heappush(self._heap, one)
            self._metrics.waiting.labels(kind.value).inc()
            try:
                await one.granted
            except asyncio.CancelledError:
                if one.granted.done() and not one.granted.cancelled():
                    self._end(priority)  # it came in the same moment
                elif one in self._heap:
                    self._heap.remove(one)
                    heapq.heapify(self._heap)
                raise
            finally:
                self._metrics.waiting.labels(kind.value).dec()
        self._metrics.waited.labels(kind.value).observe(time.perf_counter() - asked)

    def give_back(self, kind: Kind, seconds: float) -> None:
        """End a turn of so many seconds."""
        self._metrics.computed.labels(kind.value).observe(seconds)
        self.expect(kind, seconds)
        self._end(_PRIORITY[kind])

    def expect(self, kind: Kind, seconds: float) -> None:
        """Learn how long a turn of a kind takes."""
        mean = self._seconds.setdefault(kind, seconds)
        self._seconds[kind] = mean + _LATEST_COUNTS * (seconds - mean)

    def seconds(self, kind: Kind) -> float | None:
        """How long turns of a kind take, a mean of the latest; None before the first."""
        return self._seconds.get(kind)

    def under_way(self, kind: Kind) -> int:
        """How many requests of a kind have a place."""
        return self._places[kind]

    def _may_begin(self, priority: int) -> bool:
        return all(priority < taken for taken in self._taken)

    def _end(self, priority: int) -> None:
        self._taken.remove(priority)
        while self._heap and (
            self._heap[0].granted.done() or self._may_begin(self._heap[0].priority)
        ):
            one = heapq.heappop(self._heap)
            if not one.granted.done():
                self._taken.append(one.priority)
                one.granted.set_result(None)

    def close(self) -> None:
        """Wait for the calls at hand."""
        self._threads.shutdown()
