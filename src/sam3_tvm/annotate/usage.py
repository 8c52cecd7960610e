"""How much of the time a run computed: whether reading and writing held it up."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sam3_tvm.runtime.execution.engine import shared_engine

__all__ = ["Usage", "UsageMeter"]


@dataclass(frozen=True)
class Usage:
    """What a run of pictures took.

    Attributes:
        pictures: how many were looked at.
        seconds: from the first to the last.
        threads: that the model computes with, of all workers together.
        computing: the share of that time in which a compiled function ran, 0 to 1; the mean of
            the workers.
        cpu: processor time of all threads, those that read and write pictures among them, as a
            share of ``seconds * threads``; None where other processes computed. Above 1 where
            more cores are free than the model computes with.
    """

    pictures: int
    seconds: float
    threads: int
    computing: float
    cpu: float | None


class UsageMeter:
    """Measures from where it is made.

    Args:
        threads: those of the model, as :func:`sam3_tvm.load` takes them.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._engine = shared_engine(threads)
        self._busy = self._engine.busy
        self._begun, self._cpu = time.perf_counter(), time.process_time()

    def usage(self, pictures: int) -> Usage:
        """What was used until now, for so many pictures."""
        seconds = max(time.perf_counter() - self._begun, 1e-9)
        return Usage(
            pictures,
            seconds,
            self._engine.threads,
            min(1.0, (self._engine.busy - self._busy) / seconds),
            (time.process_time() - self._cpu) / (seconds * self._engine.threads),
        )
