"""How a command ends when it is told to: by Ctrl-C, SIGTERM or SIGHUP.

Python runs a signal's handler between two steps of its own, and so not before a call of native
code returns: a pass of the compiler, or a picture being encoded, can take many seconds. Where that
is so, a thread ends the process in the handler's place.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType

from sam3_tvm.cli.terminal import complain
from sam3_tvm.unfinished import remove_unfinished

__all__ = ["INTERRUPTED", "Ended", "end_in_native_code", "end_on_signals"]

INTERRUPTED = "interrupted"
"""What is said after Ctrl-C."""

_PATIENCE = 2.0
"""Seconds for Python to run a handler of ours before the thread ends the process."""

_taken: set[int] = set()
"""Signals that a handler of ours has taken."""


class Ended(BaseException):
    """A signal that asks the process to end, raised where it was, so that folders in the making
    are removed on the way out."""

    said = "ended by a signal"

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _end(number: int, frame: FrameType | None) -> None:
    # One is enough: a second would cut the tidying short.
    signal.signal(number, signal.SIG_IGN)
    _taken.add(number)
    raise Ended(number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _taken.add(number)
    signal.default_int_handler(number, frame)


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: what is half-written is removed."""
    for name in ("SIGTERM", "SIGHUP"):
        # Windows has the first alone, and what a parent has ignored (nohup) stays so.
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)


def end_in_native_code() -> None:
    """Let the signals of :func:`end_on_signals` and Ctrl-C end a call of native code, too.

    What is half-written is removed then as well. Handlers that a command has put in the place of
    these are left to themselves.
    """
    if os.name != "posix":  # elsewhere set_wakeup_fd() takes sockets alone
        return
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    listener = threading.Thread(target=_listen, args=(heard,), name="signals", daemon=True)
    with suppress(RuntimeError):  # no thread more: then native code is waited for
        listener.start()


def _listen(heard: int) -> None:
    """End the process on a signal that one of our handlers should have taken long ago."""
    while number := os.read(heard, 1)[0]:
        time.sleep(_PATIENCE)
        if signal.getsignal(number) in (_end, _interrupt) and number not in _taken:
            _leave(number)


def _leave(number: int) -> None:
    remove_unfinished()
    if sys.stderr.isatty():  # a progress bar hides it
        sys.stderr.write("\x1b[?25h\n")
    complain(INTERRUPTED if number == signal.SIGINT else Ended.said)
    os._exit(128 + number)
