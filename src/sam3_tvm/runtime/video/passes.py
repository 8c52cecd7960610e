"""Which frames a pass through a film is made of, and those whose results are given later."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sam3_tvm.runtime.pictures.arguments import PromptError, checked_integer
from sam3_tvm.runtime.video.arbiter import Passed, Shown
from sam3_tvm.runtime.video.frame import FrameReader
from sam3_tvm.runtime.video.frames import Frames, beyond
from sam3_tvm.runtime.video.memory import ObjectMemory

__all__ = ["correct", "goes_on", "last_frame", "order", "read_held"]


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
        first = last_frame(frames) if reverse else 0
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


def correct(held: deque[Passed], frame: int, answer: Shown) -> None:
    """Take an answer to a prompt on a frame that was passed and not given for what was found there.

    Args:
        held: such frames; changed in place.
        frame: the frame's number; nothing happens where none of them has it.
        answer: the object, with its new mask. Of one that a phrase found its score stays.
    """
    for place, passed in enumerate(held):
        if passed.index == frame:
            shown = [
                one
                if one.name != answer.name
                else answer
                if one.phrase is None
                else replace(one, logits=answer.logits)
                for one in passed.shown
            ]
            held[place] = replace(passed, shown=shown)


def read_held(
    held: Sequence[tuple[int, Sequence[Shown]]], reader: FrameReader, side: int
) -> deque[Passed]:
    """Such frames of a state.

    Args:
        held: their numbers, and the objects on each.
        reader: of the session that goes on.
        side: of masks' logits, 4S.

    Raises:
        PromptError: the session has no such frames.
        FramesError: one cannot be read.
    """
    if held and not reader.has_film:
        raise PromptError(
            "the state is of a film that was being passed, not of live input: restore it in a "
            "session of that film"
        )
    try:
        return deque(Passed(index, reader.read(index).rgb, shown, side) for index, shown in held)
    except IndexError as error:
        raise PromptError(
            "the state is of another film, which has more frames: restore it in a session of that"
        ) from error


def last_frame(frames: Frames) -> int:
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
