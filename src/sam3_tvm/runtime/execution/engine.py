"""The thread on which models' functions run, and TVM's threads beside it.

TVM keeps a pool of worker threads per calling thread. A service that calls models from many
threads would have as many pools, all of them spinning for work; so one thread makes the calls of
all models that compute with the same number of threads, and its pool has that size.
"""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from sam3_tvm import host
from sam3_tvm.errors import Sam3Error
from sam3_tvm.locks import Lock, Worker, renew_in_children

__all__ = ["Engine", "checked_threads", "default_threads", "shared_engine"]

_T = TypeVar("_T")

# tvm::runtime::threading::ThreadGroup::AffinityMode: any worker may run on any of the CPUs.
_SHARE_ALL_CORES = -3

# Configuring a pool sets a limit that is global to the process and read when the pool of a
# thread is made: two engines must not do it at once.
_configuring = Lock()

# One call computes at a time, whichever engine makes it.
_computing = Lock()

_sharing = Lock()
_engines: WeakValueDictionary[int, Engine] = WeakValueDictionary()

# Seconds for which a call that was broken into waits for the next one: a click is two or three
# calls with some milliseconds of NumPy between them, a kernel of the largest takes half a second.
_LINGER = 0.02

# How often a worker yields while it waits for work before it sleeps: some milliseconds, which
# is longer than anything between two kernels takes. TVM's own 300000 keep a core busy for a
# tenth of a second after each call (TVM 0.27, November 2026).
_SPINS = 20_000


class Engine:
    """One thread that makes calls, with a pool of workers beside it. TVM's runtime is loaded.

    Models share it: see :func:`shared_engine`. Calls of different engines do not run at the same
    time either, since each uses all the cores that were asked for.

    Args:
        threads: how many threads a call computes with; see :func:`checked_threads`.

    Attributes:
        threads: how many.
        busy: seconds in which calls were computed so far.

    Raises:
        Sam3Error: a number of threads that can't be.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = checked_threads(threads)
        self.busy = 0.0
        self._renew()
        renew_in_children(self)
        # The thread mustn't keep the engine alive: it ends with it.
        self._worker = Worker("sam3-tvm", partial(_configure_pool, self.threads))

    def _renew(self) -> None:
        # Calls that are being made, one within the other: a forked child has none.
        self._calls = 0

    def run(self, call: Callable[[], _T], rank: int = 0) -> _T:
        """The result of ``call``, made on the engine's thread.

        Calls queue up: those of a lower rank first, of one rank in order.
        """
        return self._worker.run(lambda: self._timed(call), rank)

    def let_pass(self, rank: int) -> None:
        """Make the calls that wait and have a lower rank; for a call that is being made."""
        self._worker.let_pass(rank, _LINGER)

    def _timed(self, call: Callable[[], _T]) -> _T:
        with _computing:
            begun = time.perf_counter()
            self._calls += 1
            try:
                return call()
            finally:
                self._calls -= 1
                if not self._calls:  # or another's time counts it
                    self.busy += time.perf_counter() - begun


def shared_engine(threads: int | None = None) -> Engine:
    """The engine of this process that computes with that many threads.

    It lives as long as something refers to it, and so do its threads.

    Raises:
        Sam3Error: a number of threads that can't be.
    """
    wanted = checked_threads(threads)
    with _sharing:
        engine = _engines.get(wanted)
        if engine is None:
            engine = _engines[wanted] = Engine(wanted)
        return engine


def checked_threads(threads: Any = None) -> int:
    """A number of threads to compute with.

    More threads than the machine has CPUs only take turns, and thousands of them can take it
    down; up to four times as many are accepted.

    Args:
        threads: the number, an integer; by default :func:`default_threads`.

    Raises:
        Sam3Error: no integer, below 1 or above that bound, as given or in the environment.
    """
    return default_threads() if threads is None else _accepted(threads, "threads")


def _accepted(threads: Any, name: str) -> int:
    most = 4 * (os.cpu_count() or 1)
    try:
        count = None if isinstance(threads, bool | np.bool_) else operator.index(threads)
    except TypeError:
        count = None
    if count is None or not 1 <= count <= most:
        said = " ".join(f"{threads!r}".split())[:100]
        raise Sam3Error(
            f"{name} must be an integer from 1 to {most} (four times this machine's CPUs), not "
            f"{said}"
        )
    return count


def default_threads() -> int:
    """``TVM_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the cores this process may use.

    Cores are physical where the system tells (Linux): arithmetic this dense gains nothing from
    a second thread on the same core. TVM's own default would halve the CPUs on every x86
    machine, also on those with one thread a core.

    Raises:
        Sam3Error: a variable that holds no number of threads; see :func:`checked_threads`.
    """
    for name in ("TVM_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "").strip()
        # OpenMP's may be a list, with a number for each level of nested loops.
        first = value.partition(",")[0].strip() if name == "OMP_NUM_THREADS" else value
        if value:
            number = int(first) if first.isascii() and first.isdigit() else value
            return _accepted(number, f"{name} in the environment")
    return host.physical_cores()


def _configure_pool(threads: int) -> None:
    """Give the calling thread a pool in which ``threads`` threads compute, itself included."""
    import tvm_ffi

    # Without this TVM pins its workers, and the calling thread, to the machine's first cores:
    # where other processes, or other models, are pinned as well.
    os.environ.setdefault("TVM_BIND_THREADS", "0")
    os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", f"{_SPINS}")
    configure = tvm_ffi.get_global_func("runtime.config_threadpool")
    # The length of the list is the size of the pool. A list of one would make a limit of one
    # thread for all pools of the process, so that other models ran serially.
    cpus = [str(i) for i in range(max(2, threads))]
    with _configuring:
        configure(_SHARE_ALL_CORES, threads, cpus)
