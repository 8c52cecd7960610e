"""Processes of engines: what they answer, and what is known of one that died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from sam3_tvm.bench.process import Worker, WorkerError, termination_unwinds
from sam3_tvm.host import available_bytes, peak_bytes


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


def test_a_worker_measures_the_peaks_until_it_is_closed(start):
    pytest.importorskip("tvm")
    worker = start(role="peak", threads=1)
    assert worker.load_seconds > 0
    instructions = worker.hello["instructions"]
    assert list(instructions) == ["float32", "bfloat16", "int8"]
    assert instructions["float32"] == ["FMA"]
    for _ in range(2):
        rates = worker.ask("time")["rates"]
        # Of every instruction that this CPU has.
        assert list(rates) == [name for names in instructions.values() for name in names]
        assert min(rates.values()) > 1e8
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


def test_a_worker_that_is_interrupted_while_it_starts_is_ended(tmp_path, monkeypatch):
    started = []

    def interrupted(worker):
        started.append(worker._process)
        worker._asked = True
        raise KeyboardInterrupt

    monkeypatch.setattr(Worker, "_answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Worker({"role": "peak", "threads": 1}, 1, tmp_path / "log", tmp_path)
    assert started[0].returncode is not None


def test_what_a_worker_started_ends_with_it():
    """As the processes of a compiler do, which outlive the worker that started them."""
    ours, theirs = os.pipe()
    worker = Worker.__new__(Worker)
    worker._asked = False
    worker._process = subprocess.Popen(
        ["sh", "-c", "sleep 60 & read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[theirs],
        start_new_session=True,
    )
    os.close(theirs)
    worker.close()
    # The end of a pipe that nobody holds any more; sleep would, for a minute.
    assert os.read(ours, 1) == b""
    os.close(ours)


SCRIPT = """
import signal, sys, tempfile, time
from pathlib import Path
from sam3_tvm.bench.process import Worker, termination_unwinds
# A shell without job control has its background jobs ignore SIGINT, and their children.
signal.signal(signal.SIGINT, signal.default_int_handler)
with termination_unwinds(), tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
    worker = Worker({"role": "peak", "threads": 1}, 1, Path(folder) / "log", Path(folder))
    try:
        print(worker._process.pid, flush=True)
        time.sleep(60)
    finally:
        worker.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)]
)
def test_signals_leave_neither_folder_nor_worker(tmp_path, number, code):
    pytest.importorskip("tvm")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        pid = int(process.stdout.readline())
        assert list(tmp_path.iterdir())
        process.send_signal(number)
        assert process.wait(30) == code
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_termination_is_as_it_was_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, termination_unwinds():
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_peak_memory_is_this_processs_own():
    before = peak_bytes()
    block = bytearray(64 << 20)
    block[:: 1 << 12] = b"x" * len(block[:: 1 << 12])
    assert peak_bytes() >= max(before, 64 << 20)


def test_available_memory_is_known_on_linux():
    found = available_bytes()
    assert found is None or 0 < found < 1 << 50
