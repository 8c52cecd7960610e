"""The server as a process: its port, its signals, and its end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from sam3_tvm.errors import UsageError
from sam3_tvm.serve.process import is_local, listening

SCRIPT = Path(__file__).with_name("serve_stand_in.py")


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_runs_be_answered_and_nothing_else_in(file, number):
    server = subprocess.Popen(
        [sys.executable, SCRIPT, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout.readline() == "begun encode\n"  # before it is ready
        line = server.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", line)[0]
        assert "$id/segment" in [server.stdout.readline() for _ in range(2)][1]
        answers: list[int] = []

        def send() -> None:
            with urllib.request.urlopen(f"{url}/v1/images", file(), timeout=30) as answer:
                answers.append(answer.status)

        sender = threading.Thread(target=send)
        sender.start()
        assert server.stdout.readline() == "begun encode\n"
        server.send_signal(number)
        assert "stopping when what runs is answered" in server.stderr.readline()
        sender.join(30)
        assert answers == [201]
        assert server.wait(30) == 0
        assert server.stderr.read() == ""
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(url, timeout=5)
    finally:
        server.kill()
        server.communicate()


def test_a_port_in_use_is_said_in_a_line():
    with (
        listening("127.0.0.1", 0) as first,
        pytest.raises(UsageError, match=r"cannot be listened on .*in use.*--port"),
    ):
        listening("127.0.0.1", first.getsockname()[1])


def test_a_host_that_is_none_of_this_machines_is_said_in_a_line():
    with pytest.raises(UsageError, match="cannot be listened on"):
        listening("203.0.113.7", 0)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
def test_which_hosts_are_this_machine_alone(host, local):
    assert is_local(host) is local


def test_a_socket_of_version_6_listens():
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    try:
        made = listening("::1", 0)
    except UsageError:
        pytest.skip("no IPv6 here")
    with made:
        assert made.family == socket.AF_INET6
