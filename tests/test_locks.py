"""The package's locks: made in one place, and free in a forked child."""

from __future__ import annotations

import ast
import os
import signal
import threading
from pathlib import Path

import pytest

from sam3_tvm import locks
from sam3_tvm.locks import Lock, Worker

PACKAGE = Path(locks.__file__).parent
MADE = {"Lock", "RLock", "Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier"}

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def made_locks(path: Path) -> list[str]:
    """Where a module makes locks of the standard library, under whatever name it knows them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("threading", "multiprocessing"):
            found += [alias.name for alias in node.names if alias.name in MADE]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            of_module = node.value.id in ("threading", "_thread", "multiprocessing")
            found += [node.attr] * (of_module and node.attr in {*MADE, "allocate_lock"})
    return found


def test_no_other_module_makes_a_lock():
    made = {p.name: made_locks(p) for p in sorted(PACKAGE.rglob("*.py")) if made_locks(p)}
    assert made == {"locks.py": ["RLock", "RLock"]}


def status_of_child(act) -> int:
    """The exit status of a forked child that does ``act``; it is ended where that hangs."""
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(20)
            act()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


@forks
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_what_another_thread_holds_is_free_in_a_child():
    lock, held, over = Lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock, lock:
            held.set()
            over.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()

    def act() -> None:
        with lock:
            pass

    try:
        assert status_of_child(act) == 0
    finally:
        over.set()
        holder.join()
    with lock:
        pass


@forks
def test_what_the_forking_thread_holds_it_holds_in_the_child():
    lock = Lock()

    def act() -> None:
        others: list[bool] = []
        other = threading.Thread(target=lambda: others.append(lock._lock.acquire(blocking=False)))
        other.start()
        other.join()
        assert others == [False]
        lock.__exit__()
        with lock:
            pass

    with lock:
        assert status_of_child(act) == 0


@forks
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_worker_s_thread_begins_anew_in_a_child():
    begun: list[int] = []
    worker = Worker("test", lambda: begun.append(os.getpid()))
    assert worker.run(lambda: 7) == 7
    assert worker.run(threading.get_ident) != threading.get_ident()

    def act() -> None:
        assert worker.run(lambda: 7) == 7
        assert begun[-1] == os.getpid()

    assert status_of_child(act) == 0
    assert begun == [os.getpid()]
