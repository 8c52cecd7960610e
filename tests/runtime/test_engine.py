from __future__ import annotations

import os
import threading

import pytest

from sam3_tvm.errors import Sam3Error
from sam3_tvm.runtime.engine import Engine, default_threads
from sam3_tvm.runtime.module import load_runtime


@pytest.fixture(autouse=True)
def _runtime(compiled):
    """TVM's runtime in the process; an engine sets up its thread pool."""
    load_runtime(compiled)


def test_every_call_is_made_on_one_thread_of_its_own():
    engine = Engine(1)
    seen = [engine.run(threading.get_ident) for _ in range(3)]
    from_elsewhere: list[int] = []
    thread = threading.Thread(target=lambda: from_elsewhere.append(engine.run(threading.get_ident)))
    thread.start()
    thread.join()
    assert len({*seen, *from_elsewhere}) == 1
    assert threading.get_ident() not in seen


def test_an_error_reaches_the_caller_and_the_engine_goes_on():
    engine = Engine(1)
    with pytest.raises(ZeroDivisionError):
        engine.run(lambda: 1 // 0)
    assert engine.run(lambda: 3) == 3


def test_the_pool_has_the_threads_asked_for_whatever_other_engines_have():
    import tvm_ffi

    count = tvm_ffi.get_global_func("runtime.NumThreads")
    engines = [Engine(n) for n in (3, 1, 2)]
    for _ in range(2):
        assert [e.run(count) for e in engines] == [3, 1, 2]


def test_threads_come_from_the_environment_else_from_the_cpus(monkeypatch):
    monkeypatch.delenv("TVM_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert default_threads() == 5
    monkeypatch.setenv("TVM_NUM_THREADS", "3")
    assert default_threads() == 3
    monkeypatch.setenv("TVM_NUM_THREADS", "0")
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= default_threads() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("threads", [0, -2])
def test_no_threads_is_an_error(threads):
    with pytest.raises(Sam3Error, match="threads must be at least 1"):
        Engine(threads)
