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


def test_without_the_packages_of_the_command_line_it_says_so():
    code = "import sys; sys.modules['typer'] = None\n"
    code += "from sam3_tvm.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "info", "nothing"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the command line needs typer, which is not installed")
