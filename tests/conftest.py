"""What every test may use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sam3_tvm import host

REQUIRE = "SAM3_TVM_REQUIRE"
"""CPU features whose absence is a failure, such as ``avx512bf16,avx512vnni``."""

# Of a run in the background a shell ignores these, and so would the programs under test.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _name in ("SIGTERM", "SIGHUP"):
    if hasattr(signal, _name):
        signal.signal(getattr(signal, _name), signal.SIG_DFL)

# Tests run two at a time on two cores; each with a pool of all of them would thrash.
os.environ.setdefault("TVM_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``compiled_once(name, checkpoint, *options)``: what ``sam3-tvm compile`` made, in a folder.

    The artifact is ``name`` in it, and ``printed`` is what the command said; with the options
    ``--dump phases``, which take their time, ``phases`` has the module after each phase. Each is
    made once per test session: under pytest-xdist the first worker that needs it compiles, the
    others wait.
    """
    pytest.importorskip("torch")
    # Workers have folders of their own below one that belongs to the run.
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, checkpoint: str, *options: str) -> Path:
        folder = shared / f"compiled-{name}"
        with _lock(shared / f"{name}.lock"):
            if not (folder / name).exists():
                folder.mkdir(exist_ok=True)
                command = [Path(sys.executable).parent / "sam3-tvm", "compile", checkpoint]
                done = subprocess.run(
                    [*command, *options, "-o", name],
                    cwd=folder,
                    capture_output=True,
                    text=True,
                )
                (folder / "printed").write_text(done.stdout)
                assert done.returncode == 0, done.stderr
        return folder

    return make


@pytest.fixture(scope="session")
def tiny(compiled_once: Callable[..., Path]) -> Path:
    """The folder with ``random:tiny`` compiled; see :func:`compiled_once`."""
    return compiled_once("tiny", "random:tiny", "--dump", "phases")


@pytest.fixture(scope="session")
def tiny_artifact(tiny: Path) -> Path:
    """An artifact of ``random:tiny``."""
    return tiny / "tiny"


@pytest.fixture(scope="session")
def shapes_artifact(compiled_once: Callable[..., Path]) -> Path:
    """An artifact of the trained demonstration model, ``checkpoints/shapes``."""
    checkpoint = Path(__file__).parents[1] / "checkpoints" / "shapes"
    return compiled_once("shapes", str(checkpoint)) / "shapes"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what needs an artifact.

    Workers begin with stretches of the list: one compiles the artifacts while the others test
    what needs none, rather than wait.
    """
    items.sort(key=lambda item: "compiled_once" not in getattr(item, "fixturenames", ()))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this CPU can't run, or fail it where ``SAM3_TVM_REQUIRE`` asks for the feature."""
    needed = [name for mark in item.iter_markers("cpu") for name in mark.args]
    lacking = sorted({*needed} - host.features())
    if not lacking:
        return
    asked = {name.strip().upper() for name in os.environ.get(REQUIRE, "").split(",")}
    if asked & {name.upper() for name in lacking}:
        pytest.fail(f"{REQUIRE} asks for {', '.join(lacking)}, which this CPU lacks")
    pytest.skip(f"this CPU has no {', '.join(lacking)}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what could not run here, and why: a skip is easily taken for a pass."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    for reason, count in sorted(reasons.items()):
        tests = "1 test" if count == 1 else f"{count} tests"
        terminalreporter.write_line(f"not run here: {tests}: {reason}")


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
