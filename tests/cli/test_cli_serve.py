"""``sam3-tvm serve``: what it refuses before it serves."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi")

from sam3_tvm.serve import process
from sam3_tvm.serve.gate import Access


@pytest.fixture
def served(monkeypatch) -> list:
    """What would be served, instead of serving it."""
    calls: list = []

    def serve(load, listener, limits, access, ready, stopping, grace, labels=None) -> None:
        with listener:
            calls.append((listener.getsockname(), limits, access))
            ready("http://127.0.0.1:7")

    monkeypatch.setattr(process, "serve", serve)
    monkeypatch.delenv("SAM3_TVM_TOKEN", raising=False)
    return calls


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_machines_are_let_in_only_by_token_or_as_one_says(cli, served, host):
    done = cli("serve", "artifact", "--host", host)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "--token" in done.stderr
    assert "--no-auth" in done.stderr
    assert not served


@pytest.mark.parametrize(
    ("options", "environment", "access"),
    [
        ([], {}, Access(None, True)),
        (["--host", "0.0.0.0", "--token", "x"], {}, Access("x", False)),
        (["--host", "0.0.0.0"], {"SAM3_TVM_TOKEN": "y"}, Access("y", False)),
        (["--host", "0.0.0.0", "--no-auth"], {}, Access(None, False)),
        (["--token", "x"], {}, Access("x", False)),
        (["--no-auth"], {}, Access(None, True)),
    ],
)
def test_who_may_ask_is_what_was_said(cli, served, monkeypatch, options, environment, access):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = cli("serve", "artifact", "--port", 0, *options)
    assert done.exit_code == 0, done.stderr
    assert served[0][2] == access


@pytest.mark.parametrize(
    "options", [["--token", "x", "--no-auth"], ["--token", ""], ["--token", "ä"], ["--cache", "0"]]
)
def test_options_that_make_no_sense_are_refused(cli, served, options):
    assert cli("serve", "artifact", "--port", 0, *options).exit_code == 2
    assert not served


def test_limits_are_those_of_the_options(cli, served):
    cli("serve", "artifact", "--port", 0, "--cache", 5, "--max-pixels", 9, "--queue", 3)
    limits = served[0][1]
    assert (limits.encoded_bytes, limits.pixels, limits.waiting) == (5 << 20, 9, 3)


def test_a_port_in_use_is_one_line(cli, served):
    with process.listening("127.0.0.1", 0) as taken:
        done = cli("serve", "artifact", "--port", taken.getsockname()[1])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1


def test_the_first_lines_lead_from_a_picture_to_a_mask(cli, served):
    done = cli("serve", "artifact", "--port", 0)
    assert "serving artifact at http://127.0.0.1:7" in done.stdout
    assert "curl -s -F file=@photo.jpg http://127.0.0.1:7/v1/images" in done.stdout
    assert "Bearer" not in done.stdout
    with_token = cli("serve", "artifact", "--port", 0, "--token", "secret").stdout
    assert "Bearer" in with_token
    assert "secret" not in with_token


def test_an_artifact_that_cannot_be_loaded_is_one_line(cli, tmp_path):
    done = cli("serve", tmp_path / "nothing", "--port", 0)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
