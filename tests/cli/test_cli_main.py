"""The ways to start the command line."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["info", "--help"], 0, "sam3-tvm info [OPTIONS]"),
        (["nonsense"], 2, "sam3-tvm [OPTIONS] COMMAND"),
    ],
    ids=["help", "unknown command"],
)
def test_python_m_runs_the_command_under_its_own_name(arguments, code, says):
    done = subprocess.run(
        [sys.executable, "-m", "sam3_tvm", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert says in done.stdout + done.stderr
    assert "python" not in done.stdout + done.stderr
