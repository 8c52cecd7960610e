from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import toy

from sam3_tvm.errors import Sam3Error
from sam3_tvm.runtime.execution.engine import Engine, default_threads, shared_engine
from sam3_tvm.runtime.execution.module import load_runtime


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
    monkeypatch.setenv("TVM_NUM_THREADS", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    assert default_threads() == 4
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= default_threads() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("threads", [0, -2, 10_000, 1 << 80, True, np.True_, 2.5, "4", [2]])
def test_threads_are_an_integer_from_1_to_four_times_the_cpus(threads):
    most = 4 * os.cpu_count()
    with pytest.raises(Sam3Error, match=rf"threads must be an integer from 1 to {most} "):
        Engine(threads)
    assert (Engine(most).threads, Engine(np.int64(2)).threads) == (most, 2)


@pytest.mark.parametrize("name", ["TVM_NUM_THREADS", "OMP_NUM_THREADS"])
@pytest.mark.parametrize("value", ["0", "-1", "two", "10000", "2.5"])
def test_a_number_of_threads_in_the_environment_is_held_to_the_same(monkeypatch, name, value):
    monkeypatch.delenv("TVM_NUM_THREADS", raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(Sam3Error, match=f"{name} in the environment must be an integer from 1"):
        default_threads()


def test_models_with_as_many_threads_share_an_engine_which_goes_with_them():
    first, second, other = shared_engine(2), shared_engine(2), shared_engine(1)
    assert first is second
    assert first is not other
    gone = weakref.ref(first)
    del first, second
    gc.collect()
    assert gone() is None


def test_calls_of_different_engines_do_not_compute_at_the_same_time():
    together, most = [], []

    def call() -> None:
        together.append(1)
        most.append(len(together))
        time.sleep(0.02)
        together.pop()

    engines = [Engine(1), Engine(2), Engine(2)]
    callers = [threading.Thread(target=e.run, args=(call,)) for e in engines * 2]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert most == [1] * 6


def test_the_time_of_a_call_that_passes_another_counts_once():
    engine, begun = Engine(1), threading.Event()
    passed: list[float] = []

    def long() -> None:
        begun.set()
        while not passed:
            engine.let_pass(1)

    caller = threading.Thread(target=engine.run, args=(long, 1))
    start = time.perf_counter()
    caller.start()
    begun.wait()

    def short() -> None:
        time.sleep(0.2)
        passed.append(1.0)

    engine.run(short)
    caller.join()
    assert 0.2 <= engine.busy <= time.perf_counter() - start


# In processes of their own: TVM reads its settings when the first pool is made.
_TWO_MODELS = """
import os, sys, threading, time
import numpy as np
from sam3_tvm import artifact
from sam3_tvm.runtime.execution.module import load_functions

opened = artifact.open(sys.argv[1])
models = [load_functions(opened, threads=2) for _ in range(2)]
before = len(os.listdir("/proc/self/task"))
pixels = np.ones((4, 3, 16, 16), np.float32)

def use(model):
    for _ in range(20):
        model("vision_encoder", pixels)

callers = [threading.Thread(target=use, args=(models[i % 2],)) for i in range(4)]
for caller in callers:
    caller.start()
for caller in callers:
    caller.join()

def added():
    return len(os.listdir("/proc/self/task")) - before

# join() may return before the system has taken the thread away; one that stays, stays.
end = time.monotonic() + 10
while added() > 2 and time.monotonic() < end:
    time.sleep(0.01)
print(added())
"""

_IDLE = """
import sys, time
import numpy as np
from sam3_tvm import artifact
from sam3_tvm.runtime.execution.module import load_functions

model = load_functions(artifact.open(sys.argv[1]), threads=2)
model("vision_encoder", np.ones((4, 3, 16, 16), np.float32))
before = time.process_time()
time.sleep(0.5)
print(time.process_time() - before)
"""


_FORK = """
import os, signal, sys, threading, time
import numpy as np
from sam3_tvm import artifact
from sam3_tvm.runtime.execution.module import load_functions

model = load_functions(artifact.open(sys.argv[1]), threads=2)
pixels = np.ones((4, 3, 16, 16), np.float32)
wanted = model("vision_encoder", pixels)[0]
ended = threading.Event()

def use():
    while not ended.is_set():
        model("vision_encoder", pixels)

users = [threading.Thread(target=use) for _ in range(3)]
for user in users:
    user.start()
statuses = []
for _ in range(10):
    time.sleep(0.01)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a call that hangs ends the child with a status of its own
        os._exit(0 if np.array_equal(model("vision_encoder", pixels)[0], wanted) else 1)
    statuses.append(os.waitpid(child, 0)[1])
ended.set()
print(*statuses)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_while_other_threads_compute_computes_the_same(compiled):
    assert toy.run_python("-W", "ignore", "-c", _FORK, str(compiled.path)).split() == ["0"] * 10


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_two_models_used_from_four_threads_compute_with_the_threads_of_one(compiled):
    # The engine's thread and one worker, which stay when the callers are gone.
    assert int(toy.run_python("-c", _TWO_MODELS, str(compiled.path))) == 2


def test_an_idle_model_leaves_the_cores_alone(compiled):
    assert float(toy.run_python("-c", _IDLE, str(compiled.path))) < 0.05
