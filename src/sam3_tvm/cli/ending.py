"""How a command ends when it is told to: by Ctrl-C, SIGTERM or SIGHUP.

Python runs a signal's handler between two steps of its own, and so not before a call of native
code returns: a pass of the compiler, or a picture being encoded, can take many seconds. Where that
is so, a thread ends the process in the handler's place.

The thread is told of both in one pipe and so in their order: by the system that a signal came, and
by the handler that it took it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from sam3_tvm import system
from sam3_tvm.cli.terminal import complain
from sam3_tvm.unfinished import remove_unfinished

__all__ = [
    "INTERRUPTED",
    "Ended",
    "end_in_native_code",
    "end_on_signals",
    "forget",
    "spare_the_first",
    "taken",
]

INTERRUPTED = "interrupted"
"""What is said after Ctrl-C."""

_PATIENCE = 2.0
"""Seconds for Python to run a handler of ours before the thread ends the process."""

_TAKEN = 0x80
"""Added to a signal's number in the pipe by the handler that took it."""

_Handler = Callable[[int, FrameType | None], object]

_sparing: dict[_Handler, int] = {}
"""How many signals came for each handler whose first asks for no end."""

_told: int | None = None
"""The pipe's end that is written to."""


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
    taken(number)
    raise Ended(number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    taken(number)
    signal.default_int_handler(number, frame)


def taken(number: int) -> None:
    """Let the thread know that Python runs a signal's handler; for handlers."""
    if _told is not None:
        with suppress(BlockingIOError):  # so full that the thread isn't at work
            os.write(_told, bytes([number | _TAKEN]))


def spare_the_first(handler: _Handler) -> None:
    """Let the thread heed a handler whose first signal may wait, and whose second may not."""
    _sparing[handler] = 0


def forget(handler: _Handler) -> None:
    """Leave a handler of :func:`spare_the_first` to itself."""
    _sparing.pop(handler, None)


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: what is half-written is removed."""
    for number in system.asks_for_an_end():
        # Ctrl-C has a handler of Python's. What a parent has ignored (nohup) stays so.
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)


def end_in_native_code() -> None:
    """Let the signals of :func:`end_on_signals` and Ctrl-C end a call of native code, too.

    What is half-written is removed then as well. Handlers that a command has put in the place of
    these are left to themselves, but those of :func:`spare_the_first`.
    """
    global _told
    if not system.signals_wake_pipes():
        return
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    _told = told
    listener = threading.Thread(target=_listen, args=(heard,), name="signals", daemon=True)
    with suppress(RuntimeError):  # no thread more: then native code is waited for
        listener.start()


def _listen(heard: int) -> None:
    """End the process on a signal that one of our handlers should have taken long ago."""
    waiting: dict[int, float] = {}
    while True:
        left = min(waiting.values()) - time.monotonic() if waiting else None
        ready, _, _ = select.select([heard], [], [], left if left is None else max(left, 0))
        if not ready:
            _leave(min(waiting, key=waiting.__getitem__))
        number = os.read(heard, 1)[0]
        if number & _TAKEN:
            waiting.pop(number & ~_TAKEN, None)
        elif _asks_for_an_end(number):
            waiting.setdefault(number, time.monotonic() + _PATIENCE)


def _asks_for_an_end(number: int) -> bool:
    handler = signal.getsignal(number)
    if not callable(handler) or handler not in _sparing:
        return handler in (_end, _interrupt)
    _sparing[handler] += 1
    return _sparing[handler] > 1


def _leave(number: int) -> None:
    remove_unfinished()
    if sys.stderr.isatty():  # a progress bar hides it
        sys.stderr.write("\x1b[?25h\n")
    complain(INTERRUPTED if number == signal.SIGINT else Ended.said)
    os._exit(128 + number)
