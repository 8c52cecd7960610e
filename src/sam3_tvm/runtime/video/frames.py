"""Frames of a video by number, wherever they come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.errors import Sam3Error

__all__ = ["Frames", "FramesError", "beyond", "read_only"]


class FramesError(Sam3Error, ValueError):
    """A video that cannot be read (further); the message says what is wrong with it."""


class Frames(ABC):
    """Frames by number, from 0. All have the size of the first.

    Closing gives back files and threads; :func:`~sam3_tvm.runtime.video.open.open_frames` makes
    these, ``with`` closes them.

    Attributes:
        name: what the source is called in messages.
        size: height and width, pixels; reads the first frame where none was read before.
        count: how many frames there are, where that is known: exactly once the end has been
            reached, before that as many as the source says it has; None for an iterator.
        fps: frames per second, where the source says so.
        only_forwards: whether a frame can be read only once, like a camera's.
    """

    name: str
    count: int | None = None
    fps: float | None = None
    only_forwards = False

    def __init__(self) -> None:
        self._size: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of each frame, pixels.

        Raises:
            FramesError: the first frame cannot be read, or there is none.
        """
        if self._size is None:
            try:
                self.read(0)
            except IndexError:
                raise FramesError(f"{self.name}: has no frames") from None
            assert self._size is not None
        return self._size

    def read(self, index: int) -> NDArray[np.uint8]:
        """A frame as 8-bit RGB, uint8 [H, W, 3]; not to be written to, as frames are kept.

        Raises:
            IndexError: there is no such frame, the video has ended before it.
            FramesError: the frame cannot be read or has another size than those before, or an
                iterator is past it.
        """
        if index < 0:
            raise IndexError(f"frame {index}: frames are counted from 0")
        return self._sized(self._read(index), index)

    def _sized(self, frame: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """The frame, if it has the size of the first."""
        if self._size is None:
            self._size = frame.shape[:2]  # type: ignore[assignment]
        elif frame.shape[:2] != self._size:
            height, width = self._size
            raise FramesError(
                f"{self.name}: {self._called(index)} is {frame.shape[1]} x {frame.shape[0]} px, "
                f"those before are {width} x {height}; a video keeps its size"
            )
        return read_only(frame)

    def _called(self, index: int) -> str:
        """A frame, in messages."""
        return f"frame {index}"

    @abstractmethod
    def _read(self, index: int) -> NDArray[np.uint8]:
        """The frame, of whatever size; ``index`` is not negative."""

    def close(self) -> None:
        """Give back files and threads. What was read stays good."""
        return  # for a source that holds none

    def __enter__(self) -> Frames:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def read_only(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same memory, which can't be written to through what is given here."""
    view = array.view()
    view.flags.writeable = False
    return view


def beyond(index: int, frames: Frames | None) -> str:
    """That a film has no such frame."""
    count = None if frames is None else frames.count
    known = f", which has {count}, numbered from 0" if count is not None else ""
    return f"frame {index} is not in the film{known}"
