"""The thread on which models' functions run, and TVM's threads beside it.

TVM keeps a pool of worker threads per calling thread. A service that calls models from many
threads would have as many pools, all of them spinning for work; so one thread makes the calls of
all models that compute with the same number of threads, and its pool has that size.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

from sam3_tvm.errors import Sam3Error

__all__ = ["Engine", "default_threads", "shared_engine"]

_T = TypeVar("_T")

# tvm::runtime::threading::ThreadGroup::AffinityMode: any worker may run on any of the CPUs.
_SHARE_ALL_CORES = -3

# Configuring a pool sets a limit that is global to the process and read when the pool of a
# thread is made: two engines must not do it at once.
_configuring = threading.Lock()

# One call computes at a time, whichever engine makes it.
_computing = threading.Lock()

_sharing = threading.Lock()
_engines: WeakValueDictionary[int, Engine] = WeakValueDictionary()

# How often a worker yields while it waits for work before it sleeps: some milliseconds, which
# is longer than anything between two kernels takes. TVM's own 300000 keep a core busy for a
# tenth of a second after each call.
_SPINS = 20_000


class Engine:
    """One thread that makes calls, with a pool of workers beside it. TVM's runtime is loaded.

    Models share it: see :func:`shared_engine`. Calls of different engines do not run at the same
    time either, since each uses all the cores that were asked for.

    Args:
        threads: how many threads a call computes with, at least 1; by default
            :func:`default_threads`.

    Raises:
        Sam3Error: a number of threads below 1.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = default_threads() if threads is None else threads
        if self.threads < 1:
            raise Sam3Error(f"threads must be at least 1, got {threads}")
        self._executor: ThreadPoolExecutor | None = None
        self._process = 0
        self._starting = threading.Lock()

    def run(self, call: Callable[[], _T]) -> _T:
        """The result of ``call``, made on the engine's thread. Calls queue up."""
        with self._starting:
            # A forked child has a copy of this object but none of the threads.
            if self._executor is None or self._process != os.getpid():
                self._executor = ThreadPoolExecutor(1, thread_name_prefix="sam3-tvm")
                self._process = os.getpid()
                self._executor.submit(_configure_pool, self.threads).result()
            executor = self._executor
        return executor.submit(_alone, call).result()


def shared_engine(threads: int | None = None) -> Engine:
    """The engine of this process that computes with that many threads.

    It lives as long as somebody holds it, and so do its threads.

    Raises:
        Sam3Error: a number of threads below 1.
    """
    wanted = default_threads() if threads is None else threads
    with _sharing:
        engine = _engines.get(wanted)
        if engine is None:
            engine = _engines[wanted] = Engine(wanted)
        return engine


def _alone(call: Callable[[], _T]) -> _T:
    with _computing:
        return call()


def _renew_locks() -> None:
    """In a forked child: threads that held them are not there to release them."""
    global _configuring, _sharing, _computing
    _configuring, _sharing, _computing = threading.Lock(), threading.Lock(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def default_threads() -> int:
    """``TVM_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the cores this process may use.

    Cores are physical where the system tells (Linux): arithmetic this dense gains nothing from
    a second thread on the same core. TVM's own default would halve the CPUs on every x86
    machine, also on those with one thread a core.
    """
    for name in ("TVM_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "")
        if value.isdigit() and int(value) > 0:
            return int(value)
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    cores = set()
    for cpu in os.sched_getaffinity(0):
        try:
            cores.add(Path(topology.format(cpu)).read_text())
        except OSError:
            cores.add(f"{cpu}")
    return min(len(cores), _cpu_quota())


def _cpu_quota() -> int:
    """Whole CPUs that the control group grants (Linux, version 2): no limit where it has none."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return 1 << 16


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
