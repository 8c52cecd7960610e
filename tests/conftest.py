"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Tests run two at a time on two cores; each with a pool of all of them would thrash.
os.environ.setdefault("TVM_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of ``random:tiny``, compiled once per test session.

    Under pytest-xdist the first worker that needs it compiles, the others wait.
    """
    pytest.importorskip("torch")
    from sam3_tvm.compiler import compile

    # Workers have folders of their own below one that belongs to the run.
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    path = shared / "tiny"
    with _lock(shared / "tiny.lock"):
        if not path.exists():
            compile("random:tiny", path)
    return path


class _lock:  # noqa: N801 - reads as a statement
    """A file that exists while one process is inside."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        import fcntl

        self.file = self.path.open("w")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self.file.close()
