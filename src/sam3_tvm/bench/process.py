"""A process of its own for each engine, and the few words spoken with it.

The parent writes one JSON object a line, the worker answers each with one. A worker's death
is an answer too: :class:`WorkerError` says what its last words were.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sam3_tvm import system
from sam3_tvm.bench.parts import BenchError

__all__ = ["Worker", "WorkerError", "termination_unwinds"]

# What a worker that was told to end has to do so, seconds.
_PATIENCE = 10.0


class WorkerError(BenchError):
    """A worker that died; the message is the reason, in one line."""


class Worker:
    """A running worker process.

    Args:
        job: what :func:`sam3_tvm.bench.worker.main` is to be; see there.
        threads: how many threads it computes with; also told to OpenMP and TVM, whose pools
            may be made before anybody asks.
        log: where its stderr goes.
        cache: a folder for what compilers cache, so that no run profits from an earlier one.
        ready: whether to wait until it is; otherwise :meth:`wait` has to be called.

    Attributes:
        hello: the worker's first answer, given when it had loaded.
        load_seconds: from the start of the process to that answer.
    """

    def __init__(
        self, job: Mapping[str, Any], threads: int, log: Path, cache: Path, ready: bool = True
    ) -> None:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": f"{threads}",
            "MKL_NUM_THREADS": f"{threads}",
            "TVM_NUM_THREADS": f"{threads}",
            "TORCHINDUCTOR_CACHE_DIR": f"{cache}",
            # Workers must find the package that the parent runs, installed or not.
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        }
        self._log = log
        self._start = time.perf_counter()
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sam3_tvm.bench.worker", json.dumps(dict(job))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
                # A group of its own, which ends with it: compilers start processes too.
                **system.own_group(),
            )
        # It has a job from the start.
        self._asked = True
        if ready:
            self.wait()

    def wait(self) -> None:
        """Take the worker's first answer.

        Raises:
            WorkerError: it died.
        """
        try:
            self.hello = self._answer()
        except BaseException:
            # The worker may not have been handed to anything yet that could close it.
            self.close()
            raise
        self.load_seconds = time.perf_counter() - self._start

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Have the worker do something.

        Raises:
            WorkerError: it died.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise WorkerError(self._last_words()) from error
        return self._answer()

    def close(self) -> None:
        """End the process, and what it started. Idle ones keep memory, some keep threads awake."""
        if self._process.returncode is not None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # The end of its input ends a worker; one that is in the middle of something is ended.
        if self._asked:
            self._process.terminate()
        # What was still to be written to one that has died is lost.
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._reap()
        self._process.stdout.close()

    def _reap(self) -> int:
        """Wait for the end, kill what is left of the group, and return the exit code."""
        return system.end_group(self._process, _PATIENCE)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        self._asked = True
        line = self._process.stdout.readline()
        self._asked = False
        if not line:
            raise WorkerError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        code = self._reap()
        if system.was_killed(code):
            return "was killed by the system, most likely for want of memory"
        if (name := system.what_ended(code)) is not None:
            return f"was ended by {name}"
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        # The last line of a traceback names the error; what stands after it is exit handlers'.
        told = [line.strip() for line in lines if line.strip() and not line.startswith(" ")]
        return told[-1] if told else f"ended with exit code {code}"


@contextmanager
def termination_unwinds() -> Iterator[None]:
    """Let SIGTERM raise :class:`SystemExit` within, so that folders and workers are cleaned up.

    Only the main thread can arrange for that; elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
