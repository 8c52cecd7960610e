"""Opens a video: a file, a folder of pictures, a sequence in memory, or an iterator."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam3_tvm.runtime.pictures.image import (
    ImageError,
    Picture,
    own_picture,
    pictures_in,
    read_picture,
)
from sam3_tvm.runtime.video.frames import Frames, FramesError
from sam3_tvm.runtime.video.video_file import VideoFile

__all__ = ["FrameSource", "open_frames"]

_ACCEPTED = "a video file, a folder of pictures, a sequence of pictures or an iterator of frames"

FrameSource = str | os.PathLike[str] | Sequence[Picture] | Iterable[Picture] | NDArray[Any]
"""What is taken as a video; see :func:`open_frames`."""


def open_frames(source: FrameSource | Frames) -> Frames:
    """The frames of a video, ready to be read by number.

    Args:
        source: a video file (whatever FFmpeg decodes; needs the extra ``[video]``); a folder,
            whose pictures are taken in the natural order of their names (``2.png`` before
            ``10.png``), but for names that begin with a dot; a sequence of pictures, each as
            :func:`read_picture` takes them, or a uint8 array [T, H, W, 3]; or an iterator of such
            pictures, which is only asked for the next when it is needed. What this function made
            comes back as it is.

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

    def _called(self, index: int) -> str:
        picture = self._pictures[index]
        if isinstance(picture, (str, os.PathLike)):
            return f"frame {index} ({Path(picture).name})"
        return f"frame {index}"

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
