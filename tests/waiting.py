"""Waiting for what another thread does, rather than for a time in which it may not be done."""

from __future__ import annotations

import time
from collections.abc import Callable

_SECONDS = 60.0  # longer than a busy machine lets a thread wait


def wait_until(holds: Callable[[], object]) -> None:
    """Return when ``holds()`` is true.

    Raises:
        AssertionError: it isn't after a minute.
    """
    end = time.monotonic() + _SECONDS
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.001)
