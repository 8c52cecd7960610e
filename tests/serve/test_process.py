"""The server as a process: its port, its signals, and its end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from typer.testing import CliRunner

from sam3_tvm.cli import app
from sam3_tvm.errors import UsageError
from sam3_tvm.serve.process import listening

SCRIPT = Path(__file__).with_name("serve_stand_in.py")


@contextmanager
def serving(*options: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """A server of its own around a stand-in that takes a second for each call, and its URL."""
    server = subprocess.Popen(
        [sys.executable, SCRIPT, "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout.readline() == "begun encode\n"  # to see how long one takes
        line = server.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", line)[0]
        _, segment, page = (server.stdout.readline() for _ in range(3))
        assert "$id/segment" in segment
        assert page == f"or open {url} in a browser\n"
        yield server, url
    finally:
        server.kill()
        server.communicate()


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_runs_be_answered_and_nothing_else_in(file, number):
    with serving() as (server, url):
        answers: list[int] = []
        broken = urllib.request.Request(
            f"{url}/v1/images", b"no form", {"Content-Type": "multipart/form-data; boundary=x"}
        )
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(broken, timeout=30)

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


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_film_longer_than_what_a_signal_leaves_ends_with_a_line_that_says_so(film_file):
    with serving("--timeout", "3") as (server, url):
        with urllib.request.urlopen(f"{url}/v1/videos", film_file, timeout=30) as answer:
            film = answer.headers["location"]
        asked = json.dumps({"objects": [{"id": 1, "points": [[18, 34]]}]}).encode()
        track = urllib.request.Request(
            f"{url}{film}/track", asked, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(track, timeout=30) as answer:
            found = [json.loads(answer.readline())]
            server.send_signal(signal.SIGTERM)
            found += map(json.loads, answer)
        *frames, last = found
        assert [one["frame"] for one in frames] == [*range(len(frames))]
        assert len(frames) < 12
        assert last["error"]["status"] == 503
        assert "about to end" in last["error"]["detail"]
        assert server.wait(30) == 0
        (said,) = server.stderr.read().splitlines()
        assert "stopping when what runs is answered" in said


def test_a_port_in_use_is_said_in_a_line():
    with (
        listening("127.0.0.1", 0) as first,
        pytest.raises(UsageError, match=r"cannot be listened on .*in use.*--port"),
    ):
        listening("127.0.0.1", first.getsockname()[1])


@pytest.mark.parametrize("host", ["203.0.113.7", "a..b", "x" * 70])
def test_a_host_that_is_none_of_this_machines_is_said_in_a_line(host):
    with pytest.raises(UsageError, match=r"cannot be listened on \([^()]*\): choose"):
        listening(host, 0)


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e30", "0"])
def test_a_timeout_that_is_none_is_refused_before_anything_begins(seconds):
    result = CliRunner().invoke(app, ["serve", "nowhere", "--timeout", seconds])
    assert result.exit_code == 2
    assert "--timeout" in result.output
    assert "nowhere" not in result.output


@pytest.mark.parametrize("token", ["", " ", " secret", "two words", "tab\t", "schl\u00fcssel"])
def test_a_token_that_no_header_could_bring_is_refused(token):
    for arguments, env in (["--token", token], {}), ([], {"SAM3_TVM_TOKEN": token}):
        result = CliRunner().invoke(app, ["serve", "nowhere", *arguments], env=env)
        assert result.exit_code == 2
        assert "printable ASCII without spaces" in " ".join(result.output.split())


def test_a_socket_of_version_6_listens():
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    try:
        made = listening("::1", 0)
    except UsageError:
        pytest.skip("no IPv6 here")
    with made:
        assert made.family == socket.AF_INET6
