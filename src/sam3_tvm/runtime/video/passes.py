"""Which frames a pass through a film is made of."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from sam3_tvm.runtime.pictures.arguments import PromptError, checked_integer
from sam3_tvm.runtime.video.frames import Frames, beyond
from sam3_tvm.runtime.video.memory import ObjectMemory

__all__ = ["goes_on", "order"]


def order(
    frames: Frames,
    memories: Sequence[ObjectMemory],
    phrases: bool,
    start: Any,
    stop: Any,
    reverse: bool,
) -> tuple[int, Iterable[int]]:
    """The first frame of a pass, and all of them.

    Args:
        frames: the film.
        memories: the objects that there are.
        phrases: whether phrases are looked for, on every frame.
        start, stop, reverse: as of :meth:`TrackSession.propagate`.

    Raises:
        PromptError: numbers that are none, a first frame that isn't in the film, or none given
            where the film's length isn't known.
        FramesError: a frame that cannot be read.
    """
    if start is not None:
        first = checked_integer("a frame's number", start)
    elif phrases:
        first = _last_frame(frames) if reverse else 0
    else:
        entries = [memory.first_shown for memory in memories]
        first = max(entries) if reverse else min(entries)
    if stop is not None:
        stop = checked_integer("a frame's number", stop)
    if first < 0:
        raise PromptError(beyond(first, frames))
    if reverse:
        return first, range(first, -1 if stop is None else max(stop, -1), -1)
    return first, itertools.count(first) if stop is None else range(first, stop)


def goes_on(held: Sequence[int], first: int, reverse: bool) -> bool:
    """Whether a pass begins with frames that another has passed and not given.

    Args:
        held: their numbers, in the order in which they were passed.
        first: the first frame of the pass.
        reverse: whether its frames fall.
    """
    if not held or held[0] != first:
        return False
    return len(held) == 1 or (held[1] < first) == reverse


def _last_frame(frames: Frames) -> int:
    """The number of a film's last frame.

    Raises:
        PromptError: it isn't known.
    """
    while (stated := frames.count) is not None:
        try:
            frames.read(stated - 1)
        except IndexError:
            if frames.count != stated:  # it has fewer than it says, and now it is known
                continue
            break
        return stated - 1
    raise PromptError(f"{frames.name}: its length isn't known: give the frame to start from")
