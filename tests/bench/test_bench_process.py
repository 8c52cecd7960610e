"""Processes of engines: what they answer, and what is known of one that died."""

from __future__ import annotations

import os
import signal

import pytest

from sam3_tvm.bench import engines
from sam3_tvm.bench.engines import EngineInfo, select_engines
from sam3_tvm.bench.parts import BenchError
from sam3_tvm.bench.process import Worker, WorkerError, available_bytes
from sam3_tvm.bench.worker import peak_bytes


@pytest.fixture
def start(tmp_path):
    """Starts a worker; ends it afterwards."""
    started = []

    def start(**job):
        started.append(Worker(job, 1, tmp_path / "log", tmp_path))
        return started[-1]

    yield start
    for worker in started:
        worker.close()


def test_a_worker_measures_the_peak_until_it_is_closed(start):
    pytest.importorskip("tvm")
    worker = start(role="peak", threads=1)
    assert worker.load_seconds > 0
    assert worker.ask("time")["flops"] > 1e8
    assert worker.ask("time")["flops"] > 1e8
    worker.close()
    assert worker._process.returncode == 0


def test_a_worker_that_raises_leaves_the_errors_line(start):
    with pytest.raises(WorkerError, match=r"^KeyError: 'nothing'$"):
        start(role="nothing")


def test_a_worker_that_was_killed_says_so(start):
    pytest.importorskip("tvm")
    worker = start(role="peak", threads=1)
    os.kill(worker._process.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match="killed by the system"):
        worker.ask("time")


def test_peak_memory_is_this_processs_own():
    before = peak_bytes()
    block = bytearray(64 << 20)
    block[:: 1 << 12] = b"x" * len(block[:: 1 << 12])
    assert peak_bytes() >= max(before, 64 << 20)


def test_available_memory_is_known_on_linux():
    found = available_bytes()
    assert found is None or 0 < found < 1 << 50


def test_an_engine_that_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setitem(
        engines.ENGINES,
        "other",
        EngineInfo("other", "Other", ("no_such_package",)),
    )
    with pytest.raises(BenchError) as caught:
        select_engines(["other"])
    assert "\n" not in f"{caught.value}"
    assert "no_such_package" in f"{caught.value}"
    assert "pip install 'sam3-tvm[bench]'" in f"{caught.value}"
    assert "other" not in [e.name for e in select_engines(None)]


def test_an_unknown_engine_lists_the_known():
    with pytest.raises(BenchError, match=r"'tensorrt'; accepted are torch, .*openvino"):
        select_engines(["tensorrt"])
