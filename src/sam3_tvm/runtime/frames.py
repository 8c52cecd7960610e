"""Frames of a video, one at a time: from a file, a folder of pictures, a sequence or a camera."""

from __future__ import annotations

import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam3_tvm.errors import Sam3Error
from sam3_tvm.runtime.image import (
    ImageError,
    Picture,
    own_picture,
    pictures_in,
    read_picture,
)

__all__ = ["FrameSource", "Frames", "FramesError", "open_frames", "read_only"]

_ACCEPTED = "a video file, a folder of pictures, a sequence of pictures or an iterator of frames"

#: What is taken as a video; see :func:`open_frames`.
FrameSource = str | os.PathLike[str] | Sequence[Picture] | Iterable[Picture] | NDArray[Any]


class FramesError(Sam3Error, ValueError):
    """A video that cannot be read (further); the message says what is wrong with it."""


class Frames(ABC):
    """Frames by number, from 0. All have the size of the first.

    Closing gives back files and threads; :func:`open_frames` makes these, ``with`` closes them.

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
                f"{self.name}: frame {index} is {frame.shape[1]} x {frame.shape[0]} px, those "
                f"before are {width} x {height}; a video keeps its size"
            )
        return read_only(frame)

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


def open_frames(source: FrameSource | Frames) -> Frames:
    """The frames of a video, ready to be read by number.

    Args:
        source: a video file (whatever FFmpeg decodes; needs the extra ``[video]``); a folder,
            whose pictures are taken in the natural order of their names (``2.png`` before
            ``10.png``); a sequence of pictures, each as :func:`read_picture` takes them, or a
            uint8 array [T, H, W, 3]; or an iterator of such pictures, which is only asked for
            the next when it is needed. What this function made comes back as it is.

    Raises:
        FramesError: the source is none of these, is missing, is a single picture, has no
            frames, or its first frame cannot be read. An iterator isn't asked for its first
            frame here.
        MissingExtraError: a video file, and PyAV isn't installed.
    """
    if isinstance(source, Frames):
        return source
    if isinstance(source, (str, os.PathLike)):
        return _open_path(Path(source))
    if isinstance(source, Image.Image) or (isinstance(source, np.ndarray) and source.ndim != 4):
        raise FramesError(f"a single picture is no video: give {_ACCEPTED}")
    made: Frames
    if isinstance(source, np.ndarray | Sequence) and not isinstance(source, bytes):
        made = _Pictures(source, "the sequence")
    elif isinstance(source, Iterable) and not isinstance(source, bytes):
        return _Live(iter(source))
    else:
        raise FramesError(f"a {type(source).__name__} is no video: give {_ACCEPTED}")
    made.size  # noqa: B018 - the first frame's faults show here
    return made


def _open_path(path: Path) -> Frames:
    try:
        pictures = _pictures_in(path) if stat.S_ISDIR(path.stat().st_mode) else None
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FramesError(
            f"{path}: no such file or folder; give a video file or a folder"
        ) from error
    except (OSError, ValueError) as error:  # the latter of a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise FramesError(f"{path}: cannot be read ({reason})") from error
    if pictures is not None:
        if not pictures:
            raise FramesError(
                f"{path}: no pictures in this folder (its own folders are not searched)"
            )
        folder = _Pictures(pictures, f"{path}")
        folder.size  # noqa: B018
        return folder
    from sam3_tvm.runtime.video_file import VideoFile

    return VideoFile(path)


def _pictures_in(folder: Path) -> list[Path]:
    return sorted(pictures_in(folder), key=_natural)


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sorts names by the numbers in them; equal ones (1.png, 01.png) by the name."""
    parts = re.split(r"([0-9]+)", path.name.casefold())
    return [(int(p), "") if i % 2 else (-1, p) for i, p in enumerate(parts)], path.name


class _Pictures(Frames):
    """Pictures that lie in a folder or in memory, read when they are asked for."""

    def __init__(self, pictures: Sequence[Picture] | NDArray[Any], name: str) -> None:
        super().__init__()
        self.name = name
        self.count = len(pictures)
        self._pictures = pictures

    def _read(self, index: int) -> NDArray[np.uint8]:
        if index >= len(self._pictures):
            raise IndexError(f"{self.name}: frame {index} of {len(self._pictures)}")
        return _picture(self._pictures[index], self.name, index)


class _Live(Frames):
    """What an iterator gives, as it gives it. Keeps the latest frame alone."""

    only_forwards = True

    def __init__(self, pictures: Iterator[Picture]) -> None:
        super().__init__()
        self.name = "the iterator"
        self._pictures = pictures
        self._index = -1
        self._latest: NDArray[np.uint8] | None = None

    def _read(self, index: int) -> NDArray[np.uint8]:
        if index < self._index:
            raise FramesError(
                f"frame {index} is gone: {self.name} is at frame {self._index} and only goes on"
            )
        while self._index < index:
            if self.count is not None:
                raise IndexError(f"{self.name}: frame {index} of {self.count}")
            try:
                given = next(self._pictures)
            except StopIteration:
                self.count = self._index + 1
                continue
            # A camera may well write its next frame over this one.
            taken = _picture(given, self.name, self._index + 1, own_picture)
            self._latest = self._sized(taken, self._index + 1)
            self._index += 1
        assert self._latest is not None
        return self._latest


def _picture(
    picture: Picture,
    name: str,
    index: int,
    read: Callable[[Picture], NDArray[np.uint8]] = read_picture,
) -> NDArray[np.uint8]:
    try:
        return read(picture)
    except ImageError as error:
        raise FramesError(f"{name}: frame {index}: {error}") from error
