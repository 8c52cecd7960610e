"""A line of JSON per frame, masks run-length encoded."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.files import OutputFile, real_path, unwritable
from sam3_tvm.film.faults import CannotGoOn, Refused
from sam3_tvm.film.frame import to_line
from sam3_tvm.film.outputs.base import Output, State
from sam3_tvm.runtime.video.result import FrameResult

__all__ = ["JsonLines"]


class JsonLines(Output):
    """A line of JSON for each frame, on the disk as soon as the frame is done.

    An older file of that name stays until the first line is there to take its place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        OutputFile(path)
        if path.exists() and not os.access(path, os.W_OK):
            raise Refused("output", f"{path}: may not be written to; choose another file")
        self._place = real_path(path)  # what a link leads to is written, and the link stays
        self._file: Any = None
        self._fps: float | None = None
        self._length = 0

    def start(self, fps: float | None, parts: Path, state: Mapping[str, NDArray[Any]]) -> None:
        self._fps = fps
        place = self._place
        if not state and (place.is_file() or (not place.exists() and place.parent.is_dir())):
            return  # the first line begins it
        try:
            # Unbuffered, so that nothing is left to be written when a line couldn't be.
            self._file = open(place, "r+b" if state else "wb", buffering=0)  # noqa: SIM115
            if not state:
                return  # a pipe or a device
            # Lines after the checkpoint are of frames that are done again.
            self._length = int(state["length"])
            if self._file.seek(0, os.SEEK_END) < self._length:
                raise CannotGoOn(f"{self.path}: is shorter than the interrupted run left it")
            self._file.truncate(self._length)
            self._file.seek(0, os.SEEK_END)
        except FileNotFoundError as error:
            if not state:
                raise unwritable(self.path, error) from error
            raise CannotGoOn(f"{self.path}: is gone") from error
        except OSError as error:
            raise unwritable(self.path, error) from error

    def write(self, frame: FrameResult) -> None:
        self.write_line(to_line(frame, self._fps))

    def write_line(self, text: str) -> None:
        """Write a line, whole or not at all.

        Raises:
            UsageError: the disk is full, or the file may not be written to.
        """
        line = text.encode() + b"\n"
        if self._file is None:
            self._begin(line)
            return
        try:
            _write_all(self._file, line)
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._length)  # half a line would spoil the others
            raise unwritable(self.path, error) from error
        self._length += len(line)

    def state(self) -> State:
        return {"length": np.array(self._length)}

    def _begin(self, line: bytes) -> None:
        """Put a new file with this line in the place of what is there."""
        partial = self._place.with_name(f".{secrets.token_hex(8)}.part")
        try:
            self._file = open(partial, "xb", buffering=0)  # noqa: SIM115
            _write_all(self._file, line)
            partial.replace(self._place)
        except OSError as error:
            self.abandon()
            raise unwritable(self.path, error) from error
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        self._length = len(line)

    def finish(self) -> None:
        if self._file is None:
            self._begin(b"")
        try:
            self._file.close()
        except OSError as error:
            raise unwritable(self.path, error) from error

    def abandon(self) -> None:
        if self._file is not None:
            self._file.close()


def _write_all(file: Any, data: bytes) -> None:
    """Write to an unbuffered file what it may take in parts.

    Raises:
        OSError: it can't take all: the disk is full, or the file may not grow further.
    """
    rest = memoryview(data)
    while rest:
        # Why a part was left over is what the next attempt says.
        taken = file.write(rest)
        if not taken:  # a pipe that doesn't wait, and is full
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        rest = rest[taken:]
