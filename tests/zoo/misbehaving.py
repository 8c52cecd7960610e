"""Trials that end as no trial should; for the tests of what runs them."""

from __future__ import annotations

import os
import signal
import time

from tests.zoo.measure import Outcome, Trial

__all__ = ["crash", "hang", "stumble"]


def crash(_: Trial) -> Outcome:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError("still there")


def hang(_: Trial) -> Outcome:
    time.sleep(60)
    raise AssertionError("not ended")


def stumble(_: Trial) -> Outcome:
    raise KeyError("no such setting")
