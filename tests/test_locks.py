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
from tests.waiting import wait_until

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
    assert made == {"locks.py": ["RLock", "Condition", "RLock"]}


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
            over.wait(20)

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


@forks
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_makes_no_call_that_waited_in_its_parent():
    worker, begun, over, made = Worker("test"), threading.Event(), threading.Event(), []

    def long() -> None:
        begun.set()
        over.wait(20)

    callers = [threading.Thread(target=worker.run, args=(long,))]
    callers[0].start()
    begun.wait(20)
    callers.append(threading.Thread(target=worker.run, args=(lambda: made.append(os.getpid()),)))
    callers[1].start()
    wait_until(lambda: worker._calls)

    def act() -> None:
        assert worker.run(lambda: 7) == 7
        assert made == []

    try:
        assert status_of_child(act) == 0
    finally:
        over.set()
        for caller in callers:
            caller.join()
    assert made == [os.getpid()]


def waiting(worker: Worker, *asked: tuple[int, object]) -> list[threading.Thread]:
    """Threads that ask for calls, each with its rank, in this order; all wait already."""
    callers = []
    for rank, call in asked:
        there = len(worker._calls)
        callers.append(threading.Thread(target=worker.run, args=(call, rank)))
        callers[-1].start()
        wait_until(lambda there=there: len(worker._calls) > there)
    return callers


def test_calls_of_a_lower_rank_come_first_and_of_one_rank_in_order():
    worker, begun, over, order = Worker("test"), threading.Event(), threading.Event(), []

    def long() -> None:
        begun.set()
        over.wait(20)

    first = threading.Thread(target=worker.run, args=(long,))
    first.start()
    begun.wait(20)
    asked = [(rank, lambda n=n: order.append(n)) for n, rank in enumerate([2, 1, 2, 0, 1])]
    callers = waiting(worker, *asked)
    over.set()
    for caller in (first, *callers):
        caller.join()
    assert order == [3, 1, 4, 0, 2]


def test_a_call_lets_those_of_lower_rank_pass_and_no_others():
    worker, begun, go, order = Worker("test"), threading.Event(), threading.Event(), []

    def long() -> None:
        begun.set()
        go.wait(20)
        worker.let_pass(1, 0.0)
        order.append("long")

    first = threading.Thread(target=worker.run, args=(long, 1))
    first.start()
    begun.wait(20)
    asked = [(rank, lambda n=n: order.append(n)) for n, rank in enumerate([2, 0, 1, 0])]
    callers = waiting(worker, *asked)
    go.set()
    for caller in (first, *callers):
        caller.join()
    assert order == [1, 3, "long", 2, 0]


def test_behind_a_call_that_passed_the_next_is_waited_for():
    worker, begun, order = Worker("test"), threading.Event(), []

    def long() -> None:
        begun.set()
        while not order:
            worker.let_pass(1, 3.0)
        order.append("long")

    first = threading.Thread(target=worker.run, args=(long, 1))
    first.start()
    begun.wait(20)
    worker.run(lambda: order.append(0))
    worker.run(lambda: order.append(1))
    first.join()
    assert order == [0, 1, "long"]


def test_an_error_of_a_call_that_passed_is_its_caller_s():
    worker, begun = Worker("test"), threading.Event()

    def long() -> int:
        begun.set()
        while not failed:
            worker.let_pass(1, 0.0)
        return 5

    failed: list[str] = []
    results: list[int] = []
    first = threading.Thread(target=lambda: results.append(worker.run(long, 1)))
    first.start()
    begun.wait(20)
    with pytest.raises(ZeroDivisionError):
        worker.run(lambda: 1 // 0)
    failed.append("yes")
    first.join()
    assert results == [5]
