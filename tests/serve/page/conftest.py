"""A real browser on a real server with the demonstration model."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import REQUIRE

EXAMPLES = Path(__file__).parents[3] / "examples"

# For whatever takes a moment: machines that test may be busy.
PATIENCE = 60_000

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def _lacking(what: str) -> None:
    """Skip, or fail where ``SAM3_TVM_REQUIRE`` asks for ``chromium``."""
    reason = f"no {what} for tests of the page"
    if "CHROMIUM" in {n.strip().upper() for n in os.environ.get(REQUIRE, "").split(",")}:
        pytest.fail(f"{REQUIRE} asks for chromium: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    """A browser. No longer than a module: Playwright's event loop runs as long, and other tests of
    this process begin their own."""
    try:
        from playwright.sync_api import expect, sync_playwright
    except ImportError:
        _lacking("Playwright")
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, _BROWSERS)), None)
        if found is None and Path(playwright.chromium.executable_path).exists():
            found = playwright.chromium.executable_path
        if found is None:
            _lacking("Chromium")
        expect.set_options(timeout=PATIENCE)
        # Its sandbox can't be had by root, nor in most containers.
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@contextmanager
def serving(artifact: Path, *options: str) -> Iterator[str]:
    """``sam3-tvm serve``; its URL."""
    command = [Path(sys.executable).parent / "sam3-tvm", "serve", artifact, "--port", "0"]
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        url = re.search(r"http://\S+", line)
        assert url, line + process.stdout.read()
        yield url[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)


@pytest.fixture(scope="module")
def server(chromium, shapes_artifact) -> Iterator[str]:
    with serving(shapes_artifact) as url:
        yield url


@pytest.fixture
def new_page(chromium):
    """``new_page(url, **options)``: the page in a window of its own. No script of it may fail."""
    contexts, faults = [], []

    def make(url: str, **options):
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"{error}"))
        page.on("console", lambda m: faults.append(m.text) if "Security Policy" in m.text else None)
        page.goto(url)
        return page

    yield make
    for context in contexts:
        context.close()
    assert not faults


@pytest.fixture
def page(new_page, server):
    made = new_page(server)
    made.get_by_text("ready").wait_for()
    return made
