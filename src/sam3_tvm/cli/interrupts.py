"""How long work is stopped: at the next place where what is written is whole."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from typing import Any

from sam3_tvm import system
from sam3_tvm.cli import ending
from sam3_tvm.cli.terminal import complain

__all__ = ["Interrupts"]


class Interrupts:
    """Lets the first Ctrl-C, SIGTERM or SIGHUP be asked for, and the second interrupt at once.

    In native code, where Python can't run a handler, the second ends the process.

    Used as a context; called, it says whether one came.

    Args:
        at_hand: what is finished after the first, in words.

    Attributes:
        signal: the one that came, or None.
    """

    def __init__(self, at_hand: str) -> None:
        self._at_hand = at_hand
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        return self.signal is not None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            ending.spare_the_first(self._take)
            for number in system.asks_for_an_end():
                # What is ignored stays so, as nohup has it.
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        ending.forget(self._take)

    def _take(self, number: int, frame: Any) -> None:
        ending.taken(number)
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        with suppress(OSError):  # of a terminal that is gone
            complain(f"stopping after {self._at_hand}; Ctrl-C again to stop at once")
